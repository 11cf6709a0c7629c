//! The directory at the end of a zip.

use std::{
    fs::File,
    io::{BufReader, Read as _, Seek as _, SeekFrom},
};

use super::{Fields, TARGET_BYTES, damaged};
use crate::{
    error::{Code, Error},
    inflate::{bytes, exceeds_ratio, skip, too_dense, truncated},
    name::Name,
    tree::Node,
    walk::Census,
};

/// Bit of an entry's flags: its sizes and checksum follow its data.
pub(super) const HAS_DESCRIPTOR: u16 = 1 << 3;
/// Bits of an entry's flags: the data or the directory is encrypted, or the data is a patch.
const UNREADABLE: u16 = 1 | 1 << 5 | 1 << 6 | 1 << 13;

/// The newest version of the format, 6.3, that other readers take.
const NEWEST: u16 = 63;

/// What the directory says about an entry. Small: there may be 65,534. The name is read again where
/// the data is.
pub(super) struct Slot {
    pub(super) offset: u64,
    pub(super) packed: u64,
    pub(super) size: u64,
    pub(super) modified: u64,
    pub(super) name: u64,
    pub(super) crc: u32,
    pub(super) method_code: u16,
    pub(super) method: Method,
    pub(super) what: What,
    pub(super) has_descriptor: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Method {
    Stored,
    Deflated,
}

#[derive(Clone, Copy)]
pub(super) enum What {
    File { executable: bool },
    Folder,
    Link,
}

/// Where the directory is.
struct End {
    entries: u16,
    offset: u64,
    size: u64,
}

/// Reads the directory, and takes its entries in. Also gives the place where it begins.
pub(super) fn read(
    input: &mut BufReader<File>,
    census: &mut Census,
) -> Result<(Vec<Slot>, u64), Error> {
    let end = end(input)?;
    input.seek(SeekFrom::Start(end.offset)).map_err(Error::from_io)?;
    let mut directory = input.take(end.size);
    let (mut slots, mut packed) = (Vec::new(), 0_u64);
    for _ in 0..end.entries {
        let slot = slot(&mut directory, census)?;
        packed = packed.saturating_add(slot.packed);
        slots.push(slot);
    }
    if directory.limit() != 0 {
        return Err(damaged("has more directory entries than it counts"));
    }
    if exceeds_ratio(census.unpacked_bytes(), packed, census.limits.ratio) {
        return Err(too_dense(census.limits.ratio));
    }
    Ok((slots, end.offset))
}

/// Finds the record at the very end, behind which there may be a comment.
fn end(input: &mut BufReader<File>) -> Result<End, Error> {
    const LENGTH: usize = 22;
    const LONGEST: u64 = 22 + 65_535;
    let length = input.seek(SeekFrom::End(0)).map_err(Error::from_io)?;
    let start = length.saturating_sub(LONGEST);
    input.seek(SeekFrom::Start(start)).map_err(Error::from_io)?;
    let mut tail = Vec::new();
    input.read_to_end(&mut tail).map_err(Error::from_io)?;
    let mut found = None;
    let mut follows = false;
    for (at, window) in tail.windows(LENGTH).enumerate() {
        if !window.starts_with(b"PK\x05\x06") {
            continue;
        }
        let stop = at + LENGTH + usize::from(Fields(window).u16(20));
        if stop == tail.len() && found.replace((at, window)).is_some() {
            return Err(damaged("has two directories"));
        }
        follows |= stop < tail.len();
    }
    let Some((at, record)) = found else {
        let trailing = Error::whole(Code::Trailing, "goes on after its end");
        return Err(if follows { trailing } else { truncated() });
    };
    let record = Fields(record);
    let (entries, size, offset) = (record.u16(10), record.u32(12), record.u32(16));
    if entries == u16::MAX || size == u32::MAX || offset == u32::MAX {
        return Err(damaged("is a 64-bit zip, which is not read; a tar.gz of any size is"));
    }
    if record.u32(4) != 0 || record.u16(8) != entries {
        return Err(damaged("is one part of a split zip"));
    }
    let (size, offset) = (u64::from(size), u64::from(offset));
    if start.saturating_add(u64::try_from(at).unwrap_or(u64::MAX)) != offset + size {
        return Err(damaged("has a directory that is not where it should be"));
    }
    Ok(End { entries, offset, size })
}

fn slot(input: &mut impl std::io::Read, census: &mut Census) -> Result<Slot, Error> {
    let header: [u8; 46] = bytes(input).map_err(Error::from_io)?;
    let header = Fields(&header);
    if header.u32(0) != 0x0201_4b50 {
        return Err(damaged("has fewer directory entries than it counts"));
    }
    let mut raw = vec![0; usize::from(header.u16(28))];
    input.read_exact(&mut raw).map_err(|_| truncated())?;
    let mut extra = vec![0; usize::from(header.u16(30))];
    input.read_exact(&mut extra).map_err(|_| truncated())?;
    skip(input, u64::from(header.u16(32))).map_err(Error::from_io)?;
    let name = Name::parse(&raw, census.limits.depth)?;
    let (flags, packed, size) = (header.u16(8), header.u32(20), header.u32(24));
    let refuse = |code, reason: &'static str| Err(Error::entry(code, &raw, reason));
    if NEWEST < header.u16(6) & 0xff {
        return refuse(Code::Format, "needs a newer program");
    }
    if flags & UNREADABLE != 0 {
        return refuse(Code::Format, "is encrypted");
    }
    let method = match header.u16(10) {
        0 => Method::Stored,
        8 => Method::Deflated,
        _ => return refuse(Code::Format, "is packed in a way other than stored or deflated"),
    };
    if [packed, size, header.u32(42)].contains(&u32::MAX) {
        return refuse(Code::Size, "is of 4 GiB or more");
    }
    let (what, node) = match what(header, &raw) {
        Some(What::Folder) if size != 0 => return refuse(Code::Format, "is a folder with content"),
        Some(what @ What::Folder) => (what, Node::Folder),
        Some(What::Link) if TARGET_BYTES < size => {
            return refuse(Code::Link, "links to more than 1024 bytes");
        }
        Some(what @ What::Link) => (what, Node::Link),
        Some(what @ What::File { .. }) => (what, Node::File),
        None => return refuse(Code::Type, "is neither file, folder nor link"),
    };
    census.add(&name, node, u64::from(size))?;
    Ok(Slot {
        offset: u64::from(header.u32(42)),
        packed: u64::from(packed),
        size: u64::from(size),
        modified: header.modified(Fields(&extra)),
        name: census.tree.hash(&raw),
        crc: header.u32(16),
        method_code: header.u16(10),
        method,
        what,
        has_descriptor: flags & HAS_DESCRIPTOR != 0,
    })
}

/// What an entry is: by its Unix mode where it has one, and by a slash at the end of its name.
fn what(header: Fields<'_>, raw: &[u8]) -> Option<What> {
    const UNIX: u16 = 3;
    const MAC: u16 = 19;
    let host = header.u16(4) >> 8;
    let mode = if host == UNIX || host == MAC { header.u32(38) >> 16 } else { 0 };
    let slashed = raw.last() == Some(&b'/');
    match (mode & 0o170_000, slashed) {
        (0 | 0o040_000, true) | (0o040_000, false) => Some(What::Folder),
        (0 | 0o100_000, false) => Some(What::File { executable: mode & 0o111 != 0 }),
        (0o120_000, false) => Some(What::Link),
        _ => None,
    }
}
