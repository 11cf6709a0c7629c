//! One value of Docker's files: `{"log":"text\n","stream":"stdout","time":"2026-…Z"}`.
//!
//! Most texts hold nothing that is escaped but the line's end; those are found without copying.
//! Everything else goes through the JSON parser.

use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;

use crate::docker::logs::{assemble::Piece, time};

/// The value at `line` of `chunk`.
pub(super) fn parse(chunk: &Bytes, line: Range<usize>) -> Option<Piece> {
    let bytes = chunk.get(line.clone())?;
    plain(chunk, line.start, bytes).or_else(|| escaped(bytes))
}

fn plain(chunk: &Bytes, start: usize, line: &[u8]) -> Option<Piece> {
    const OPEN: &[u8] = b"{\"log\":\"";
    let text = line.strip_prefix(OPEN)?;
    let length = memchr::memchr2(b'\\', b'"', text)?;
    let rest = text.get(length..)?;
    let (ends, rest) = match rest.strip_prefix(b"\\n\"") {
        Some(rest) => (true, rest),
        None => (false, rest.strip_prefix(b"\"")?),
    };
    let rest = rest.strip_prefix(b",\"stream\":\"std")?;
    let (stderr, rest) = match rest.strip_prefix(b"out") {
        Some(rest) => (false, rest),
        None => (true, rest.strip_prefix(b"err")?),
    };
    let at = rest.strip_prefix(b"\",\"time\":\"")?.strip_suffix(b"\"}")?;
    let start = start + OPEN.len();
    let bytes = chunk.slice(start..start + length);
    Some(Piece { at: time::parse(at)?, stderr, bytes, ends })
}

fn escaped(line: &[u8]) -> Option<Piece> {
    #[derive(Deserialize)]
    struct Value<'a> {
        log: String,
        stream: &'a str,
        time: &'a str,
    }
    let Value { mut log, stream, time } = serde_json::from_slice(line).ok()?;
    let ends = log.ends_with('\n');
    if ends {
        log.pop();
    }
    let at = time::parse(time.as_bytes())?;
    Some(Piece { at, stderr: stream == "stderr", bytes: log.into(), ends })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> Option<(bool, String, bool)> {
        let chunk = Bytes::copy_from_slice(format!("before\n{line}").as_bytes());
        let piece = parse(&chunk, 7..chunk.len())?;
        Some((piece.stderr, String::from_utf8(piece.bytes.to_vec()).unwrap(), piece.ends))
    }

    #[test]
    fn extra_attributes_do_not_hurt() {
        let line =
            r#"{"log":"a\n","stream":"stderr","attrs":{"x":"y"},"time":"2026-11-21T12:00:00Z"}"#;
        assert_eq!(one(line), Some((true, "a".to_owned(), true)));
        assert_eq!(one("{}"), None);
        assert_eq!(one("\0\0\0"), None);
    }

    proptest! {
        #[test]
        fn both_ways_agree_with_json(text in ".{0,40}", ends in any::<bool>(), stderr in any::<bool>()) {
            let stream = if stderr { "stderr" } else { "stdout" };
            let log = serde_json::to_string(&format!("{text}{}", if ends { "\n" } else { "" })).unwrap();
            let line = format!(r#"{{"log":{log},"stream":"{stream}","time":"2026-11-21T12:00:00Z"}}"#);
            prop_assert_eq!(one(&line), Some((stderr, text, ends)));
        }
    }
}
