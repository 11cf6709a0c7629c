//! From a commit to files, written straight from its tree: no filters, no hooks, no index.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
};

use git2::{ObjectType, Odb, Oid, Repository, Tree, TreeEntry};

use crate::{Error, client::Session, error::escape};

/// The most parts of a path.
const DEPTH: usize = 64;
const PART_BYTES: usize = 255;
const PATH_BYTES: usize = 1024;
const TARGET_BYTES: usize = 1024;

/// Files being written.
pub(crate) struct Writer<'a> {
    session: &'a Session,
    root: PathBuf,
    bytes: u64,
    entries: u64,
    files: u64,
    /// Links are made last, so that nothing is written through one.
    links: Vec<(String, String)>,
}

/// A folder whose content is another repository's.
#[derive(Debug)]
pub(crate) struct Gitlink {
    pub(crate) path: String,
    pub(crate) commit: Oid,
}

impl<'a> Writer<'a> {
    /// Begins with the folder `root`, which must not exist.
    pub(crate) fn new(session: &'a Session, root: &Path) -> Result<Self, Error> {
        fs::create_dir(root).map_err(Error::write)?;
        let root = root.to_owned();
        Ok(Self { session, root, bytes: 0, entries: 0, files: 0, links: Vec::new() })
    }

    /// Writes the files of a commit beneath `prefix`, and gives the submodules that it names.
    pub(crate) fn commit(
        &mut self,
        repository: &Repository,
        commit: Oid,
        prefix: &str,
    ) -> Result<Vec<Gitlink>, Error> {
        let failed = |error: git2::Error| self.session.failure(&error);
        let odb = repository.odb().map_err(failed)?;
        let tree = repository.find_commit(commit).and_then(|it| it.tree()).map_err(failed)?;
        let mut gitlinks = Vec::new();
        self.tree(repository, &odb, (&tree, prefix), &mut gitlinks)?;
        Ok(gitlinks)
    }

    /// The folder in which the one for files lies.
    pub(crate) fn beside(&self) -> &Path {
        self.root.parent().unwrap_or(Path::new("."))
    }

    /// Makes the links, and says how many files and links there are.
    pub(crate) fn finish(self) -> Result<u64, Error> {
        for (path, target) in &self.links {
            symlink(target, self.root.join(path)).map_err(made(path))?;
        }
        Ok(self.files)
    }

    /// Goes no deeper than [`DEPTH`].
    fn tree(
        &mut self,
        repository: &Repository,
        odb: &Odb<'_>,
        (tree, prefix): (&Tree<'_>, &str),
        gitlinks: &mut Vec<Gitlink>,
    ) -> Result<(), Error> {
        for entry in tree {
            self.session.check_time()?;
            self.entries += 1;
            if self.session.limits.entries < self.entries {
                let most = self.session.limits.entries;
                return Err(Error::TooBig(format!("has more than {most} files and folders")));
            }
            let path = path(prefix, entry.name_bytes())?;
            match entry.filemode() {
                0o040_000 => {
                    fs::create_dir(self.root.join(&path)).map_err(made(&path))?;
                    let tree = repository
                        .find_tree(entry.id())
                        .map_err(|error| self.session.failure(&error))?;
                    self.tree(repository, odb, (&tree, &path), gitlinks)?;
                }
                0o100_644 | 0o100_664 => self.file(odb, &entry, &path, 0o644)?,
                0o100_755 => self.file(odb, &entry, &path, 0o755)?,
                0o120_000 => self.link(odb, &entry, path)?,
                0o160_000 => {
                    fs::create_dir(self.root.join(&path)).map_err(made(&path))?;
                    gitlinks.push(Gitlink { path, commit: entry.id() });
                }
                _ => return Err(Error::Path { path: escape(path.as_bytes()) }),
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        odb: &Odb<'_>,
        entry: &TreeEntry<'_>,
        path: &str,
        mode: u32,
    ) -> Result<(), Error> {
        let most = self.session.limits.file_bytes;
        let content = self.content(odb, entry, path, most)?;
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(self.root.join(path))
            .map_err(made(path))?;
        file.write_all(&content).map_err(Error::write)
    }

    fn link(&mut self, odb: &Odb<'_>, entry: &TreeEntry<'_>, path: String) -> Result<(), Error> {
        let most = u64::try_from(TARGET_BYTES).unwrap_or(u64::MAX);
        let target = self.content(odb, entry, &path, most)?;
        match slipway_archive::check_link(&path, &target) {
            Ok(target) => self.links.push((path, target.to_owned())),
            Err(reason) => {
                return Err(Error::Symlink { path: escape(path.as_bytes()), reason });
            }
        }
        Ok(())
    }

    /// Content of a file, after its size was looked at.
    fn content(
        &mut self,
        odb: &Odb<'_>,
        entry: &TreeEntry<'_>,
        path: &str,
        most: u64,
    ) -> Result<Vec<u8>, Error> {
        let failed = |error: git2::Error| self.session.failure(&error);
        let (size, kind) = odb.read_header(entry.id()).map_err(failed)?;
        if kind != ObjectType::Blob {
            return Err(Error::Path { path: escape(path.as_bytes()) });
        }
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        if most < size {
            let path = escape(path.as_bytes());
            return Err(Error::TooBig(format!("has a file of more than {most} bytes: `{path}`")));
        }
        let object = odb.read(entry.id()).map_err(failed)?;
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        let most = self.session.limits.checkout_bytes;
        if most < self.bytes {
            return Err(Error::TooBig(format!("has files of more than {most} bytes in all")));
        }
        Ok(object.data().to_owned())
    }
}

/// A path that is there already was in the tree twice, which only a forged one has.
fn made(path: &str) -> impl FnOnce(io::Error) -> Error {
    move |source| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Path { path: escape(path.as_bytes()) },
        _ => Error::write(source),
    }
}

/// A checked path for an entry of a tree.
fn path(prefix: &str, name: &[u8]) -> Result<String, Error> {
    let refuse = || Error::Path { path: escape(name) };
    let text = str::from_utf8(name).map_err(|_| refuse())?;
    let is_git = text.eq_ignore_ascii_case(".git") || text.eq_ignore_ascii_case("git~1");
    let is_odd = text.chars().any(|it| it.is_control() || matches!(it, '/' | '\\'));
    if is_git || is_odd || matches!(text, "" | "." | "..") || PART_BYTES < text.len() {
        return Err(refuse());
    }
    let path = if prefix.is_empty() { text.to_owned() } else { format!("{prefix}/{text}") };
    if DEPTH < path.split('/').count() || PATH_BYTES < path.len() {
        return Err(refuse());
    }
    Ok(path)
}

/// Removes what was written, when something went wrong.
pub(crate) fn discard(root: &Path) {
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %root.display(), %error, "could not remove a checkout");
        }
        _ => (),
    }
}
