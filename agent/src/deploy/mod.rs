//! Deployments, from the first message to the last event, through any crash.
//!
//! A deployment is a folder `deploys/<id>` with a journal and, while it comes in, the archive. Its
//! tasks: one that drives it through its states, one that writes its journal. Callers only leave
//! orders and read events; none of them is needed for it to go on.
//!
//! In the order in which things happen:
//!
//! * [`Deploys`] (`registry`): opens, finds and forgets deployments; one at a time per app.
//! * `spool`: the archive on its way to the disk.
//! * [`run`]: the states, and the steps between them.
//! * [`plan`]: what is to be made, kept and removed, decided from values alone.
//! * `record`, `recorder`, `journal`: what became true, on disk before anyone hears of it.
//! * [`event`], [`Feed`]: what observers see, replayed from the same file.
//! * `recover`: what a start finds, and how it goes on.
//!
//! **Secrets.** The journal holds the specification without secrets. The whole of it is in
//! `apps/<app>/releases/<n>/spec`, 0600 below 0700, because a container that was lost must be made
//! again with them; tokens for git and registries leave that file when the release is committed.
//!
//! **What holds.** Every effect is preceded by a durable record that allows it and followed by one
//! that says it happened, and every step can be repeated: names, labels and addresses of what a
//! deployment makes follow from its app, release and number. So after any crash the state in the
//! journal and what Docker shows decide together how it goes on, and at every moment exactly one
//! complete release is served: the old one until `activating` is on disk, one of the two while the
//! switch moves, the new one after it.

mod deployment;
mod error;
pub mod event;
mod feed;
mod journal;
pub mod plan;
mod record;
mod recorder;
mod recover;
mod registry;
pub mod run;
mod spool;
#[cfg(test)]
pub(crate) mod tests;

pub use deployment::Handle;
pub use error::Error;
pub use event::{Event, Stamped};
pub use feed::Feed;
pub use record::{Image, Placed, State};
pub(crate) use registry::REPAIRED;
pub use registry::{Attached, Claim, Deploys, Start};
pub(crate) use spool::write_failed;
