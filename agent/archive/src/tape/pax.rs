//! PAX attributes: `length key=value\n`, again and again.

use crate::error::{Code, Error};

/// The attributes that matter here.
#[derive(Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    /// Seconds since the epoch.
    pub(super) modified: Option<u64>,
}

impl Pax {
    pub(super) fn parse(mut body: &[u8]) -> Result<Self, Error> {
        let mut pax = Self::default();
        while !body.is_empty() {
            let (key, value, rest) = record(body).ok_or_else(damaged)?;
            body = rest;
            match key {
                b"path" => super::once(&mut pax.path, value.to_vec())?,
                b"linkpath" => super::once(&mut pax.link, value.to_vec())?,
                b"mtime" => pax.modified = Some(seconds(value).ok_or_else(damaged)?),
                b"atime" | b"ctime" | b"uid" | b"gid" => drop(seconds(value).ok_or_else(damaged)?),
                // Our limits fit into the plain header. With both, readers part ways over where the
                // next header is.
                b"size" => return Err(Error::whole(Code::Format, "gives a size in a PAX header")),
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err(Error::whole(Code::Type, "holds a sparse file"));
                }
                _ => (),
            }
        }
        Ok(pax)
    }

    /// For all entries, only what does not matter here may be set, such as git's comment.
    pub(super) fn check_global(&self) -> Result<(), Error> {
        if self.path.is_some() || self.link.is_some() {
            return Err(Error::whole(Code::Format, "gives all its entries one name"));
        }
        Ok(())
    }
}

/// Key, value and what follows.
fn record(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = body.iter().position(|it| *it == b' ')?;
    let length = body.get(..digits).filter(|it| it.iter().all(u8::is_ascii_digit))?;
    let length: usize = str::from_utf8(length).ok()?.parse().ok()?;
    let (record, rest) = body.split_at_checked(length)?;
    let record = record.get(digits + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|it| *it == b'=')?;
    Some((record.get(..equals)?, record.get(equals + 1..)?, rest))
}

/// Whole seconds of a time such as `1700000000.25`; times before the epoch become 0.
fn seconds(value: &[u8]) -> Option<u64> {
    let text = str::from_utf8(value).ok()?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let are_digits = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    if digits.is_empty() || !are_digits(digits) || !are_digits(part) {
        return None;
    }
    if digits.len() < whole.len() { Some(0) } else { digits.parse().ok() }
}

fn damaged() -> Error {
    Error::whole(Code::Format, "has a damaged PAX header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        assert_eq!(record(b"9 a=bcde\n.."), Some((&b"a"[..], &b"bcde"[..], &b".."[..])));
        for bad in [&b"11 a=bcde\n"[..], b"9 a=bcdef", b"x a=b\n", b"4 ab\n", b"+9 a=bcd\n", b"0 "]
        {
            assert_eq!(record(bad), None, "{}", bad.escape_ascii());
        }
    }
}
