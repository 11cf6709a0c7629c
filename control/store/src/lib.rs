//! BOUNDARY: everything that the control plane keeps. All SQL is here, and runs unchanged on SQLite
//! and PostgreSQL.
//!
//! [`Store::open`] gives a [`Store`]; there are two ways on from it:
//!
//! * [`Store::of`] a user is the only way to a user's rows. What belongs to others is missing.
//! * [`Store::system`] is the installation's own: sign-in, agents, workers, recovery.
//!
//! Modules in the order in which a deployment needs them:
//!
//! * [`user`], [`server`], [`cert`], [`secret`]: who calls, where it goes, who may, what it needs.
//! * [`deployment`], [`app`]: what is deployed. Recorded in one transaction, ended in one.
//! * [`operation`]: who works on it now: claims, leases, epochs, finished steps.
//! * [`event`]: what it says meanwhile, in numbers without gaps.
//! * [`blob`]: its source, in a folder.
//! * [`audit`]: who did what.
//!
//! **Invariants.** A worker's write is refused once another has claimed its operation
//! ([`Error::Fenced`]): each locks the operation's row by its epoch, in the same transaction.
//! Transactions take locks in this order: events, an operation, everything else. Whoever follows
//! something watches first and reads then.

pub mod app;
pub mod audit;
pub mod blob;
pub mod cert;
mod db;
pub mod deployment;
mod error;
pub mod event;
mod hub;
mod id;
mod json;
pub mod operation;
pub mod secret;
pub mod server;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod user;

pub use app::{App, AppLock, AppOverview, AppServer, Release, Stopped};
pub use audit::{AuditRow, Entry, Verified};
pub use blob::{Blob, Blobs, Digest};
pub use cert::{Ca, CaRole, Cert, CertProfile, Enrolled, Enrollment, JoinToken};
pub use deployment::{
    Deployment, DeploymentServer, DeploymentServerState, DeploymentState, NewDeployment,
    ServerOutcome, SourceKind,
};
pub use error::{Error, What};
pub use event::{Done, Event, EventBody, Failure, Follow, NewEvent, Seen, ServerDone, StepState};
pub use hub::Changes;
pub use id::{AppId, At, CredentialId, OperationId, ServerId, UserId};
pub use json::JsonText;
pub use operation::{NewOperation, Operation, OperationState, Recorded, encode_input};
pub use secret::{Credential, CredentialKind, Sealed, WrappedKey};
pub use server::{AgentFacts, Force, NewJoinToken, Server, ServerState};
pub use store::{Claimant, Epoch, Owner, Store, System};
pub use user::{ApiToken, NewToken, SignIn, User};
