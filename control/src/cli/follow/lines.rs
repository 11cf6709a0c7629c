//! Events as plain lines, for logs and continuous integration.

use slipway_proto::control::v1::{self as wire, event::Kind};

use super::Show;
use crate::cli::{
    Error, Output,
    output::{text::harmless, when},
};

/// Prints lines.
pub(super) struct Lines(Output);

impl Lines {
    /// Prints to `output`.
    pub(super) fn new(output: Output) -> Self {
        Self(output)
    }
}

impl Show for Lines {
    fn uploaded(&mut self, _bytes: u64, _total: Option<u64>) {}

    fn event(&mut self, event: &wire::Event) -> Result<(), Error> {
        if let Some(line) = line(event) {
            self.0.note(line);
        }
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.0.note(text);
    }

    fn end(&mut self) {}
}

/// An event as a line; nothing for those that only move bars.
pub(in crate::cli) fn line(event: &wire::Event) -> Option<String> {
    let text = match event.kind.as_ref()? {
        Kind::Log(it) => harmless(&it.message, false),
        Kind::Progress(_) => return None,
        Kind::Step(it) => match &it.elapsed {
            Some(elapsed) if it.state != "started" => {
                format!("{} after {}", it.state, when::elapsed(when::from_wire(elapsed)))
            }
            _ => it.state.clone(),
        },
        Kind::Done(it) if it.success => format!("release {} serves", it.release),
        Kind::Done(_) => "failed".to_owned(),
    };
    let time = event.at.as_ref().map(when::clock_time).unwrap_or_default();
    let server = if event.server.is_empty() { "-" } else { &event.server };
    let phase = if event.phase.is_empty() { "end" } else { &event.phase };
    Some(format!("{time} {} {phase:<6} {text}", harmless(server, false)))
}

#[cfg(test)]
mod tests {
    use prost_types::Duration;

    use super::*;

    fn event(phase: &str, kind: Kind) -> wire::Event {
        wire::Event {
            seq: 1,
            at: None,
            server: "local".to_owned(),
            phase: phase.to_owned(),
            kind: Some(kind),
        }
    }

    #[test]
    fn a_step_tells_how_long_it_took() {
        let step =
            |state: &str, elapsed| Kind::Step(wire::StepEvent { state: state.to_owned(), elapsed });
        let took = Some(Duration { seconds: 12, nanos: 300_000_000 });
        assert_eq!(line(&event("build", step("started", None))).unwrap(), " local build  started");
        assert_eq!(
            line(&event("build", step("done", took))).unwrap(),
            " local build  done after 12.3 s"
        );
    }

    #[test]
    fn output_of_a_build_cannot_move_the_cursor() {
        let log = Kind::Log(wire::LogEvent { message: "a\x1b[2J".to_owned() });
        assert_eq!(line(&event("build", log)).unwrap(), " local build  a\\x1b[2J");
    }
}
