//! Makes an archive of a folder.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use nix::fcntl::OFlag;
use sha2::{Digest as _, Sha256};

use crate::{
    emit::{self, Emitter},
    error::{Code, Error, escape},
    ignore::Ignore,
    limits::Limits,
    name::Name,
    scan::{Format, Summary},
    tree::Node,
    walk::Census,
};

/// What a packed folder leaves out, beside `.git`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Leave {
    /// What the first of `.slipwayignore`, `.dockerignore`, `.gitignore` at the top says. For a
    /// user's folder.
    #[default]
    Ignored,
    /// Nothing. For a git checkout, where every file is there on purpose; Docker itself still heeds
    /// `.dockerignore`.
    Nothing,
}

/// The times that files get.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Times {
    /// Those that they have.
    #[default]
    Keep,
    /// One for all, in seconds since the epoch: for a checkout, the time of the commit.
    At(u64),
}

/// How a folder is packed.
#[derive(Clone, Debug, Default)]
pub struct Packing<'a> {
    /// What is left out.
    pub leave: Leave,
    /// The times that files get.
    pub times: Times,
    /// Files put in, in place of any of the same name.
    pub extra: &'a [(&'a str, &'a [u8])],
}

/// A packed folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Packed {
    /// What is in it, without the files put in.
    pub summary: Summary,
    /// Length of the tar.
    pub size_bytes: u64,
    /// SHA-256 of the tar.
    pub sha256: [u8; 32],
}

/// Writes a plain tar of the folder `dir`, sorted by name, such that [`crate::scan()`] takes it: the same
/// folder gives the same bytes. Never follows a link; a link that leaves the folder is refused.
/// Sockets, FIFOs and devices are left out with a warning.
pub fn pack_dir(
    dir: &Path,
    limits: &Limits,
    packing: &Packing<'_>,
    out: &mut impl Write,
) -> Result<Packed, Error> {
    let ignore = match packing.leave {
        Leave::Ignored => Ignore::find(dir).map_err(Error::read(dir.display().to_string()))?,
        Leave::Nothing => Ignore::default(),
    };
    let out = Measured { out, hash: Sha256::new(), length: 0 };
    let emitter = Emitter::new(out, packing.extra, limits.depth)?;
    let mut packer = Packer { emitter, census: Census::new(limits), ignore, times: packing.times };
    packer.folder(dir, &Name::default())?;
    let measured = packer.emitter.finish()?;
    Ok(Packed {
        summary: packer.census.finish(Format::Tar)?,
        size_bytes: measured.length,
        sha256: measured.hash.finalize().into(),
    })
}

struct Packer<W: Write> {
    emitter: Emitter<W>,
    census: Census,
    ignore: Ignore,
    times: Times,
}

impl<W: Write> Packer<W> {
    /// Packs what lies in a folder. Goes no deeper than the limit on depth.
    fn folder(&mut self, dir: &Path, within: &Name) -> Result<(), Error> {
        let mut names = Vec::new();
        for item in fs::read_dir(dir).map_err(Error::read(dir.display().to_string()))? {
            names.push(item.map_err(Error::read(dir.display().to_string()))?.file_name());
        }
        names.sort_unstable();
        for file_name in names.iter().filter(|it| *it != ".git") {
            let path = dir.join(file_name);
            let read = || Error::read(path.display().to_string());
            let meta = path.symlink_metadata().map_err(read())?;
            let raw = [within.as_str().as_bytes(), file_name.as_bytes()].join(&b'/');
            let raw = raw.strip_prefix(b"/").unwrap_or(&raw);
            // A name that cannot be sent does no harm where it is not sent.
            let lossy = String::from_utf8_lossy(raw);
            let left_out = self.ignore.leaves_out(&lossy, meta.is_dir());
            if left_out && !(meta.is_dir() && self.ignore.may_bring_back()) {
                continue;
            }
            let name = Name::parse(raw, self.census.limits.depth)?;
            if meta.is_dir() && left_out {
                self.folder(&path, &name)?;
            } else {
                self.item(&path, &name, &meta)?;
            }
        }
        Ok(())
    }

    fn item(&mut self, path: &Path, name: &Name, meta: &Metadata) -> Result<(), Error> {
        let read = || Error::read(path.display().to_string());
        let modified = self.modified(meta);
        if meta.is_dir() {
            self.census.add(name, Node::Folder, 0)?;
            self.emitter.folder(name, modified)?;
            return self.folder(path, name);
        }
        if self.emitter.is_taken(name) {
            return Ok(());
        }
        if meta.is_symlink() {
            let target = fs::read_link(path).map_err(read())?;
            let target = name.link(target.as_os_str().as_bytes())?;
            self.census.add(name, Node::Link, 0)?;
            return self.emitter.link(name, &target, modified);
        }
        if !meta.is_file() {
            let name = escape(name.as_str().as_bytes());
            self.census.tree.warn(format!("`{name}` is not a regular file and is left out"));
            return Ok(());
        }
        let (file, meta) = open(path).map_err(read())?;
        self.census.add(name, Node::File, meta.len())?;
        let modified = self.modified(&meta);
        let described =
            emit::File { size: meta.len(), executable: meta.mode() & 0o111 != 0, modified };
        let mut body = Whole { file, left: meta.len(), name };
        self.emitter.file(name, described, &mut body)
    }

    fn modified(&self, meta: &Metadata) -> u64 {
        match self.times {
            Times::Keep => u64::try_from(meta.mtime()).unwrap_or_default(),
            Times::At(time) => time,
        }
    }
}

/// Opens a regular file, and nothing that has taken its place since.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits()).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no longer a regular file"));
    }
    Ok((file, meta))
}

/// A file of a known size. What it has grown by is left; having shrunk is an error.
struct Whole<'a> {
    file: File,
    left: u64,
    name: &'a Name,
}

impl Read for Whole<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || out.is_empty() {
            return Ok(0);
        }
        let count = (&mut self.file).take(self.left).read(out)?;
        if count == 0 {
            let reason = "became shorter while it was packed";
            return Err(Error::entry(Code::Truncated, self.name.as_str().as_bytes(), reason).into());
        }
        self.left = self.left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}

/// A writer that knows the length and the hash of what went through.
struct Measured<W> {
    out: W,
    hash: Sha256,
    length: u64,
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(bytes.get(..count).unwrap_or_default());
        self.length = self.length.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
