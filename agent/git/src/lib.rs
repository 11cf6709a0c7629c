//! Fetches one commit of a git repository over https, with libgit2 and a transport of our own.

use std::{io, path::PathBuf, time::Duration};

use slipway_host::Secret;
use slipway_proto::problem::Problem;
use tokio_util::sync::CancellationToken;

/// What to fetch, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// Address without user or password.
    pub url: String,
    /// Branch, tag or full commit id; none: the remote's default branch.
    pub reference: Option<String>,
    /// Token for the host of `url`, sent nowhere else.
    pub token: Option<Secret<String>>,
    /// Folder for the files. It must not exist, or be empty.
    pub into: PathBuf,
    /// How much and how long.
    pub limits: Limits,
    /// Where to.
    pub reach: Reach,
}

/// How much and how long a fetch may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes of all files.
    pub checkout_bytes: u64,
    /// Objects received.
    pub objects: u64,
    /// Files.
    pub files: u64,
    /// Time for all of it.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            received_bytes: 1 << 30,
            checkout_bytes: 2 << 30,
            objects: 500_000,
            files: 100_000,
            deadline: Duration::from_mins(10),
        }
    }
}

/// Which servers may be asked. Everything is off by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// Also `http`.
    pub http: bool,
    /// Also loopback, private, link-local and other addresses that are not public.
    pub private_hosts: bool,
}

/// How far a fetch has come.
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
}

/// A fetch that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder could not be used.
    #[error("could not write the checkout")]
    Write {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::internal(error.to_string())
    }
}

/// Fetches the commit and writes its files, without `.git`. Blocks: call it on a blocking thread.
/// `stop` ends it within a moment, as does the deadline.
pub fn clone(
    _request: &Request,
    _progress: &mut dyn FnMut(Progress),
    _stop: &CancellationToken,
) -> Result<Checkout, Error> {
    Err(Error::Write { source: io::Error::other("not yet") })
}
