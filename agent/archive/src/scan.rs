//! Checks an archive and says what is in it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use sha2::{Digest as _, Sha256};

use crate::{
    error::{Code, Error},
    limits::Limits,
    walk::{Entry, Kind, Nothing, Visitor, walk},
};

/// The longest file that [`read_files`] reads.
const FILE_BYTES: u64 = 512 << 10;
/// What it reads in all.
const FILES_BYTES: u64 = 8 << 20;

/// How the archive is packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Plain tar.
    Tar,
    /// Tar within one gzip member.
    TarGz,
    /// Zip, stored or deflated.
    Zip,
}

/// What is in an archive that passed every check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// How it is packed; a packed folder counts as tar.
    pub format: Format,
    /// Files, folders and links, folders only implied by a path included.
    pub entries: u64,
    /// Regular files.
    pub files: u64,
    /// Bytes of all files together.
    pub unpacked_bytes: u64,
    /// Paths of files at most three parts deep, sorted; the first 5,000.
    pub names: Vec<String>,
    /// The one folder in which everything lies, if there is one.
    pub top: Option<String>,
    /// Things worth telling the user, at most 20.
    pub warnings: Vec<String>,
}

impl Summary {
    /// The folder to build in: empty, or the single top-level folder when everything lies in it and
    /// one of `markers` lies right beneath it (`app-main/package.json`).
    ///
    /// Archives that a forge or a file manager makes have such a folder; one that only happens to
    /// hold `src/` has no marker in it and stays as it is.
    pub fn root(&self, markers: &[&str]) -> &str {
        let Some(top) = &self.top else { return "" };
        let is_marked = self.names.iter().any(|name| {
            let name = name.strip_prefix(top.as_str()).and_then(|it| it.strip_prefix('/'));
            name.is_some_and(|it| markers.contains(&it))
        });
        if is_marked { top } else { "" }
    }
}

/// Checks the archive at `path` from its first byte to its last.
pub fn scan(path: &Path, limits: &Limits) -> Result<Summary, Error> {
    walk(path, limits, &mut Nothing)
}

/// Reads those of `names` that are regular files beneath `root`, each at most 512 KiB and 8 MiB in all;
/// a longer one is left out. Checks the archive again on the way.
pub fn read_files(
    path: &Path,
    limits: &Limits,
    root: &str,
    names: &[&str],
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let mut reader = Reader { root, names, left: FILES_BYTES, found: BTreeMap::new() };
    walk(path, limits, &mut reader)?;
    Ok(reader.found)
}

struct Reader<'a> {
    root: &'a str,
    names: &'a [&'a str],
    left: u64,
    found: BTreeMap<String, Vec<u8>>,
}

impl Visitor for Reader<'_> {
    fn visit(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<(), Error> {
        let Kind::File { size, .. } = entry.kind else { return Ok(()) };
        let Some(name) = entry.name.below(self.root) else { return Ok(()) };
        if !self.names.contains(&name.as_str()) || FILE_BYTES.min(self.left) < size {
            return Ok(());
        }
        self.left = self.left.saturating_sub(size);
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes).map_err(Error::from_io)?;
        self.found.insert(name.as_str().to_owned(), bytes);
        Ok(())
    }
}

/// Checks the length and the SHA-256 of an uploaded archive: SW-ARCHIVE-DIGEST.
pub fn verify(path: &Path, size_bytes: u64, sha256: &[u8]) -> Result<(), Error> {
    let read = || Error::read(path.display().to_string());
    let mut file = File::open(path).map_err(read())?;
    let (mut hash, mut length) = (Sha256::new(), 0_u64);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count.map_err(read())?,
        };
        hash.update(buffer.get(..count).unwrap_or_default());
        length = length.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
    if length != size_bytes {
        let reason = format!("has {length} bytes, but {size_bytes} were announced");
        return Err(Error::whole(Code::Digest, reason));
    }
    if hash.finalize().as_slice() != sha256 {
        return Err(Error::whole(Code::Digest, "does not have the SHA-256 that was announced"));
    }
    Ok(())
}
