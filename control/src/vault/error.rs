//! What can go wrong with sealed values.

use std::{io, path::PathBuf};

use slipway_proto::problem::{Kind, Problem};

/// A failed act of the vault. Never holds a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no master key, though there should be.
    #[error("there is no master key at `{}`", .path.display())]
    NoMasterKey {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is no master key, and values are sealed with one: a new one would not open them.
    #[error(
        "there is no master key at `{}`, but the database holds values that were sealed with one; \
        put it back, or name its file by --master-key-file",
        .path.display()
    )]
    MasterKeyLost {
        /// Where it should be.
        path: PathBuf,
    },
    /// The master key could not be read or made.
    #[error("could not {action} the master key at `{}`", .path.display())]
    MasterKeyFile {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the master key.
    #[error("others may read the master key at `{}`: chmod 0400 it", .path.display())]
    MasterKeyOpen {
        /// Where.
        path: PathBuf,
    },
    /// The file holds no master key.
    #[error("`{}` holds no master key: it {reason}", .path.display())]
    MasterKeyForm {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The master key is not the one that the database's keys were wrapped with.
    #[error("the master key is not the one that this database was sealed with")]
    WrongMasterKey,
    /// A sealed value does not open: it was changed or moved, or its user's key was destroyed.
    #[error("the sealed value `{record}` does not open")]
    Sealed {
        /// Where it belongs.
        record: String,
    },
    /// The user's key was destroyed.
    #[error("the user's key was destroyed")]
    Destroyed,
    /// A value could not be encrypted.
    #[error("could not seal a value")]
    Seal,
    /// The store failed.
    #[error("could not {action}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: slipway_store::Error,
    },
}

impl Error {
    /// Whether the operator's configuration is to blame: exit code 78.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::NoMasterKey { .. }
                | Self::MasterKeyLost { .. }
                | Self::MasterKeyFile { .. }
                | Self::MasterKeyOpen { .. }
                | Self::MasterKeyForm { .. }
                | Self::WrongMasterKey
        )
    }

    /// As it may leave the program. Log the error itself before.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Store { source, .. } => source.problem(),
            Self::Destroyed | Self::Sealed { .. } => {
                Problem::new(Kind::Conflict, "SW-SECRET-SEALED", "a kept secret does not open")
                    .hint("set the secret again")
            }
            _ => Problem::internal("internal error; see the control plane's log"),
        }
    }
}
