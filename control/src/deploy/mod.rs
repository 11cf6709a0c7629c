//! A deployment, from the request to its last event.
//!
//! * [`request`]: checks what a caller wants, seals its secrets, records it as an operation.
//! * [`upload`]: the archive, on its way into the blob store.
//! * [`rollout`]: the operation itself, every server through the stages; before it [`ready`]: the
//!   archive and the queue.
//! * [`plan`]: what a rollout does next, as a pure function.
//! * [`drive`]: one server's part, over as many streams as it takes.
//! * [`event`], [`record`]: what the agents tell, written down once.
//! * [`finish`]: the end, in one transaction.
//! * [`view`]: reading: lists, one deployment, its events.
//!
//! A deployment belongs to nobody's connection: whoever reads it reads the store.

mod drive;
mod event;
mod finish;
mod note;
mod plan;
mod ready;
mod record;
mod request;
mod rollout;
mod specs;
mod upload;
mod view;

use std::time::Duration;

pub use drive::Patience;
pub use request::Started;
pub(crate) use request::{BackTo, Order};
pub use rollout::Rollout;
use slipway_proto::{agent::v1 as agent, problem::Problem};
use slipway_store::{Claimant, Operation, OperationId, Store, UserId};
use specs::Specs;
pub use upload::Upload;
use upload::Uploads;
pub use view::Page;

use crate::{fleet::Agents, operation::Runner, refused::interrupted};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// All of it.
    pub whole: Duration,
    /// Preparing on every server.
    pub prepare: Duration,
    /// Moving traffic.
    pub activate: Duration,
    /// Draining and retiring the old release.
    pub commit: Duration,
    /// Putting things back.
    pub undo: Duration,
    /// An upload from which nothing arrives.
    pub upload_idle: Duration,
    /// Until a queued deployment looks again when nothing woke it.
    pub queue_poll: Duration,
    /// A server that does not answer.
    pub patience: Patience,
}

impl Default for Timing {
    fn default() -> Self {
        let minutes = |it: u64| Duration::from_secs(it * 60);
        Self {
            whole: minutes(6 * 60),
            prepare: minutes(75),
            activate: minutes(3),
            commit: minutes(30),
            undo: minutes(30),
            upload_idle: minutes(5),
            queue_poll: Duration::from_secs(2),
            patience: Patience { first: minutes(1), later: minutes(10) },
        }
    }
}

/// All deployments of this control plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deployments {
    rollout: Rollout,
    runner: Runner,
}

impl Deployments {
    /// Records deployments for `runner`, which has `rollout` among its handlers.
    pub fn new(rollout: Rollout, runner: Runner) -> Self {
        Self { rollout, runner }
    }

    /// Runs an operation that was just recorded.
    async fn run(&self, operation: Operation) -> Result<(), Problem> {
        let run = self.runner.adopt(operation).await.map_err(interrupted)?;
        self.runner.start(run);
        Ok(())
    }

    pub(crate) fn claimant(&self) -> &Claimant {
        self.runner.claimant()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.rollout.store
    }

    pub(crate) fn agents(&self) -> &Agents {
        &self.rollout.agents
    }

    /// The whole specification of a deployment, secrets included.
    pub(crate) async fn spec(
        &self,
        user: UserId,
        id: OperationId,
    ) -> Result<agent::AppSpec, Problem> {
        self.rollout.specs.load(user, id).await
    }

    pub(crate) fn runner(&self) -> &Runner {
        &self.runner
    }

    fn specs(&self) -> &Specs {
        &self.rollout.specs
    }

    fn uploads(&self) -> &Uploads {
        &self.rollout.uploads
    }

    fn timing(&self) -> &Timing {
        &self.rollout.timing
    }
}

#[cfg(test)]
pub(crate) mod tests;
