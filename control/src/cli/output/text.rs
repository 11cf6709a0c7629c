//! Text of others, made harmless for a terminal: it may be colored, but it cannot move the cursor,
//! set the title or reach the clipboard.

use std::fmt::Write as _;

/// Writes control characters as what they are. With `colors`, sequences that only set colors stay.
pub(in crate::cli) fn harmless(text: &str, colors: bool) -> String {
    if !text.chars().any(is_control) {
        return text.to_owned();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    let mut colored = false;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if colors && let Some(length) = color_sequence(rest) {
            let (sequence, after) = rest.split_at(length);
            safe.push_str(sequence);
            colored = true;
            rest = after;
            continue;
        }
        if is_control(first) {
            let written = write!(safe, "\\x{:02x}", u32::from(first));
            debug_assert!(written.is_ok(), "a string takes everything");
        } else {
            safe.push(first);
        }
        rest = rest.split_at(first.len_utf8()).1;
    }
    if colored {
        safe.push_str("\x1b[0m");
    }
    safe
}

fn is_control(it: char) -> bool {
    it.is_control() && it != '\t'
}

/// Length of a sequence `ESC [ digits-and-semicolons m` at the start.
fn color_sequence(text: &str) -> Option<usize> {
    let body = text.strip_prefix("\x1b[")?;
    let length = body.find(|it: char| !(it.is_ascii_digit() || it == ';'))?;
    let (_, end) = body.split_at_checked(length)?;
    (end.starts_with('m') && length <= 32).then_some(length + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_stay_and_nothing_else_does() {
        assert_eq!(harmless("\x1b[1;32mok\x1b[0m", true), "\x1b[1;32mok\x1b[0m\x1b[0m");
        assert_eq!(harmless("\x1b[1;32mok", false), "\\x1b[1;32mok");
        assert_eq!(harmless("\x1b]52;c;aGk=\x07", true), "\\x1b]52;c;aGk=\\x07");
        assert_eq!(harmless("a\rb\x1b[2Jc\0", true), "a\\x0db\\x1b[2Jc\\x00");
    }

    #[test]
    fn plain_text_and_tabs_pass() {
        assert_eq!(harmless("a\tä — <b>", true), "a\tä — <b>");
    }
}
