//! What can go wrong on the command line, and the exit code of each.

use std::{io, path::PathBuf};

use slipway_proto::{control::v1 as wire, problem::Problem};
use tonic::Status;

/// A command that did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line does not make sense.
    #[error("{0}")]
    Usage(String),
    /// A configuration file, or a variable, does not.
    #[error("{message}")]
    Config {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// The control plane refused, or could not be reached.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// A deployment ended without serving the new release.
    #[error("the deployment failed")]
    Deployment {
        /// Its id.
        deployment_id: String,
        /// How it ended.
        done: Box<wire::DoneEvent>,
    },
    /// Some servers did not do what they were asked to.
    #[error("{0}")]
    Servers(String),
    /// Something on this machine is missing or broken.
    #[error("{message}")]
    Local {
        /// What happened.
        message: String,
        /// What to do about it. May be empty.
        hint: String,
    },
    /// A file or a folder could not be used.
    #[error("could not {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Standard output is closed.
    #[error("could not print")]
    Print(#[source] io::Error),
    /// The person left with Ctrl-C; what is left to say has been said.
    #[error("interrupted")]
    Left,
}

impl Error {
    /// Something on this machine is missing or broken.
    pub fn local(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Local { message: message.into(), hint: hint.into() }
    }

    /// A configuration file, or a variable, does not make sense.
    pub fn config(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Config { message: message.into(), hint: hint.into() }
    }

    /// 1 failed, 2 wrong usage, 78 wrong configuration; 0 when the reader of a pipe has enough.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Config { .. } => 78,
            Self::Print(source) if source.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Problem(_)
            | Self::Deployment { .. }
            | Self::Servers(_)
            | Self::Local { .. }
            | Self::File { .. }
            | Self::Print(_)
            | Self::Left => 1,
        }
    }
}

// The two that every verb meets; `?` keeps the verbs readable.
impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Problem(Box::new(Problem::from_status(&status)))
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}
