//! What can go wrong in the store, and who has to act.

use std::io;

use slipway_proto::problem::{Kind, Problem};

use crate::id::OperationId;

/// A failed act of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address of the database is of no kind that we know.
    #[error("`{url}` is no database URL; use sqlite://… or postgres://…")]
    Url {
        /// The address, without its password.
        url: String,
    },
    /// The database could not be opened.
    #[error("could not open the database")]
    Open {
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("could not bring the database's schema up to date")]
    Migrate {
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// A statement failed.
    #[error("could not {action}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// There is no such thing, or not for this user.
    #[error("there is no such {what}")]
    Missing {
        /// What is missing.
        what: What,
    },
    /// There is such a thing already.
    #[error("there is a {what} `{name}` already")]
    Exists {
        /// What exists.
        what: What,
        /// Its name.
        name: String,
    },
    /// A prefix fits several things.
    #[error("several {what}s begin with `{prefix}`")]
    Ambiguous {
        /// What.
        what: What,
        /// The prefix.
        prefix: String,
    },
    /// The thing is in use.
    #[error("the {what} is in use by {users}")]
    InUse {
        /// What.
        what: What,
        /// By whom.
        users: String,
    },
    /// Another worker has taken the operation over, or it has ended: stop at once.
    #[error("operation {operation} has another owner, or has ended")]
    Fenced {
        /// Which operation.
        operation: OperationId,
    },
    /// What the database holds makes no sense.
    #[error("the stored {what} is broken: {detail}")]
    Corrupt {
        /// What.
        what: &'static str,
        /// How.
        detail: String,
    },
    /// A value could not be written as JSON.
    #[error("could not write {what} as JSON")]
    Encode {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The blob folder failed.
    #[error("could not {action} a blob")]
    Blob {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A blob is longer than allowed.
    #[error("the upload is longer than {limit} B")]
    BlobTooLong {
        /// The limit.
        limit: u64,
    },
    /// A blob is not what was announced.
    #[error("the upload is {got}, not {expected} as announced")]
    BlobMismatch {
        /// What came.
        got: String,
        /// What was announced.
        expected: String,
    },
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

/// Kinds of things that can be missing or exist already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// A user.
    User,
    /// An API token.
    Token,
    /// A server.
    Server,
    /// A join token.
    JoinToken,
    /// A certificate.
    Certificate,
    /// An app.
    App,
    /// A release of an app.
    Release,
    /// An operation.
    Operation,
    /// A deployment.
    Deployment,
    /// A credential.
    Credential,
    /// A sealed value or its key.
    Secret,
    /// A blob.
    Blob,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Token => "token",
            Self::Server => "server",
            Self::JoinToken => "join token",
            Self::Certificate => "certificate",
            Self::App => "app",
            Self::Release => "release",
            Self::Operation => "operation",
            Self::Deployment => "deployment",
            Self::Credential => "credential",
            Self::Secret => "secret",
            Self::Blob => "blob",
        })
    }
}

impl What {
    fn missing_code(self) -> &'static str {
        match self {
            Self::User => "SW-USER-MISSING",
            Self::Token => "SW-TOKEN-MISSING",
            Self::Server => "SW-SERVER-MISSING",
            Self::JoinToken => "SW-ENROLL-TOKEN",
            Self::Certificate => "SW-CERT-MISSING",
            Self::App => "SW-APP-MISSING",
            Self::Release => "SW-RELEASE-GONE",
            Self::Operation | Self::Deployment => "SW-DEPLOYMENT-MISSING",
            Self::Credential => "SW-CREDENTIAL-MISSING",
            Self::Secret => "SW-SECRET-MISSING",
            Self::Blob => "SW-UPLOAD-INCOMPLETE",
        }
    }

    fn exists_code(self) -> &'static str {
        match self {
            Self::User => "SW-USER-NAME",
            Self::Server => "SW-SERVER-NAME",
            Self::Credential => "SW-CREDENTIAL-NAME",
            _ => "SW-EXISTS",
        }
    }
}

impl Error {
    /// Who has to act.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Missing { .. } => Kind::NotFound,
            Self::Exists { .. } => Kind::Exists,
            Self::Ambiguous { .. } | Self::BlobTooLong { .. } | Self::BlobMismatch { .. } => {
                Kind::Invalid
            }
            Self::InUse { .. } => Kind::Conflict,
            Self::Fenced { .. } => Kind::Fenced,
            Self::Closed => Kind::Unavailable,
            Self::Database { source, .. } if transient(source) => Kind::Unavailable,
            Self::Blob { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Kind::Exhausted
            }
            Self::Url { .. }
            | Self::Open { .. }
            | Self::Migrate { .. }
            | Self::Database { .. }
            | Self::Corrupt { .. }
            | Self::Encode { .. }
            | Self::Blob { .. } => Kind::Internal,
        }
    }

    /// The error as it may leave the program. What is internal says so and nothing else; log the
    /// error itself before.
    pub fn problem(&self) -> Problem {
        let kind = self.kind();
        match self {
            Self::Missing { what } => Problem::new(kind, what.missing_code(), self.to_string()),
            Self::Exists { what, .. } => {
                Problem::new(kind, what.exists_code(), self.to_string()).hint("choose another name")
            }
            Self::Ambiguous { .. } => Problem::new(kind, "SW-AMBIGUOUS", self.to_string())
                .hint("give more characters of the id"),
            Self::InUse { what: What::Server, .. } => {
                Problem::new(kind, "SW-SERVER-IN-USE", self.to_string())
                    .hint("remove the apps first, or force it")
            }
            Self::InUse { .. } => Problem::new(kind, "SW-IN-USE", self.to_string()),
            Self::Fenced { .. } => Problem::new(kind, "SW-STALE-EPOCH", self.to_string()),
            Self::BlobTooLong { .. } => Problem::new(kind, "SW-ARCHIVE-SIZE", self.to_string()),
            Self::BlobMismatch { .. } => Problem::new(kind, "SW-ARCHIVE-DIGEST", self.to_string())
                .hint("send the archive again"),
            Self::Closed => Problem::new(kind, "SW-UNAVAILABLE", "the control plane is stopping")
                .hint("try again"),
            _ => match kind {
                Kind::Exhausted => Problem::new(kind, "SW-DISK-FULL", "the disk is full"),
                Kind::Unavailable => {
                    Problem::new(kind, "SW-UNAVAILABLE", "the database does not answer")
                        .hint("try again")
                }
                _ => Problem::internal("internal error; see the control plane's log"),
            },
        }
    }

    /// Turns the violation of a unique constraint into [`Error::Exists`].
    pub(crate) fn or_exists(self, what: What, name: &str) -> Self {
        if self.is_unique_violation() {
            return Self::Exists { what, name: name.to_owned() };
        }
        self
    }

    pub(crate) fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database { source, .. }
            if source.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation))
    }
}

/// Whether the same statement can succeed later.
fn transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => true,
        // Serialization failure, deadlock, shutdown and lost connections of PostgreSQL.
        sqlx::Error::Database(it) => it
            .code()
            .is_some_and(|code| matches!(code.as_ref(), "40001" | "40P01" | "57P01" | "57P03")),
        _ => false,
    }
}
