//! Why a fetch failed.

use std::{io, time::Duration};

use slipway_proto::problem::{Kind, Problem};

/// A fetch that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address may not be dialled: SW-GIT-SCHEME, SW-GIT-HOST, SW-GIT-USERINFO.
    #[error("{}", .0.message)]
    Address(Problem),
    /// The name leads to an address that is not public: SW-GIT-HOST.
    #[error("`{host}` is not on the public internet")]
    Host {
        /// The name.
        host: String,
    },
    /// The server pointed elsewhere: SW-GIT-REDIRECT.
    #[error("the git server points elsewhere{}", .to.as_ref().map(|it| format!(": `{it}`")).unwrap_or_default())]
    Redirect {
        /// Where to, when it said so in a way that can be shown.
        to: Option<String>,
    },
    /// The server wants another token, or one at all: SW-GIT-AUTH.
    #[error("the git server {}", if *.given { "refused the token" } else { "asks for a token" })]
    Auth {
        /// Whether a token was sent.
        given: bool,
    },
    /// There is no such repository, or not for this token: SW-GIT-NOT-FOUND.
    #[error("the git server knows no such repository")]
    NotFound,
    /// What answered does not speak git, or not well: SW-GIT-PROTOCOL.
    #[error("what answers there is not a git repository: {0}")]
    Protocol(String),
    /// The server failed: SW-GIT-SERVER.
    #[error("the git server answered with status {status}")]
    Server {
        /// HTTP status.
        status: u16,
    },
    /// The server could not be reached, or went away: SW-GIT-UNREACHABLE.
    #[error("the git server could not be reached: {0}")]
    Unreachable(String),
    /// The repository has no commit: SW-GIT-EMPTY.
    #[error("the repository is empty")]
    Empty,
    /// There is no such branch, tag or commit: SW-REF-MISSING.
    #[error("the repository has no branch, tag or reachable commit `{reference}`")]
    RefMissing {
        /// What was asked for.
        reference: String,
    },
    /// A limit is reached: SW-GIT-TOO-BIG.
    #[error("the repository {0}")]
    TooBig(String),
    /// A symbolic link leaves the repository: SW-GIT-SYMLINK.
    #[error("`{path}` {reason}")]
    Symlink {
        /// The link, escaped.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A name is not safe to write: SW-GIT-PATH.
    #[error("`{path}` is not a name that can be written")]
    Path {
        /// The name, escaped.
        path: String,
    },
    /// A submodule cannot be fetched: SW-GIT-SUBMODULE.
    #[error("the submodule `{path}` cannot be fetched: {reason}")]
    Submodule {
        /// Where it belongs, escaped.
        path: String,
        /// Why not.
        reason: String,
    },
    /// It took too long: SW-GIT-TIMEOUT.
    #[error("the repository was not fetched within {} s", .limit.as_secs_f32())]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// It was asked to stop: SW-CANCELED.
    #[error("fetching the repository was canceled")]
    Canceled,
    /// The files could not be written: SW-INTERNAL.
    #[error("could not write the checkout")]
    Write {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The files could not be written.
    pub(crate) fn write(source: io::Error) -> Self {
        Self::Write { source }
    }

    fn parts(&self) -> (Kind, &'static str, &'static str) {
        match self {
            Self::Address(_) | Self::Host { .. } => {
                (Kind::Invalid, "SW-GIT-HOST", "servers fetch only from public addresses")
            }
            Self::Redirect { .. } => {
                (Kind::Invalid, "SW-GIT-REDIRECT", "give the address that it points to")
            }
            Self::Auth { given: false } => {
                (Kind::Denied, "SW-GIT-AUTH", "give a token that may read the repository")
            }
            Self::Auth { given: true } => (
                Kind::Denied,
                "SW-GIT-AUTH",
                "check that the token is current and may read the repository",
            ),
            Self::NotFound => (
                Kind::NotFound,
                "SW-GIT-NOT-FOUND",
                "check the address; a private repository needs a token",
            ),
            Self::Protocol(_) => {
                (Kind::Invalid, "SW-GIT-PROTOCOL", "give the address that `git clone` takes")
            }
            Self::Server { .. } | Self::Unreachable(_) => {
                (Kind::Unavailable, "SW-GIT-UNREACHABLE", "check the address, then try again")
            }
            Self::Empty => (Kind::Invalid, "SW-GIT-EMPTY", "push a commit first"),
            Self::RefMissing { .. } => (
                Kind::NotFound,
                "SW-REF-MISSING",
                "check the spelling; of commits, only those that the server hands out work",
            ),
            Self::TooBig(_) => {
                (Kind::Invalid, "SW-GIT-TOO-BIG", "build an image elsewhere and deploy that")
            }
            Self::Symlink { .. } => {
                (Kind::Invalid, "SW-GIT-SYMLINK", "link only to what is in the repository")
            }
            Self::Path { .. } => (Kind::Invalid, "SW-GIT-PATH", "rename it"),
            Self::Submodule { .. } => (
                Kind::Invalid,
                "SW-GIT-SUBMODULE",
                "give it an https address that the same token, or none, may read",
            ),
            Self::Timeout { .. } => {
                (Kind::Timeout, "SW-GIT-TIMEOUT", "try again, or make the repository smaller")
            }
            Self::Canceled => (Kind::Canceled, "SW-CANCELED", "start it again if need be"),
            Self::Write { .. } => (Kind::Internal, "SW-INTERNAL", "see the log of the agent"),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (kind, code, hint) = error.parts();
        match error {
            Error::Address(problem) => problem,
            Error::Write { ref source } => {
                Self::new(kind, code, format!("{error}: {}", source.kind())).hint(hint)
            }
            Error::RefMissing { .. } => {
                Self::new(kind, code, error.to_string()).field("git_branch").hint(hint)
            }
            error => Self::new(kind, code, error.to_string()).field("git_url").hint(hint),
        }
    }
}

/// Bytes from outside, made fit for one line of text.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let text: String =
        String::from_utf8_lossy(bytes).chars().take(120).flat_map(char::escape_debug).collect();
    text.replace('`', "\\u{60}")
}
