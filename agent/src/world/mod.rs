//! What the agent acts on and what it keeps in mind, in one value that everything shares.
//!
//! * [`outside`]: the outside things, as traits: Docker, the way in, the containers' own ports.
//! * [`names`]: how our objects in Docker are called.
//! * `front`: the way in: nginx, and the traffic switch beneath it.
//! * [`probe`]: asks a container whether it answers.

#[cfg(test)]
pub(crate) mod fake;
mod front;
pub mod names;
pub mod outside;
pub mod probe;

use std::{path::PathBuf, time::Duration};

pub use front::Front;
pub use names::Names;
pub use outside::{Outside, Parts, Probe, STOPPED, Site, Traffic};
use slipway_engine::{build::BuildLimits, container::Limits};
use slipway_host::{clock::Clock, redact::Redactor};
use slipway_proto::value::Outbound;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::app::{Addresses, Store};

/// Everything that a deployment or another act needs.
#[derive(Debug)]
pub struct World<O> {
    /// Docker, traffic, containers.
    pub outside: O,
    /// What the agent remembers of apps.
    pub apps: Store,
    /// Who has which address.
    pub addresses: Addresses,
    /// How our objects are called.
    pub names: Names,
    /// How things are done.
    pub settings: Settings,
    /// Where the agent keeps its state.
    pub state_dir: PathBuf,
    /// Takes secrets out of logs and events.
    pub redactor: Redactor,
    /// The time.
    pub clock: Clock,
    /// Every task of the agent.
    pub tasks: TaskTracker,
    /// Cancelled when the agent goes down.
    pub stop: CancellationToken,
}

/// How things are done.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Free space below which nothing is built, pulled or received, in bytes.
    pub min_free_bytes: u64,
    /// Where Docker keeps its data, for asking how full that disk is.
    pub docker_root: PathBuf,
    /// How long a prepared deployment is held when its caller does not say.
    pub hold: Duration,
    /// How long Docker may be away before a step fails.
    pub patience: Duration,
    /// How long nginx and the switch may take to show a new release.
    pub switch_limit: Duration,
    /// What a build may use.
    pub build: BuildLimits,
    /// What a container may use when its app does not say.
    pub limits: Limits,
    /// What an archive may hold.
    pub archive: slipway_archive::Limits,
    /// What a git fetch may take.
    pub git: slipway_git::Limits,
    /// Which git servers and registries may be asked.
    pub outbound: Outbound,
    /// What generated Dockerfiles start from.
    pub bases: slipway_dockerfile::Bases,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            min_free_bytes: 2 << 30,
            docker_root: PathBuf::from("/var/lib/docker"),
            hold: Duration::from_mins(10),
            patience: Duration::from_mins(1),
            switch_limit: Duration::from_secs(30),
            build: BuildLimits::default(),
            limits: Limits::default(),
            archive: slipway_archive::Limits::default(),
            git: slipway_git::Limits::default(),
            outbound: Outbound::default(),
            bases: slipway_dockerfile::Bases::default(),
        }
    }
}

impl<O: Outside> World<O> {
    /// Docker.
    pub fn engine(&self) -> &O::Engine {
        self.outside.engine()
    }

    /// The way in.
    pub fn traffic(&self) -> &O::Traffic {
        self.outside.traffic()
    }

    /// The containers' own ports.
    pub fn probe(&self) -> &O::Probe {
        self.outside.probe()
    }

    /// Calls Docker again for a while when it is away.
    ///
    /// # Errors
    /// Docker's, once it is not worth another try.
    pub async fn patiently<T, F>(&self, mut call: impl FnMut() -> F) -> slipway_engine::Result<T>
    where
        F: Future<Output = slipway_engine::Result<T>>,
    {
        let deadline = tokio::time::Instant::now() + self.settings.patience;
        let mut pause = Duration::from_millis(200);
        loop {
            match call().await {
                Err(error)
                    if error.retry() == slipway_engine::Retry::Later
                        && tokio::time::Instant::now() + pause < deadline =>
                {
                    tracing::warn!(error = %slipway_host::Chain(&error), "Docker is away; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                other => return other,
            }
        }
    }
}
