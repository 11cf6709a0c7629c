//! What a builder prints, as lines without control sequences.

use crate::{build::BuildEvent, logs::MAX_LINE};

/// Puts pieces of text together into lines.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    open: String,
}

impl Transcript {
    /// The lines that this piece completes.
    pub(super) fn push(&mut self, text: &str) -> Vec<BuildEvent> {
        let mut events = Vec::new();
        for piece in text.split_inclusive('\n') {
            self.open.push_str(piece);
            if piece.ends_with('\n') || MAX_LINE <= self.open.len() {
                self.close(&mut events);
            }
        }
        events
    }

    /// What is left at the end.
    pub(super) fn finish(&mut self) -> Option<BuildEvent> {
        let mut events = Vec::new();
        self.close(&mut events);
        events.pop()
    }

    fn close(&mut self, events: &mut Vec<BuildEvent>) {
        let line = plain(std::mem::take(&mut self.open).trim_end_matches(['\n', '\r']));
        if let Some((current, total)) = step(&line) {
            events.push(BuildEvent::Step { current, total });
        }
        if !line.is_empty() {
            events.push(BuildEvent::Line(line));
        }
    }
}

/// The step that a line begins: `Step 2/5 : RUN make`.
fn step(line: &str) -> Option<(u32, u32)> {
    let (counts, _) = line.strip_prefix("Step ")?.split_once(" : ")?;
    counted(counts)
}

/// `2/5`.
pub(super) fn counted(text: &str) -> Option<(u32, u32)> {
    let (current, total) = text.split_once('/')?;
    Some((current.parse().ok()?, total.parse().ok()?))
}

/// The text without control sequences of terminals. What a carriage return has overwritten is gone.
pub(super) fn plain(text: &str) -> String {
    let last = text.rsplit('\r').find(|it| !it.is_empty()).unwrap_or_default();
    let mut out = String::with_capacity(last.len());
    let mut signs = last.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '\u{1b}' => match signs.next() {
                // CSI: parameters, then one final byte.
                Some('[') => while signs.next().is_some_and(|it| !('@'..='~').contains(&it)) {},
                // OSC: up to a bell or an escape.
                Some(']') => {
                    while signs.next().is_some_and(|it| it != '\u{7}' && it != '\u{1b}') {}
                }
                _ => (),
            },
            '\t' => out.push(sign),
            it if it.is_control() => (),
            it => out.push(it),
        }
    }
    out
}

/// The exit code that a builder's last words tell.
pub(super) fn exit_code(message: &str) -> Option<i32> {
    let after = |mark: &str| message.rsplit_once(mark).map(|it| it.1);
    let rest = after("returned a non-zero code: ").or_else(|| after("exit code: "))?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&str]) -> Vec<BuildEvent> {
        let mut transcript = Transcript::default();
        let mut events: Vec<_> = pieces.iter().flat_map(|it| transcript.push(it)).collect();
        events.extend(transcript.finish());
        events
    }

    fn line(text: &str) -> BuildEvent {
        BuildEvent::Line(text.to_owned())
    }

    #[test]
    fn pieces_become_lines() {
        assert_eq!(
            lines(&["Step 1/2 : FROM", " scratch\n\n", "a\nb", "c"]),
            [
                BuildEvent::Step { current: 1, total: 2 },
                line("Step 1/2 : FROM scratch"),
                line("a"),
                line("bc")
            ]
        );
    }

    #[test]
    fn terminals_are_not_spoken_to() {
        assert_eq!(lines(&["10%\r50%\rdone\n"]), [line("done")]);
        assert_eq!(
            lines(&["\u{1b}[1;31mred\u{1b}[0m \u{1b}]0;title\u{7}x\u{8}\n"]),
            [line("red x")]
        );
        assert_eq!(lines(&["50%\r\n"]), [line("50%")]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let long = "x".repeat(MAX_LINE * 2 + 5);
        let cut = lines(&[&long]);
        assert!(!cut.is_empty());
    }

    #[test]
    fn the_exit_code_is_read_from_either_builder() {
        let classic = "The command '/bin/sh -c exit 3' returned a non-zero code: 3";
        let kit = "process \"/bin/sh -c exit 42\" did not complete successfully: exit code: 42";
        assert_eq!((exit_code(classic), exit_code(kit)), (Some(3), Some(42)));
        assert_eq!(exit_code("no such stage"), None);
    }
}
