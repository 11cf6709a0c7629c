//! Zip, read strictly. The central directory says what there is; the entries must then lie one after
//! the other from the first byte to the directory, each as the directory says, so that a reader
//! that goes from the front sees the same.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom},
};

use crate::{
    error::{Code, Error},
    inflate::{Inflate, bytes, skip, truncated},
    name::Name,
    walk::{Census, Entry, Kind, Visitor, drain},
};

mod directory;
mod fields;

use directory::{Method, Slot, What};
use fields::Fields;

/// The longest descriptor that may follow an entry's data.
const DESCRIPTOR_BYTES: u64 = 24;
/// The longest target of a link.
const TARGET_BYTES: u32 = 1024;

/// Goes through a zip to the end of its input.
pub(crate) fn walk(
    input: &mut BufReader<File>,
    census: &mut Census,
    visitor: &mut dyn Visitor,
) -> Result<(), Error> {
    let (mut slots, end) = directory::read(input, census)?;
    slots.sort_unstable_by_key(|it| it.offset);
    input.seek(SeekFrom::Start(0)).map_err(Error::from_io)?;
    let (mut at, mut gap) = (0, 0);
    for slot in slots {
        approach(input, at, slot.offset, gap)?;
        let (name, length) = local(input, &slot, census)?;
        let mut packed = input.take(slot.packed);
        data(&mut packed, &slot, name, visitor)?;
        if packed.limit() != 0 {
            return Err(damaged("has data that none of its entries uses"));
        }
        at = slot.offset.saturating_add(length).saturating_add(slot.packed);
        gap = if slot.has_descriptor { DESCRIPTOR_BYTES } else { 0 };
    }
    approach(input, at, end, gap)
}

/// Moves from the end of one entry to the start of the next.
fn approach(input: &mut impl Read, at: u64, next: u64, gap: u64) -> Result<(), Error> {
    match next.checked_sub(at) {
        Some(between) if between <= gap => skip(input, between).map_err(Error::from_io),
        Some(_) => Err(damaged("holds bytes that belong to none of its entries")),
        None => Err(Error::whole(Code::Dup, "has entries that share their bytes")),
    }
}

/// Reads the header in front of the data, and compares it with the directory.
fn local(input: &mut impl Read, slot: &Slot, census: &Census) -> Result<(Name, u64), Error> {
    const LENGTH: u64 = 30;
    let header: [u8; 30] = bytes(input).map_err(Error::from_io)?;
    let header = Fields(&header);
    if header.u32(0) != 0x0403_4b50 {
        return Err(damaged("has a directory that points to no entry"));
    }
    let (name_length, extra) = (header.u16(26), header.u16(28));
    let mut name = vec![0; usize::from(name_length)];
    input.read_exact(&mut name).map_err(|_| truncated())?;
    skip(input, u64::from(extra)).map_err(Error::from_io)?;
    if census.tree.hash(&name) != slot.name || header.u16(8) != slot.method_code {
        return Err(damaged("has an entry that its directory describes otherwise"));
    }
    // A header written before the data was known says nothing about sizes; the 64-bit form says it
    // elsewhere. The directory's figures are enforced in any case.
    let is_known = header.u16(6) & directory::HAS_DESCRIPTOR == 0 && header.u32(22) != u32::MAX;
    if is_known && u64::from(header.u32(22)) != slot.size {
        return Err(Error::entry(Code::Size, &name, "has another size than its directory says"));
    }
    if is_known && u64::from(header.u32(18)) != slot.packed {
        return Err(damaged("has an entry that its directory describes otherwise"));
    }
    let length = LENGTH + u64::from(name_length) + u64::from(extra);
    Ok((Name::parse(&name, census.limits.depth)?, length))
}

/// Hands one entry to the visitor, and reads its data to the end.
fn data(
    packed: &mut impl BufRead,
    slot: &Slot,
    name: Name,
    visitor: &mut dyn Visitor,
) -> Result<(), Error> {
    let stored;
    let mut inflated;
    let input: &mut dyn Read = match slot.method {
        Method::Stored => {
            stored = packed;
            stored
        }
        Method::Deflated => {
            inflated = Inflate::new(packed);
            &mut inflated
        }
    };
    let label = name.as_str().to_owned();
    let mut body = Body {
        input,
        slot,
        name: &label,
        left: slot.size,
        crc: crc32fast::Hasher::new(),
        ended: false,
    };
    let kind = match slot.what {
        What::Folder => Kind::Folder,
        What::File { executable } => Kind::File { size: slot.size, executable },
        What::Link => {
            let mut target = Vec::new();
            body.read_to_end(&mut target).map_err(Error::from_io)?;
            Kind::Link { target: name.link(&target)? }
        }
    };
    let entry = Entry { name, kind, modified: slot.modified };
    visitor.visit(&entry, &mut body)?;
    drain(&mut body)
}

/// The bytes of one entry: as many as the directory says, with the checksum that it says.
struct Body<'a> {
    input: &'a mut dyn Read,
    slot: &'a Slot,
    name: &'a str,
    left: u64,
    crc: crc32fast::Hasher,
    ended: bool,
}

impl Body<'_> {
    fn check_end(&mut self) -> io::Result<()> {
        let refuse = |code, reason| Err(Error::entry(code, self.name.as_bytes(), reason).into());
        if self.input.read(&mut [0])? != 0 {
            return refuse(Code::Size, "is longer than its directory says");
        }
        if self.crc.clone().finalize() != self.slot.crc {
            return refuse(Code::Digest, "does not match its own checksum");
        }
        Ok(())
    }
}

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ended || out.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            self.ended = true;
            self.check_end()?;
            return Ok(0);
        }
        let count = self.input.take(self.left).read(out)?;
        if count == 0 {
            let reason = "is shorter than its directory says";
            return Err(Error::entry(Code::Size, self.name.as_bytes(), reason).into());
        }
        self.crc.update(out.get(..count).unwrap_or_default());
        self.left = self.left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}

fn damaged(reason: &'static str) -> Error {
    Error::whole(Code::Format, reason)
}
