//! Our values as messages.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use slipway_proto::agent::v1 as wire;

use crate::deploy::event::{Event, Failure, Phase, Progress, Stamped, StepState, Unit};

/// A time.
pub(super) fn time(at: SystemTime) -> Timestamp {
    Timestamp::from(at)
}

/// Microseconds since the epoch.
pub(super) fn micros(at: i64) -> Timestamp {
    let nanos = i32::try_from(at.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    Timestamp { seconds: at.div_euclid(1_000_000), nanos }
}

/// A length of time; none when it is out of bounds.
pub(super) fn duration(it: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(it).ok()
}

/// An event.
pub(super) fn event(stamped: Stamped) -> wire::DeployResponse {
    let Stamped { seq, at, event } = stamped;
    wire::DeployResponse { seq, at: Some(micros(at)), event: Some(part(event)) }
}

fn part(event: Event) -> wire::deploy_response::Event {
    use wire::deploy_response::Event as Wire;
    match event {
        Event::Accepted { source_offset, resumed } => {
            Wire::Accepted(wire::Accepted { source_offset, resumed })
        }
        Event::Log { phase: of, message } => {
            Wire::Log(wire::Log { phase: phase(of).into(), message })
        }
        Event::Progress(Progress { phase: of, current, total, unit: counted, item }) => {
            Wire::Progress(wire::Progress {
                phase: phase(of).into(),
                current,
                total,
                unit: unit(counted).into(),
                item,
            })
        }
        Event::Step { phase: of, state, elapsed } => Wire::Step(wire::Step {
            phase: phase(of).into(),
            state: step_state(state).into(),
            elapsed: elapsed.and_then(duration),
        }),
        Event::Prepared { image_id, git_commit, image_digest, containers } => {
            Wire::Prepared(wire::Prepared {
                image_id,
                git_commit: git_commit.unwrap_or_default(),
                image_digest: image_digest.unwrap_or_default(),
                containers,
            })
        }
        Event::Activated { urls } => Wire::Activated(wire::Activated { urls }),
        Event::Committed { cut_connections } => {
            Wire::Committed(wire::Committed { cut_connections })
        }
        Event::Undone => Wire::Undone(wire::Undone {}),
        Event::Failed(it) => Wire::Failed(failure(it)),
    }
}

fn failure(it: Failure) -> wire::Failed {
    let Failure { code, field, message, hint, exit_code, last_lines, phase: of } = it;
    wire::Failed {
        code,
        field: field.unwrap_or_default(),
        message,
        hint: hint.unwrap_or_default(),
        exit_code,
        last_lines,
        phase: phase(of).into(),
    }
}

fn phase(it: Phase) -> wire::Phase {
    match it {
        Phase::Source => wire::Phase::Source,
        Phase::Build => wire::Phase::Build,
        Phase::Start => wire::Phase::Start,
        Phase::Health => wire::Phase::Health,
        Phase::Switch => wire::Phase::Switch,
        Phase::Drain => wire::Phase::Drain,
        Phase::Commit => wire::Phase::Commit,
        Phase::Undo => wire::Phase::Undo,
    }
}

fn step_state(it: StepState) -> wire::step::State {
    match it {
        StepState::Started => wire::step::State::Started,
        StepState::Done => wire::step::State::Done,
        StepState::Failed => wire::step::State::Failed,
    }
}

fn unit(it: Unit) -> wire::progress::Unit {
    match it {
        Unit::Bytes => wire::progress::Unit::Bytes,
        Unit::Steps => wire::progress::Unit::Steps,
        Unit::Objects => wire::progress::Unit::Objects,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_keep_their_order() {
        assert_eq!(micros(1_500_000), Timestamp { seconds: 1, nanos: 500_000_000 });
        assert_eq!(micros(-1), Timestamp { seconds: -1, nanos: 999_999_000 });
    }
}
