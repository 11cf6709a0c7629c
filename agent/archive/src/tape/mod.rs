//! Tar, read strictly: what other readers take in different ways is refused, so that all of them
//! would list the same.
//!
//! One parser does the work of a raw and a normal pass: it sees every header, and the extensions that
//! could make a second parser see other entries (a PAX `size`, two names for one entry, a prefix
//! where there is none) end the walk.

use std::io::{self, Read};

use crate::{
    error::{Code, Error},
    inflate::{skip, truncated},
    name::Name,
    tree::Node,
    walk::{Census, Entry, Kind, Visitor, drain},
};

mod header;
mod pax;

use header::{Block, Header};
use pax::Pax;

const BLOCK: u64 = 512;
/// The longest body of a header that describes the next one.
const EXTENSION_BYTES: u64 = 64 << 10;

/// What headers before an entry say about it.
#[derive(Default)]
struct Ahead {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl Ahead {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.pax.is_none()
    }
}

/// Goes through a tar to the end of its input.
pub(crate) fn walk(
    input: &mut dyn Read,
    census: &mut Census,
    visitor: &mut dyn Visitor,
) -> Result<(), Error> {
    let mut ahead = Ahead::default();
    let mut first = true;
    loop {
        let block = next_block(input, first)?;
        if block == [0; 512] {
            if !ahead.is_empty() {
                return Err(Error::whole(
                    Code::Truncated,
                    "ends before an entry that it announces",
                ));
            }
            return check_end(input);
        }
        let header = Header::parse(&block, first)?;
        first = false;
        match header.kind {
            b'L' => once(&mut ahead.name, extension(input, &header)?)?,
            b'K' => once(&mut ahead.link, extension(input, &header)?)?,
            b'x' => once(&mut ahead.pax, Pax::parse(&extension(input, &header)?)?)?,
            b'g' => Pax::parse(&extension(input, &header)?)?.check_global()?,
            _ => entry(input, &header, std::mem::take(&mut ahead), (census, visitor))?,
        }
    }
}

fn next_block(input: &mut dyn Read, first: bool) -> Result<Block, Error> {
    let mut block = [0; 512];
    match input.read_exact(&mut block) {
        Ok(()) => Ok(block),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(Error::from_io(error)),
        Err(_) if first => Err(header::foreign()),
        Err(_) => Err(truncated()),
    }
}

/// Sees that a second zero block follows the first, and then only zeros.
fn check_end(input: &mut dyn Read) -> Result<(), Error> {
    let mut seen = 0_u64;
    let mut buffer = [0; 8 << 10];
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) if seen < BLOCK => return Err(truncated()),
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::from_io(error)),
        };
        if buffer.iter().take(count).any(|it| *it != 0) {
            return Err(Error::whole(Code::Trailing, "goes on after its end"));
        }
        seen = seen.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

/// Body of a header that describes the next one.
fn extension(input: &mut dyn Read, header: &Header) -> Result<Vec<u8>, Error> {
    if EXTENSION_BYTES < header.size {
        return Err(Error::whole(Code::Size, "has a name or attribute header of more than 64 KiB"));
    }
    let mut body = Vec::new();
    (&mut *input).take(header.size).read_to_end(&mut body).map_err(Error::from_io)?;
    if u64::try_from(body.len()) != Ok(header.size) {
        return Err(truncated());
    }
    skip(&mut &mut *input, padding(header.size)).map_err(Error::from_io)?;
    Ok(body)
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Error> {
    if slot.replace(value).is_some() {
        return Err(Error::whole(Code::Format, "describes one entry twice"));
    }
    Ok(())
}

fn entry(
    input: &mut dyn Read,
    header: &Header,
    ahead: Ahead,
    (census, visitor): (&mut Census, &mut dyn Visitor),
) -> Result<(), Error> {
    let Ahead { name: long_name, link: long_link, pax } = ahead;
    let Pax { path: pax_path, link: pax_link, modified } = pax.unwrap_or_default();
    let raw = one_of(long_name.map(unterminated), pax_path)?.unwrap_or_else(|| header.name.clone());
    let raw_link =
        one_of(long_link.map(unterminated), pax_link)?.unwrap_or_else(|| header.link.clone());
    let name = Name::parse(&raw, census.limits.depth)?;
    let refuse = |code, reason: &'static str| Err(Error::entry(code, &raw, reason));
    let slashed = raw.last() == Some(&b'/');
    let kind = match header.kind {
        // Before there was a type for folders, a slash at the end made one.
        0 if slashed => Kind::Folder,
        0 | b'0' | b'7' if slashed => return refuse(Code::Path, "is a file with a folder's name"),
        0 | b'0' | b'7' => Kind::File { size: header.size, executable: header.executable },
        b'5' => Kind::Folder,
        b'2' => Kind::Link { target: name.link(&raw_link)? },
        b'1' => Kind::Same { target: hard_link(&name, &raw_link, census)? },
        b'3' | b'4' => return refuse(Code::Type, "is a device"),
        b'6' => return refuse(Code::Type, "is a FIFO"),
        b'S' => return refuse(Code::Type, "is a sparse file"),
        _ => return refuse(Code::Type, "is neither file, folder nor link"),
    };
    if !matches!(kind, Kind::File { .. }) && header.size != 0 {
        return refuse(Code::Format, "has content without being a file");
    }
    let node = match kind {
        Kind::File { .. } | Kind::Same { .. } => Node::File,
        Kind::Folder => Node::Folder,
        Kind::Link { .. } => Node::Link,
    };
    census.add(&name, node, header.size)?;
    let entry = Entry { name, kind, modified: modified.unwrap_or(header.modified) };
    let mut body = Body { input, left: header.size };
    visitor.visit(&entry, &mut body)?;
    drain(&mut body)?;
    skip(&mut body.input, padding(header.size)).map_err(Error::from_io)
}

/// A hard link may only name a file that came before.
fn hard_link(name: &Name, target: &[u8], census: &Census) -> Result<Name, Error> {
    let refuse = |reason| Error::entry(Code::Link, name.as_str().as_bytes(), reason);
    let target = Name::parse(target, census.limits.depth)
        .map_err(|_| refuse("is a hard link to a name that is not safe"))?;
    if census.tree.node(&target) != Some(Node::File) {
        return Err(refuse("is a hard link to something that is not an earlier file"));
    }
    Ok(target)
}

/// GNU and PAX each have a way to give a long name; which one wins differs from reader to reader.
fn one_of(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
    match (gnu, pax) {
        (Some(_), Some(_)) => Err(Error::whole(Code::Format, "names one entry twice")),
        (gnu, pax) => Ok(gnu.or(pax)),
    }
}

/// A GNU long name without the zero at its end. One inside stays, and is refused as a name.
fn unterminated(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

/// The bytes of one file; fewer than claimed is an error.
struct Body<'a> {
    input: &'a mut dyn Read,
    left: u64,
}

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || out.is_empty() {
            return Ok(0);
        }
        let count = self.input.take(self.left).read(out)?;
        if count == 0 {
            return Err(truncated().into());
        }
        self.left = self.left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}
