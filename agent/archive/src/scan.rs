//! Checks an archive and says what is in it.

use std::{collections::BTreeMap, path::Path};

use crate::{Error, Limits};

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
    /// Things worth telling the user, at most 20.
    pub warnings: Vec<String>,
}

impl Summary {
    /// The folder to build in: empty, or the single top-level folder when everything lies in it and
    /// one of `markers` lies right beneath it (`app-main/package.json`).
    pub fn root(&self, _markers: &[&str]) -> &str {
        ""
    }
}

/// Checks the archive at `path` from its first byte to its last.
pub fn scan(_path: &Path, _limits: &Limits) -> Result<Summary, Error> {
    Err(Error::whole(crate::Code::Format, "is not read yet"))
}

/// Reads those of `names` that are regular files beneath `root`, each at most 512 KiB; a longer one is
/// left out. Checks the archive again on the way.
pub fn read_files(
    _path: &Path,
    _limits: &Limits,
    _root: &str,
    _names: &[&str],
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    Err(Error::whole(crate::Code::Format, "is not read yet"))
}

/// Checks the length and the SHA-256 of an uploaded archive: SW-ARCHIVE-DIGEST.
pub fn verify(_path: &Path, _size_bytes: u64, _sha256: &[u8]) -> Result<(), Error> {
    Err(Error::whole(crate::Code::Format, "is not read yet"))
}
