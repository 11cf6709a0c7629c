//! Durable work. An operation is a row with an owner, a lease and an epoch; a [`Handler`] is
//! ordinary async code over a [`Run`] of it, which may be cut off anywhere and starts again from
//! its first line, here or on another replica.
//!
//! * What a [`Run::step`] gave is kept: a finished step is not repeated. One that was cut off runs
//!   again, so it looks up what it may have done before it does it.
//! * A run ends with [`Run::finish`] or [`Run::finish_deployment`], which give the [`Ended`] that a
//!   handler has to return. Until then somebody runs it: the [`Runner`] claims what is new, what
//!   was this replica's own before a restart, and what another replica let go.
//! * A run whose lease was lost is dropped where it stands, and none of its writes is accepted any
//!   more. A run that was asked to stop, or is past its deadline, learns so from
//!   [`Run::stop_asked`] and puts things back, best with an [`Undo`].
//!
//! Tasks: one renews the lease of each run; one runs each handler; one claims. All are on the
//! runner's tracker.

mod run;
mod runner;
mod undo;

use std::future::Future;

use futures::future::BoxFuture;
pub use run::{Ended, Run, StopReason};
pub use runner::{Builder, Runner, Settings};
use slipway_proto::problem::{Kind, Problem};
use slipway_store as store;
pub use undo::Undo;

/// Does the operations of one kind.
pub trait Handler: Send + Sync + 'static {
    /// The kind, as [`store::NewOperation::kind`] names it.
    const KIND: &'static str;

    /// Runs an operation from its first line to its end. What it has to say to its user it says in
    /// events and in its end; an error here means that it could not go on *now*: it stays open, and
    /// is run again when its lease has ended.
    fn run(&self, run: Run) -> impl Future<Output = Result<Ended, Error>> + Send;
}

/// A handler without its type.
trait AnyHandler: Send + Sync + 'static {
    fn run(&self, run: Run) -> BoxFuture<'_, Result<Ended, Error>>;
}

impl<H: Handler> AnyHandler for H {
    fn run(&self, run: Run) -> BoxFuture<'_, Result<Ended, Error>> {
        Box::pin(Handler::run(self, run))
    }
}

/// Why an operation could not go on now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed, or refused because another has claimed the operation.
    #[error("could not {action}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: store::Error,
    },
    /// What an earlier version recorded cannot be read.
    #[error("could not read {what} of the operation")]
    Decode {
        /// What.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A result cannot be recorded.
    #[error("could not record what step `{step}` gave")]
    Encode {
        /// Which step.
        step: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// Whether another has claimed the operation.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Store { source: store::Error::Fenced { .. }, .. })
    }

    /// As it may leave the program. Log the error itself before.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Store { source, .. } => source.problem(),
            Self::Decode { .. } | Self::Encode { .. } => {
                Problem::new(Kind::Internal, "SW-INTERNAL", "internal error; see the log")
            }
        }
    }
}

#[cfg(test)]
mod tests;
