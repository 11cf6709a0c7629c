//! From the store's values to the contract's messages.

use std::time::Duration;

use slipway_proto::control::v1::{self as wire, event::Kind};
use slipway_store::{At, Done, Event, EventBody, Failure, ServerDone, StepState};

/// A time.
pub(super) fn time(at: At) -> prost_types::Timestamp {
    let micros = at.micros();
    let nanos = micros.rem_euclid(1_000_000) * 1_000;
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(nanos).unwrap_or_default(),
    }
}

/// A duration.
pub(super) fn duration(of: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(of.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(of.subsec_nanos()).unwrap_or_default(),
    }
}

/// An event.
pub(super) fn event(event: Event) -> wire::Event {
    let Event { body, seq, at, server, phase, operation: _, pos: _ } = event;
    let kind = match body {
        EventBody::Log { message } => Kind::Log(wire::LogEvent { message }),
        EventBody::Progress { current, total, unit, item } => {
            let unit = unit.into_owned();
            Kind::Progress(wire::ProgressEvent { current, total, unit, item })
        }
        EventBody::Step { state, elapsed_ms } => Kind::Step(wire::StepEvent {
            state: word(state).to_owned(),
            elapsed: Some(duration(Duration::from_millis(elapsed_ms))),
        }),
        EventBody::Done(it) => Kind::Done(done(it)),
    };
    wire::Event { seq, at: Some(time(at)), server, phase, kind: Some(kind) }
}

fn word(state: StepState) -> &'static str {
    match state {
        StepState::Started => "started",
        StepState::Done => "done",
        StepState::Failed => "failed",
    }
}

fn done(done: Done) -> wire::DoneEvent {
    let Done { success, error, servers, release } = done;
    wire::DoneEvent {
        success,
        error: error.map(problem),
        servers: servers.into_iter().map(outcome).collect(),
        release,
    }
}

/// Why something failed.
pub(super) fn problem(failure: Failure) -> wire::Problem {
    let Failure { code, field, message, hint, exit_code, last_lines } = failure;
    wire::Problem { code, field, message, hint, exit_code, last_lines }
}

/// How a server ended.
pub(super) fn outcome(server: ServerDone) -> wire::ServerOutcome {
    let ServerDone { id, name, ip, success, url: _, urls, error } = server;
    wire::ServerOutcome {
        server_id: id,
        name,
        address: ip,
        success,
        urls,
        error: error.map(problem),
    }
}
