//! What can go wrong with the switch, as its callers see it.

use std::{io, path::PathBuf, time::Duration};

/// A failure of the switch or of a call to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value is not acceptable.
    #[error("`{field}` {problem}")]
    Invalid {
        /// Which value.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The generation still gets new requests, so it cannot drain.
    #[error("generation {generation} of `{app}` is the current one")]
    Current {
        /// The app.
        app: String,
        /// The generation.
        generation: u64,
    },
    /// This process has handed over to another; the same call to that one works.
    #[error("another process has taken over")]
    Retired,
    /// The table could not be written; the old one stays in force.
    #[error("could not write `{}`", path.display())]
    Persist {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The table could not be read.
    #[error("could not read `{}`", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The table was written by a newer version.
    #[error("`{}` was written by a newer version; install that, or remove the file", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// A socket could not be made.
    #[error("could not listen on `{}`", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process serves the socket.
    #[error("another process listens on `{}`", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Signals could not be watched.
    #[error("could not watch for signals")]
    Signals {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The switch could not be reached.
    #[error("no answer from the traffic switch at `{}`", path.display())]
    Unreachable {
        /// Its control socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The switch did not answer in time.
    #[error("no answer from the traffic switch within {limit:?}")]
    Timeout {
        /// How long it was waited for.
        limit: Duration,
    },
    /// The switch refused or failed.
    #[error("the traffic switch answered {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The answer was not understood.
    #[error("could not understand the traffic switch: {problem}")]
    Protocol {
        /// What was odd.
        problem: String,
    },
    /// The next version did not come up; this one goes on.
    #[error("the successor did not take over: {problem}")]
    Successor {
        /// What happened.
        problem: String,
    },
}

impl Error {
    /// Whether the same call can succeed later.
    pub fn retry(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Persist { .. }
            | Self::Retired => true,
            Self::Refused { status, .. } => *status >= 500,
            _ => false,
        }
    }
}
