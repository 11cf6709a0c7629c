//! From the agent's events to the store's.

use std::borrow::Cow;

use slipway_proto::agent::v1::{
    self as wire, Phase, deploy_response::Event as Told, progress::Unit, step::State,
};
use slipway_store::{EventBody, NewEvent, StepState};

/// The store's event for one event of an agent, if there is something to tell.
pub(super) fn recorded(server: &str, response: &wire::DeployResponse) -> Option<NewEvent> {
    let log = |phase: &'static str, message: String| NewEvent::log(phase, message);
    let event = match &response.event {
        None | Some(Told::Accepted(_)) => return None,
        Some(Told::Log(it)) => log(word(it.phase), it.message.clone()),
        Some(Told::Progress(it)) => progress(it),
        Some(Told::Step(it)) => step(it),
        Some(Told::Prepared(it)) => {
            log("health", format!("{} is healthy beside the old release", it.containers.join(", ")))
        }
        Some(Told::Activated(it)) => log("switch", format!("serving at {}", it.urls.join(", "))),
        Some(Told::Committed(it)) if it.cut_connections == 0 => {
            log("commit", "the old release is drained and stopped".to_owned())
        }
        Some(Told::Committed(it)) => {
            let cut = it.cut_connections;
            log(
                "commit",
                format!("the old release is stopped; {cut} connections outlasted the drain"),
            )
        }
        Some(Told::Undone(_)) => log("undo", "everything is as it was before".to_owned()),
        Some(Told::Failed(it)) => log(word(it.phase), failed(it)),
    };
    Some(event.on(server))
}

fn failed(it: &wire::Failed) -> String {
    let hint = if it.hint.is_empty() { String::new() } else { format!("; {}", it.hint) };
    format!("{}: {}{hint}", it.code, it.message)
}

fn progress(it: &wire::Progress) -> NewEvent {
    let unit = match it.unit() {
        Unit::Bytes => "bytes",
        Unit::Objects => "objects",
        Unit::Steps | Unit::Unspecified => "steps",
    };
    let body = EventBody::Progress {
        current: it.current,
        total: it.total,
        unit: Cow::Borrowed(unit),
        item: it.item.clone(),
    };
    NewEvent::new(word(it.phase), body)
}

fn step(it: &wire::Step) -> NewEvent {
    let state = match it.state() {
        State::Started | State::Unspecified => StepState::Started,
        State::Done => StepState::Done,
        State::Failed => StepState::Failed,
    };
    let elapsed = it.elapsed.and_then(|it| std::time::Duration::try_from(it).ok());
    let elapsed_ms = elapsed.unwrap_or_default().as_millis();
    NewEvent::step(word(it.phase), state, u64::try_from(elapsed_ms).unwrap_or(u64::MAX))
}

/// The contract's word for a phase.
pub(super) fn word(phase: i32) -> &'static str {
    match Phase::try_from(phase).unwrap_or_default() {
        Phase::Unspecified => "",
        Phase::Source => "source",
        Phase::Build => "build",
        Phase::Start => "start",
        Phase::Health => "health",
        Phase::Switch => "switch",
        Phase::Drain => "drain",
        Phase::Commit => "commit",
        Phase::Undo => "undo",
    }
}
