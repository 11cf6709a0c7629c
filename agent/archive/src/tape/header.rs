//! One 512-byte header.

use crate::error::{Code, Error};

pub(super) type Block = [u8; 512];

/// The fields that matter here.
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: u8,
    pub(super) size: u64,
    pub(super) executable: bool,
    /// Seconds since the epoch.
    pub(super) modified: u64,
}

impl Header {
    /// Reads a header. `first`: nothing yet shows that this is a tar at all.
    pub(super) fn parse(block: &Block, first: bool) -> Result<Self, Error> {
        let field = |at: usize, length: usize| block.get(at..at + length).unwrap_or_default();
        let sum = block
            .iter()
            .enumerate()
            .map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte }));
        if number(field(148, 8)) != Some(sum.sum()) {
            return Err(if first { foreign() } else { damaged() });
        }
        let (name, prefix) = (text(field(0, 100)), field(345, 155));
        // Only POSIX headers have a prefix. Some readers use those bytes of others as well.
        let name = match field(257, 6) {
            b"ustar\0" if !text(prefix).is_empty() => [text(prefix), b"/", name].concat(),
            b"ustar\0" => name.to_vec(),
            b"ustar " | b"\0\0\0\0\0\0" if prefix.iter().all(|it| *it == 0) => name.to_vec(),
            _ => return Err(damaged()),
        };
        let size = number(field(124, 12)).ok_or_else(damaged)?;
        // Mode, owner, group, time and device numbers: some readers stop where they make no sense.
        let others = [(100, 8), (108, 8), (116, 8), (136, 12), (329, 8), (337, 8)];
        if others.iter().any(|(at, length)| !is_number(field(*at, *length))) {
            return Err(damaged());
        }
        Ok(Self {
            name,
            link: text(field(157, 100)).to_vec(),
            kind: field(156, 1).first().copied().unwrap_or_default(),
            size,
            executable: number(field(100, 8)).unwrap_or_default() & 0o111 != 0,
            modified: number(field(136, 12)).unwrap_or_default(),
        })
    }
}

/// Up to the first zero.
fn text(field: &[u8]) -> &[u8] {
    field.split(|it| *it == 0).next().unwrap_or_default()
}

/// A number: octal digits between blanks and zeros, or GNU's binary form. None when it is neither,
/// negative, or larger than 64 bits.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((0x80, digits)) = field.split_first() {
        return digits
            .iter()
            .try_fold(0_u64, |sum, it| sum.checked_mul(256)?.checked_add(u64::from(*it)));
    }
    let digits = str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if digits.is_empty() {
        return Some(0);
    }
    digits.bytes().try_fold(0_u64, |sum, it| match it {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(it - b'0')),
        _ => None,
    })
}

/// Whether a field that hardly matters is a number, perhaps a negative one.
fn is_number(field: &[u8]) -> bool {
    matches!(field, [0x80 | 0xff, ..]) || number(field).is_some()
}

/// It does not even begin like a tar.
pub(super) fn foreign() -> Error {
    Error::whole(Code::Format, "is neither tar, tar.gz nor zip")
}

fn damaged() -> Error {
    Error::whole(Code::Format, "has a damaged tar header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary_and_never_negative() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"  644 \0"), Some(0o644));
        assert_eq!(number(&[0x80, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff; 12]), None);
        assert_eq!(number(b"12x4\0"), None);
        assert_eq!(number(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
