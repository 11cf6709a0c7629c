//! What the entries of an archive are together. Names are kept as keyed hashes, 16 bytes an entry,
//! so that no archive can make this large.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
};

use unicode_normalization::UnicodeNormalization as _;

use crate::{
    error::{Code, Error, escape},
    limits::Limits,
    name::Name,
};

/// What lies at a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Node {
    /// A folder, written down or implied by the path of another entry.
    Folder,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
}

/// Paths seen so far.
#[derive(Debug)]
pub(crate) struct Tree {
    keys: RandomState,
    nodes: HashMap<u64, Node>,
    /// Paths without regard to case and composition, and which path each stands for.
    folded: HashMap<u64, u64>,
    most: u64,
    warnings: Vec<String>,
}

const WARNINGS: usize = 20;

impl Tree {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            keys: RandomState::new(),
            nodes: HashMap::new(),
            folded: HashMap::new(),
            most: limits.entries,
            warnings: Vec::new(),
        }
    }

    /// Takes an entry in, with the folders above it.
    pub(crate) fn add(&mut self, name: &Name, node: Node) -> Result<(), Error> {
        let refuse =
            |code, reason: &'static str| Err(Error::entry(code, name.as_str().as_bytes(), reason));
        if name.is_root() && node != Node::Folder {
            return Err(Error::entry(Code::Path, b".", "is not a folder"));
        }
        let (mut path, mut folded) = (0, 0);
        let mut parts = name.parts().peekable();
        while let Some(part) = parts.next() {
            path = self.keys.hash_one((path, part));
            folded = self.keys.hash_one((folded, fold(part)));
            let new = if parts.peek().is_some() { Node::Folder } else { node };
            match (self.nodes.get(&path), new) {
                (Some(Node::Folder), Node::Folder) => (),
                (Some(Node::Link), _) if parts.peek().is_some() => {
                    return refuse(Code::Link, "lies beneath a link");
                }
                (Some(_), _) if parts.peek().is_some() => {
                    return refuse(Code::Dup, "lies beneath a file");
                }
                (Some(Node::Link), _) | (Some(_), Node::Link) => {
                    return refuse(Code::Link, "is there twice, once as a link");
                }
                (Some(_), _) => return refuse(Code::Dup, "is there twice"),
                (None, _) => self.insert(path, folded, new, name)?,
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: u64, folded: u64, node: Node, name: &Name) -> Result<(), Error> {
        if self.most <= self.len() {
            let reason = format!("holds more than {} files and folders", self.most);
            return Err(Error::whole(Code::Entries, reason));
        }
        self.nodes.insert(path, node);
        if *self.folded.entry(folded).or_insert(path) != path {
            let name = escape(name.as_str().as_bytes());
            self.warn(format!("`{name}` differs from another name only by case or accents"));
        }
        Ok(())
    }

    /// What lies at a path.
    pub(crate) fn node(&self, name: &Name) -> Option<Node> {
        let path = name.parts().fold(0, |path, part| self.keys.hash_one((path, part)));
        self.nodes.get(&path).copied()
    }

    /// Hash of bytes, good for as long as this lives.
    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        self.keys.hash_one(bytes)
    }

    /// Keeps a warning, as long as there are few.
    pub(crate) fn warn(&mut self, warning: String) {
        if self.warnings.len() < WARNINGS {
            self.warnings.push(warning);
        }
    }

    /// Number of paths.
    pub(crate) fn len(&self) -> u64 {
        u64::try_from(self.nodes.len()).unwrap_or(u64::MAX)
    }

    pub(crate) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }
}

fn fold(part: &str) -> String {
    if part.is_ascii() {
        return part.to_ascii_lowercase();
    }
    part.nfc().flat_map(char::to_lowercase).nfc().collect()
}
