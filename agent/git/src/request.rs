//! What to fetch, how much of it, and what came of it.

use std::{path::PathBuf, time::Duration};

use slipway_host::Secret;
use slipway_proto::value::{GitRef, GitUrl, Outbound};

/// What to fetch, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// Address of the repository.
    pub url: GitUrl,
    /// Branch, tag or full commit id, looked for in this order; none: the remote's default branch.
    pub reference: Option<GitRef>,
    /// Token for the origin (scheme, host and port) of `url`, sent nowhere else.
    pub token: Option<Secret<String>>,
    /// Folder for the files. It must not exist yet, its parent must. Gone again after an error.
    pub into: PathBuf,
    /// How much and how long.
    pub limits: Limits,
    /// Which servers may be asked.
    pub outbound: Outbound,
}

/// How much and how long a fetch may take, submodules included.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes received.
    pub received_bytes: u64,
    /// Objects received from one repository.
    pub objects: u64,
    /// Bytes of all files.
    pub checkout_bytes: u64,
    /// Bytes of one file: it is held in memory once.
    pub file_bytes: u64,
    /// Files, links and folders.
    pub entries: u64,
    /// Submodules, those of submodules included.
    pub submodules: u64,
    /// Time for all of it.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            received_bytes: 1 << 30,
            objects: 500_000,
            checkout_bytes: 2 << 30,
            file_bytes: 100 << 20,
            entries: 100_000,
            submodules: 32,
            deadline: Duration::from_mins(10),
        }
    }
}

/// How far the fetch of one repository has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// Objects received.
    pub objects: u64,
    /// Objects in all; 0 when not known yet.
    pub total_objects: u64,
    /// Bytes received.
    pub bytes: u64,
}

/// Files of one commit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkout {
    /// The commit, 40 hex digits.
    pub commit: String,
    /// The branch, unless a tag or a commit was asked for.
    pub branch: Option<String>,
    /// When it was committed, in seconds since the epoch; 0 when before it.
    pub committed_at: u64,
    /// Files and links written.
    pub files: u64,
    /// Things worth telling the user.
    pub warnings: Vec<String>,
}
