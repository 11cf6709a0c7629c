//! One way through an archive: every reader of one goes through here, so none can see an archive that
//! another does not, and none can see an entry before it is checked.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    path::Path,
};

use crate::{
    error::{Code, Error},
    inflate::Gunzip,
    limits::Limits,
    name::Name,
    scan::{Format, Summary},
    tape,
    tree::{Node, Tree},
    zip,
};

/// A checked entry.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Name,
    pub(crate) kind: Kind,
    /// Seconds since the epoch.
    pub(crate) modified: u64,
}

/// What an entry is.
#[derive(Debug)]
pub(crate) enum Kind {
    File {
        size: u64,
        executable: bool,
    },
    Folder,
    /// A symbolic link.
    Link {
        target: String,
    },
    /// A hard link to an earlier file.
    Same {
        target: Name,
    },
}

/// What is done with the entries.
pub(crate) trait Visitor {
    /// Takes one entry. What it leaves of the body is read and checked all the same.
    fn visit(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<(), Error>;
}

/// A visitor that only lets the checks happen.
pub(crate) struct Nothing;

impl Visitor for Nothing {
    fn visit(&mut self, _: &Entry, _: &mut dyn Read) -> Result<(), Error> {
        Ok(())
    }
}

/// What has been seen so far.
#[derive(Debug)]
pub(crate) struct Census {
    pub(crate) limits: Limits,
    pub(crate) tree: Tree,
    files: u64,
    unpacked_bytes: u64,
    names: Vec<String>,
    top: Top,
}

/// The folders at the top.
#[derive(Debug)]
enum Top {
    None,
    One(String),
    Many,
}

const NAMES: usize = 5_000;
const NAME_DEPTH: usize = 3;

impl Census {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            tree: Tree::new(limits),
            files: 0,
            unpacked_bytes: 0,
            names: Vec::new(),
            top: Top::None,
        }
    }

    /// Takes an entry in. `size` is what it claims, and is counted before a byte of it is read.
    pub(crate) fn add(&mut self, name: &Name, node: Node, size: u64) -> Result<(), Error> {
        if node == Node::File {
            self.unpacked_bytes = self.unpacked_bytes.saturating_add(size);
        }
        if self.limits.unpacked_bytes < self.unpacked_bytes {
            let reason = format!("unpacks to more than {} bytes", self.limits.unpacked_bytes);
            return Err(Error::whole(Code::Size, reason));
        }
        self.tree.add(name, node)?;
        if name.is_root() || name.is_clutter() {
            return Ok(());
        }
        let first = name.parts().next().unwrap_or_default();
        let is_top_file = node != Node::Folder && first == name.as_str();
        match &self.top {
            _ if is_top_file => self.top = Top::Many,
            Top::None => self.top = Top::One(first.to_owned()),
            Top::One(top) if top == first => (),
            Top::One(_) | Top::Many => self.top = Top::Many,
        }
        if node == Node::File {
            self.files += 1;
            if self.names.len() < NAMES && name.parts().count() <= NAME_DEPTH {
                self.names.push(name.as_str().to_owned());
            }
        }
        Ok(())
    }

    /// Bytes of all files so far, as claimed.
    pub(crate) fn unpacked_bytes(&self) -> u64 {
        self.unpacked_bytes
    }

    pub(crate) fn finish(mut self, format: Format) -> Result<Summary, Error> {
        if self.tree.len() == 0 {
            return Err(Error::whole(Code::Format, "holds nothing"));
        }
        self.names.sort_unstable();
        Ok(Summary {
            format,
            entries: self.tree.len(),
            files: self.files,
            unpacked_bytes: self.unpacked_bytes,
            names: self.names,
            top: if let Top::One(top) = self.top { Some(top) } else { None },
            warnings: self.tree.into_warnings(),
        })
    }
}

/// Goes through the archive at `path` from its first byte to its last.
pub(crate) fn walk(
    path: &Path,
    limits: &Limits,
    visitor: &mut dyn Visitor,
) -> Result<Summary, Error> {
    let file = File::open(path).map_err(Error::read(path.display().to_string()))?;
    let mut input = BufReader::with_capacity(64 << 10, file);
    let mut census = Census::new(limits);
    let format = match sniff(&mut input)? {
        Format::Tar => {
            tape::walk(&mut input, &mut census, visitor)?;
            Format::Tar
        }
        Format::TarGz => {
            let input = Gunzip::new(input, limits)?;
            tape::walk(&mut BufReader::with_capacity(64 << 10, input), &mut census, visitor)?;
            Format::TarGz
        }
        Format::Zip => {
            zip::walk(&mut input, &mut census, visitor)?;
            Format::Zip
        }
    };
    census.finish(format)
}

/// Tells the format by the first bytes; what is not known is left to the reader of tar to refuse.
fn sniff(input: &mut BufReader<File>) -> Result<Format, Error> {
    let start = input.fill_buf().map_err(Error::from_io)?;
    let refuse =
        |what| Err(Error::whole(Code::Format, format!("is {what}, not a tar, tar.gz or zip")));
    match start {
        [] => refuse("empty"),
        [0x1f, 0x8b, ..] => Ok(Format::TarGz),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Ok(Format::Zip),
        [b'P', b'K', 7, 8, ..] => refuse("one part of a split zip"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => refuse("xz"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => refuse("zstd"),
        [b'B', b'Z', b'h', ..] => refuse("bzip2"),
        [b'7', b'z', 0xbc, 0xaf, ..] => refuse("7z"),
        [b'R', b'a', b'r', b'!', ..] => refuse("rar"),
        _ => Ok(Format::Tar),
    }
}

/// Reads what is left of a body, so that its checks happen.
pub(crate) fn drain(body: &mut dyn Read) -> Result<(), Error> {
    io::copy(body, &mut io::sink()).map(drop).map_err(Error::from_io)
}
