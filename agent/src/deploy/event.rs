//! What a deployment tells its observers. The wire's messages are made from these in `rpc`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_proto::problem::Problem;

/// Longest line of output, in bytes.
pub const MAX_LINE: usize = 64 << 10;

/// An event with its place.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Stamped {
    /// Position within the deployment: 1, 2, 3 …
    pub seq: u64,
    /// Microseconds since the epoch, by the server's clock.
    pub at: i64,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The deployment was recorded, or found again.
    Accepted {
        /// The agent has the archive up to here.
        source_offset: u64,
        /// It was known before.
        resumed: bool,
    },
    /// A line of output.
    Log {
        /// Where it came from.
        phase: Phase,
        /// The text.
        message: String,
    },
    /// How far a long act has come.
    Progress(Progress),
    /// A phase began or ended.
    Step {
        /// Which.
        phase: Phase,
        /// How it stands.
        state: StepState,
        /// Since it began.
        elapsed: Option<Duration>,
    },
    /// The new release runs, healthy, beside the old one.
    Prepared {
        /// Image that it runs.
        image_id: String,
        /// Commit of a git source.
        git_commit: Option<String>,
        /// Digest reference of an image source.
        image_digest: Option<String>,
        /// Names of the containers.
        containers: Vec<String>,
    },
    /// The new release was seen answering through the proxy.
    Activated {
        /// Where it answers.
        urls: Vec<String>,
    },
    /// The old release is drained and stopped. Last event.
    Committed {
        /// Connections still open at the drain deadline.
        cut_connections: u64,
    },
    /// Everything is as it was before. Last event.
    Undone,
    /// What went wrong; `Undone` follows.
    Failed(Failure),
}

impl Event {
    /// Whether no event can follow.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Committed { .. } | Self::Undone)
    }
}

/// How far a long act has come.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Progress {
    /// Of what.
    pub phase: Phase,
    /// So far.
    pub current: u64,
    /// In all; 0 when not known.
    pub total: u64,
    /// What is counted.
    pub unit: Unit,
    /// Part that it is about.
    pub item: String,
}

/// What a progress counts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Steps of a build.
    Steps,
    /// Objects of a repository.
    Objects,
}

/// The parts of a deployment on a server, in order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Receiving, cloning or pulling.
    Source,
    /// Building the image.
    Build,
    /// Starting containers.
    Start,
    /// Waiting until they are healthy.
    Health,
    /// Moving traffic.
    Switch,
    /// Letting requests on the old release end.
    Drain,
    /// Stopping the old release, recording the new one.
    Commit,
    /// Putting things back.
    Undo,
}

/// How a phase stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It began.
    Started,
    /// It ended well.
    Done,
    /// It failed.
    Failed,
}

/// What went wrong.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Failure {
    /// Code, such as `SW-HEALTH-TIMEOUT`.
    pub code: String,
    /// The field it concerns.
    pub field: Option<String>,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Exit code of the new container, when it ended.
    pub exit_code: Option<i32>,
    /// Its last lines.
    pub last_lines: Vec<String>,
    /// During which phase.
    pub phase: Phase,
}

impl Failure {
    /// A failure that left nothing behind to look at.
    pub fn new(problem: Problem, phase: Phase) -> Self {
        let Problem { kind: _, code, field, message, hint } = problem;
        Self {
            code: code.into_owned(),
            field: field.map(Into::into),
            message,
            hint: hint.map(Into::into),
            exit_code: None,
            last_lines: Vec::new(),
            phase,
        }
    }
}

/// A line as it may be shown: without its end, without terminal control sequences, not too long.
pub fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len().min(MAX_LINE));
    let mut chars = line.trim_end_matches(['\r', '\n']).chars().peekable();
    while let Some(it) = chars.next() {
        match it {
            '\u{1b}' => skip_sequence(&mut chars),
            '\t' => out.push('\t'),
            // A carriage return within a line repaints it: what was before is gone from the screen.
            '\r' => out.clear(),
            _ if it.is_control() || is_bidi(it) => (),
            _ => out.push(it),
        }
        if out.len() >= MAX_LINE - 4 {
            break;
        }
    }
    out
}

/// Characters that change the order in which a line is shown.
fn is_bidi(it: char) -> bool {
    matches!(it, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Steps over what follows an escape character.
fn skip_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        // Control sequence: up to its final byte.
        Some('[') => {
            chars.by_ref().find(|it| ('\u{40}'..='\u{7e}').contains(it));
        }
        // Operating system command and its kin: up to BEL or the string terminator.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(it) = chars.next() {
                if it == '\u{7}' || (it == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        _ => (),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_keeps_its_text_and_loses_what_drives_a_terminal() {
        for (line, expected) in [
            ("plain\r\n", "plain"),
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("10%\r50%\r100%", "100%"),
            ("a\tb\u{0}c\u{202e}d", "a\tbcd"),
            ("grün", "grün"),
        ] {
            assert_eq!(plain(line), expected);
        }
    }

    proptest! {
        #[test]
        fn no_line_is_too_long_or_has_control_characters(line in "\\PC*|.*", times in 1_usize..3000) {
            let out = plain(&line.repeat(times));
            prop_assert!(out.len() <= MAX_LINE);
            prop_assert!(!out.chars().any(|it| it.is_control() && it != '\t'));
        }
    }
}
