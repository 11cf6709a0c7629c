//! Writes the plain tar that everything ends as: owner 0:0, plain modes, folders before what lies
//! in them, each path once.

use std::{
    collections::{HashSet, hash_map::RandomState},
    hash::BuildHasher as _,
    io::{self, Read, Write},
};

use crate::{
    error::{Code, Error},
    name::Name,
};

/// A tar being written.
pub(crate) struct Emitter<W: Write> {
    tar: tar::Builder<W>,
    /// Folders written so far, as keyed hashes: 8 bytes each, however long the names.
    folders: HashSet<u64>,
    keys: RandomState,
    /// Paths that were put in and keep their place.
    fixed: HashSet<Name>,
}

impl<W: Write> Emitter<W> {
    /// Begins with the files that are put in.
    pub(crate) fn new(out: W, extra: &[(&str, &[u8])], depth: usize) -> Result<Self, Error> {
        let tar = tar::Builder::new(out);
        let mut emitter =
            Self { tar, folders: HashSet::new(), keys: RandomState::new(), fixed: HashSet::new() };
        for (name, bytes) in extra {
            let name = Name::parse(name.as_bytes(), depth)?;
            let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            emitter.parents(&name)?;
            emitter.file(&name, File { size, executable: false, modified: 0 }, &mut &**bytes)?;
            emitter.fixed.insert(name);
        }
        Ok(emitter)
    }

    /// Whether a file that was put in has taken this path already.
    pub(crate) fn is_taken(&self, name: &Name) -> bool {
        self.fixed.contains(name)
    }

    /// Writes a folder, unless it has been.
    pub(crate) fn folder(&mut self, name: &Name, modified: u64) -> Result<(), Error> {
        self.parents(name)?;
        self.one_folder(name, modified)
    }

    fn one_folder(&mut self, name: &Name, modified: u64) -> Result<(), Error> {
        if self.is_taken(name) {
            let reason = "is a folder where a file is put in";
            return Err(Error::entry(Code::Dup, name.as_str().as_bytes(), reason));
        }
        if name.is_root() || !self.folders.insert(self.keys.hash_one(name.as_str())) {
            return Ok(());
        }
        let mut header = header(tar::EntryType::Directory, 0o755, modified);
        self.tar
            .append_data(&mut header, format!("{}/", name.as_str()), io::empty())
            .map_err(written)
    }

    /// Writes the folders above `name` that have not been.
    pub(crate) fn parents(&mut self, name: &Name) -> Result<(), Error> {
        for folder in name.folders() {
            if !self.folders.contains(&self.keys.hash_one(folder)) {
                self.one_folder(&Name::known(folder), 0)?;
            }
        }
        Ok(())
    }

    /// Writes a file of exactly that size.
    pub(crate) fn file(
        &mut self,
        name: &Name,
        file: File,
        body: &mut dyn Read,
    ) -> Result<(), Error> {
        let mode = if file.executable { 0o755 } else { 0o644 };
        let mut header = header(tar::EntryType::Regular, mode, file.modified);
        header.set_size(file.size);
        self.parents(name)?;
        self.tar.append_data(&mut header, name.as_str(), body).map_err(written)
    }

    /// Writes a symbolic link.
    pub(crate) fn link(&mut self, name: &Name, target: &str, modified: u64) -> Result<(), Error> {
        let mut header = header(tar::EntryType::Symlink, 0o777, modified);
        self.parents(name)?;
        self.tar.append_link(&mut header, name.as_str(), target).map_err(written)
    }

    /// Writes a hard link.
    pub(crate) fn same(&mut self, name: &Name, target: &Name, modified: u64) -> Result<(), Error> {
        let mut header = header(tar::EntryType::Link, 0o644, modified);
        self.parents(name)?;
        self.tar.append_link(&mut header, name.as_str(), target.as_str()).map_err(written)
    }

    /// Writes the end.
    pub(crate) fn finish(self) -> Result<W, Error> {
        let mut out = self.tar.into_inner().map_err(written)?;
        out.flush().map_err(written)?;
        Ok(out)
    }
}

/// What a header says about a file.
#[derive(Clone, Copy)]
pub(crate) struct File {
    pub(crate) size: u64,
    pub(crate) executable: bool,
    pub(crate) modified: u64,
}

fn header(kind: tar::EntryType, mode: u32, modified: u64) -> tar::Header {
    // The largest time that 11 octal digits hold.
    const LATEST: u64 = (1 << 33) - 1;
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header.set_mtime(modified.min(LATEST));
    header
}

/// An error while copying is the reader's when it is one of ours, and else the writer's.
fn written(error: io::Error) -> Error {
    error.downcast().unwrap_or_else(|source| Error::Write { source })
}
