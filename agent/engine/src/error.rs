//! What goes wrong at the line, and who has to act.

use std::{fmt, io, time::Duration};

use slipway_host::Chain;
use slipway_proto::problem::{Kind, Problem};

/// Result of a call to the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// An error from below: of the client library, a socket, a parser.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Whether the same call can succeed later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// Not without a change.
    Never,
    /// Soon: Docker or a registry is away.
    Later,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Docker does not answer.
    #[error("Docker did not answer when asked to {act}")]
    Unreachable {
        /// What it was asked.
        act: &'static str,
        /// Why not.
        #[source]
        source: Cause,
    },
    /// Docker took the call but did not end it in time.
    #[error("Docker took longer than {limit:?} to {act}")]
    Timeout {
        /// What it was asked.
        act: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// Docker is older than we can work with.
    #[error("Docker's interface is version {found}, but {need} is needed")]
    TooOld {
        /// What it has.
        found: String,
        /// What we need.
        need: &'static str,
    },
    /// There is no such container, image, network or volume.
    #[error("there is no {what} `{name}`")]
    Missing {
        /// `container`, `image`, `network` or `volume`.
        what: Object,
        /// Which.
        name: String,
    },
    /// The name belongs to something that was made differently.
    #[error("{what} `{name}` exists already and was made differently")]
    Taken {
        /// What.
        what: Object,
        /// Which.
        name: String,
    },
    /// It cannot go while something uses it.
    #[error("{what} `{name}` is in use")]
    InUse {
        /// What.
        what: Object,
        /// Which.
        name: String,
    },
    /// The addresses are given away already.
    #[error("the address of {what} `{name}` is already taken: {message}")]
    AddressTaken {
        /// A container or a network.
        what: Object,
        /// Which.
        name: String,
        /// Docker's words.
        message: String,
    },
    /// An argument that Docker must not see.
    #[error("{what} `{value}` {problem}")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// What it was.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The image cannot be run on this machine, or not with this command.
    #[error("container `{name}` could not be started: {message}")]
    Start {
        /// Which.
        name: String,
        /// Docker's words.
        message: String,
    },
    /// The registry has no such image, or does not show it.
    #[error("the registry has no image `{reference}`")]
    NotAtRegistry {
        /// Which.
        reference: String,
    },
    /// The registry wants other credentials.
    #[error("the registry does not let us pull `{reference}`")]
    RegistryAuth {
        /// Which.
        reference: String,
    },
    /// The registry does not answer, or not as one.
    #[error("the registry of `{reference}` does not answer: {message}")]
    Registry {
        /// Which.
        reference: String,
        /// Docker's words.
        message: String,
    },
    /// A step of the Dockerfile failed.
    #[error("the build failed: {message}")]
    Build {
        /// The builder's words.
        message: String,
        /// Exit code of the command that failed, if one did.
        exit_code: Option<i32>,
    },
    /// The build took too long.
    #[error("the build took longer than {limit:?}")]
    BuildTimeout {
        /// How long it had.
        limit: Duration,
    },
    /// The build gave no sign of life.
    #[error("the build gave no sign of life for {limit:?}")]
    BuildIdle {
        /// How long it had.
        limit: Duration,
    },
    /// The build context could not be read.
    #[error("the build context could not be read")]
    Context {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk is full.
    #[error("the server's disk is full: Docker could not {act}")]
    DiskFull {
        /// What it was asked.
        act: &'static str,
    },
    /// Docker said no.
    #[error("Docker refused to {act}: {message}")]
    Refused {
        /// What it was asked.
        act: &'static str,
        /// Status of its answer.
        status: u16,
        /// Its words.
        message: String,
    },
    /// Docker said something that we do not understand.
    #[error("Docker's answer to {act} was not understood")]
    Answer {
        /// What it was asked.
        act: &'static str,
        /// What is odd about it.
        #[source]
        source: Cause,
    },
}

/// A kind of object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Object {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
        })
    }
}

impl Error {
    /// A reference or an id that is not one.
    pub(crate) fn reference(value: &str, problem: &'static str) -> Self {
        Self::argument("image", value, problem)
    }

    pub(crate) fn argument(what: &'static str, value: &str, problem: &'static str) -> Self {
        Self::Argument { what, value: value.to_owned(), problem }
    }

    pub(crate) fn missing(what: Object, name: &str) -> Self {
        Self::Missing { what, name: name.to_owned() }
    }

    /// Whether the same call can succeed later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Registry { .. } => Retry::Later,
            Self::Refused { status, .. } if *status >= 500 => Retry::Later,
            _ => Retry::Never,
        }
    }

    /// Whether the thing that the call was about does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// Who has to act.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. } | Self::Registry { .. } => Kind::Unavailable,
            Self::Timeout { .. } | Self::BuildTimeout { .. } | Self::BuildIdle { .. } => {
                Kind::Timeout
            }
            Self::Missing { .. } | Self::NotAtRegistry { .. } => Kind::NotFound,
            Self::RegistryAuth { .. } => Kind::Denied,
            Self::Taken { .. }
            | Self::InUse { .. }
            | Self::AddressTaken { .. }
            | Self::TooOld { .. }
            | Self::Start { .. }
            | Self::Build { .. } => Kind::Conflict,
            Self::Argument { .. } => Kind::Invalid,
            Self::DiskFull { .. } => Kind::Exhausted,
            Self::Context { .. } | Self::Refused { .. } | Self::Answer { .. } => Kind::Internal,
        }
    }

    /// The code by which programs know it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "SW-DOCKER-UNREACHABLE",
            Self::Timeout { .. } => "SW-DOCKER-TIMEOUT",
            Self::TooOld { .. } => "SW-DOCKER-VERSION",
            Self::Missing { what, .. } => match what {
                Object::Container => "SW-CONTAINER-MISSING",
                Object::Image => "SW-IMAGE-MISSING",
                Object::Network => "SW-NETWORK-MISSING",
                Object::Volume => "SW-VOLUME-MISSING",
            },
            Self::Taken { .. } => "SW-DOCKER-NAME",
            Self::InUse { what: Object::Image, .. } => "SW-IMAGE-IN-USE",
            Self::InUse { .. } => "SW-DOCKER-IN-USE",
            Self::AddressTaken { .. } => "SW-DOCKER-ADDRESS",
            Self::Argument { what: "image", .. } => "SW-IMAGE",
            Self::Argument { .. } => "SW-DOCKER-ARGUMENT",
            Self::Start { .. } => "SW-CONTAINER-START",
            Self::NotAtRegistry { .. } => "SW-IMAGE-MISSING",
            Self::RegistryAuth { .. } => "SW-IMAGE-AUTH",
            Self::Registry { .. } => "SW-IMAGE-REGISTRY",
            Self::Build { .. } => "SW-BUILD-FAILED",
            Self::BuildTimeout { .. } => "SW-BUILD-TIMEOUT",
            Self::BuildIdle { .. } => "SW-BUILD-IDLE",
            Self::Context { .. } => "SW-BUILD-CONTEXT",
            Self::DiskFull { .. } => "SW-DISK-FULL",
            Self::Refused { .. } => "SW-DOCKER-REFUSED",
            Self::Answer { .. } => "SW-DOCKER-ANSWER",
        }
    }

    /// What to do about it.
    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unreachable { .. } => "look at `systemctl status docker` on the server",
            Self::Timeout { .. } => "the server is busy; try again",
            Self::TooOld { .. } => "update Docker on the server",
            Self::NotAtRegistry { .. } => {
                "check the name and the tag, and the credentials if it is private"
            }
            Self::RegistryAuth { .. } => "check the user and the password",
            Self::Registry { .. } => "check the registry's host name, or try again",
            Self::Build { .. } => "the lines above say which step failed",
            Self::BuildTimeout { .. } | Self::BuildIdle { .. } => {
                "make the build faster, or raise the agent's limit"
            }
            Self::DiskFull { .. } => "remove old releases, or give the server a larger disk",
            Self::InUse { .. } => "remove what uses it first",
            Self::Start { .. } => "check the command and the image's processor type",
            _ => return None,
        })
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        // Causes are of sockets and parsers; they hold no secrets.
        let problem = Self::new(error.kind(), error.code(), Chain(&error).to_string());
        match error.hint() {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_is_away_is_worth_another_try() {
        let source = io::Error::from(io::ErrorKind::ConnectionRefused).into();
        let error = Error::Unreachable { act: "start a container", source };
        assert_eq!(error.retry(), Retry::Later);
        assert_eq!(
            Problem::from(error).to_string(),
            "SW-DOCKER-UNREACHABLE: Docker did not answer when asked to start a container: \
             connection refused; look at `systemctl status docker` on the server"
        );
    }

    #[test]
    fn a_failed_build_is_final() {
        let error = Error::Build { message: "exit 3".to_owned(), exit_code: Some(3) };
        assert_eq!(error.retry(), Retry::Never);
        assert_eq!(error.kind(), Kind::Conflict);
    }
}
