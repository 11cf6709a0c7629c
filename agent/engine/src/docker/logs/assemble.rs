//! Docker cuts lines of more than 16 KiB into pieces; this puts them together again, up to
//! [`MAX_LINE`].

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use crate::logs::{LogLine, MAX_LINE};

/// A line, or a piece of one.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) at: SystemTime,
    pub(super) stderr: bool,
    /// Without the line's end.
    pub(super) bytes: Bytes,
    /// Whether the line ends here.
    pub(super) ends: bool,
}

/// Puts pieces together, each stream for itself.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    stdout: Option<Open>,
    stderr: Option<Open>,
}

/// A line that has not ended yet. Its time is that of its first piece.
#[derive(Debug)]
struct Open {
    at: SystemTime,
    bytes: BytesMut,
}

impl Assembler {
    /// Adds a piece; what it completes goes to `out`.
    pub(super) fn push(&mut self, piece: Piece, out: &mut Vec<LogLine>) {
        let Piece { at, stderr, bytes, ends } = piece;
        let slot = if stderr { &mut self.stderr } else { &mut self.stdout };
        if slot.is_none() && ends && bytes.len() <= MAX_LINE {
            out.push(LogLine { at, stderr, bytes });
            return;
        }
        let open = slot.get_or_insert_with(|| Open { at, bytes: BytesMut::new() });
        open.bytes.extend_from_slice(&bytes);
        while MAX_LINE < open.bytes.len() {
            let bytes = open.bytes.split_to(MAX_LINE).freeze();
            out.push(LogLine { at: open.at, stderr, bytes });
        }
        if ends && let Some(Open { at, bytes }) = slot.take() {
            out.push(LogLine { at, stderr, bytes: bytes.freeze() });
        }
    }

    /// What has not ended when the output does.
    pub(super) fn finish(&mut self, out: &mut Vec<LogLine>) {
        for (slot, stderr) in [(self.stdout.take(), false), (self.stderr.take(), true)] {
            if let Some(Open { at, bytes }) = slot {
                out.push(LogLine { at, stderr, bytes: bytes.freeze() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn lines(pieces: &[(bool, &str, bool)]) -> Vec<(bool, String)> {
        let mut assembler = Assembler::default();
        let mut out = Vec::new();
        for (stderr, text, ends) in pieces {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            assembler.push(Piece { at: UNIX_EPOCH, stderr: *stderr, bytes, ends: *ends }, &mut out);
        }
        assembler.finish(&mut out);
        out.into_iter().map(|it| (it.stderr, it.text())).collect()
    }

    #[test]
    fn streams_do_not_mix() {
        assert_eq!(
            lines(&[
                (false, "a", false),
                (true, "err", true),
                (false, "b", true),
                (true, "c", false)
            ]),
            [(true, "err".to_owned()), (false, "ab".to_owned()), (true, "c".to_owned())]
        );
    }

    #[test]
    fn long_lines_are_cut_and_lose_nothing() {
        let piece = "x".repeat(16 << 10);
        let cut = lines(&vec![(false, piece.as_str(), false); 9]);
        let lengths: Vec<_> = cut.iter().map(|it| it.1.len()).collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, 16 << 10]);
    }
}
