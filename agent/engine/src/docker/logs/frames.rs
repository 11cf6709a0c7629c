//! The daemon's frames: eight bytes of header (stream, three zeros, length), then a time, a space and
//! a line or a piece of one.

use bytes::{Bytes, BytesMut};

use super::{
    assemble::{Assembler, Piece},
    time,
};
use crate::logs::LogLine;

/// The longest frame. Docker's own are at most 16 KiB and a time.
const LONGEST: usize = 4 << 20;
const HEADER: usize = 8;

/// Takes frames apart.
#[derive(Debug, Default)]
pub(super) struct Frames {
    assembler: Assembler,
}

/// What is no frame.
#[derive(Debug, thiserror::Error)]
#[error("the output is not in frames")]
pub(super) struct Odd;

impl Frames {
    /// Takes all whole frames out of the buffer. Lines share its memory.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Vec<LogLine>, Odd> {
        let whole = whole(buffer)?;
        let chunk = buffer.split_to(whole).freeze();
        let mut lines = Vec::with_capacity(chunk.len() / 96);
        let mut at = 0;
        while let Some((stderr, length)) = header(chunk.get(at..).unwrap_or_default())? {
            let start = at + HEADER;
            at = start + length;
            self.assembler.push(piece(&chunk, stderr, start, at)?, &mut lines);
        }
        Ok(lines)
    }

    /// What has not ended when the output does.
    pub(super) fn finish(&mut self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        self.assembler.finish(&mut lines);
        lines
    }
}

/// How many bytes are whole frames.
fn whole(buffer: &[u8]) -> Result<usize, Odd> {
    let mut at = 0;
    while let Some((_, length)) = header(buffer.get(at..).unwrap_or_default())? {
        let end = at + HEADER + length;
        if buffer.len() < end {
            break;
        }
        at = end;
    }
    Ok(at)
}

/// Stream and length; `None` when there is no whole header.
fn header(bytes: &[u8]) -> Result<Option<(bool, usize)>, Odd> {
    let Some(&[stream, zero1, zero2, zero3, a, b, c, d]) = bytes.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| Odd)?;
    if [zero1, zero2, zero3] != [0; 3] || !matches!(stream, 1 | 2) || LONGEST < length {
        return Err(Odd);
    }
    Ok(Some((stream == 2, length)))
}

fn piece(chunk: &Bytes, stderr: bool, start: usize, end: usize) -> Result<Piece, Odd> {
    let payload = chunk.get(start..end).ok_or(Odd)?;
    // The time is some 30 bytes long.
    let space = payload.iter().take(40).position(|it| *it == b' ').ok_or(Odd)?;
    let at = time::parse(payload.get(..space).unwrap_or_default()).ok_or(Odd)?;
    let ends = payload.last() == Some(&b'\n');
    let text = start + space + 1..end - usize::from(ends);
    Ok(Piece { at, stderr, bytes: chunk.slice(text), ends })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(stream: u8, payload: &str) -> Vec<u8> {
        let text = format!("2026-11-21T12:00:00.000000001Z {payload}");
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0], &length[..], text.as_bytes()].concat()
    }

    /// Feeds bytes in portions of this size.
    fn feed(bytes: &[u8], portion: usize) -> Vec<(bool, String)> {
        let (mut frames, mut buffer) = (Frames::default(), BytesMut::new());
        let mut lines = Vec::new();
        for part in bytes.chunks(portion) {
            buffer.extend_from_slice(part);
            lines.extend(frames.take(&mut buffer).unwrap());
        }
        lines.extend(frames.finish());
        lines.into_iter().map(|it| (it.stderr, it.text())).collect()
    }

    proptest! {
        #[test]
        fn frames_may_be_cut_anywhere(
            texts in proptest::collection::vec("[^\n]{0,20}", 1..8),
            portion in 1_usize..64,
        ) {
            let bytes: Vec<_> = texts.iter().flat_map(|it| frame(1, &format!("{it}\n"))).collect();
            let expected: Vec<_> = texts.into_iter().map(|it| (false, it)).collect();
            prop_assert_eq!(feed(&bytes, portion), expected);
        }
    }

    #[test]
    fn an_empty_line_is_a_line_and_a_frame_without_end_is_a_piece() {
        let bytes = [frame(2, "\n"), frame(1, "a"), frame(1, "b\n"), frame(1, "c\r\n")].concat();
        let expected = [(true, ""), (false, "ab"), (false, "c\r")];
        assert_eq!(feed(&bytes, 7), expected.map(|(stderr, it)| (stderr, it.to_owned())));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [&b"HTTP/1.1 200"[..], &[1, 0, 0, 0, 0xff, 0, 0, 0], &frame(3, "x\n")] {
            assert!(Frames::default().take(&mut BytesMut::from(bytes)).is_err());
        }
        let no_time = [&[1, 0, 0, 0, 0, 0, 0, 2][..], b"a\n"].concat();
        assert!(Frames::default().take(&mut BytesMut::from(&no_time[..])).is_err());
    }
}
