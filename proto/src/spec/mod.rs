//! A checked app specification. [`AppSpec`] is made only from the wire's message, which it takes
//! apart whole, so that a new field cannot be forgotten; past this point nothing checks again.
//!
//! Serialized, it has no secrets: they are skipped, and whoever stores a specification keeps them
//! apart, sealed.

mod parse;
mod source;
mod write;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

pub use source::{Build, Login, Source};

use crate::value::{
    AppKey, ContainerPath, Domain, EnvName, HealthPath, Hidden, Name, Port, ServiceName,
};

/// One service of one app, complete and checked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AppSpec {
    /// Which app, in which environment.
    pub key: AppKey,
    /// Service within the app.
    pub service: ServiceName,
    /// Where the code or the image comes from.
    pub source: Source,
    /// Port on which it listens; none: the one that the image exposes, else [`DEFAULT_PORT`].
    pub port: Option<Port>,
    /// Environment variables.
    pub env: BTreeMap<EnvName, String>,
    /// Secrets, given as environment variables. Not serialized.
    #[serde(skip)]
    pub secrets: BTreeMap<EnvName, Hidden>,
    /// Free labels.
    pub tags: Vec<String>,
    /// When it counts as healthy.
    pub health: Health,
    /// What one container may use.
    pub resources: Resources,
    /// Host names.
    pub domains: Vec<Domain>,
    /// Named volumes.
    pub volumes: Vec<Volume>,
    /// How many containers.
    pub replicas: u16,
    /// Replaces the command of the image when not empty.
    pub command: Vec<String>,
    /// The longest time a request may still run on the old release.
    pub drain_timeout: Duration,
    /// The longest time between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
}

/// Port of an app that names none, and whose image exposes none.
pub const DEFAULT_PORT: u16 = 8080;

/// When a container counts as healthy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Health {
    /// Path that must answer 2xx or 3xx; none: the port must answer and the container stay up.
    pub path: Option<HealthPath>,
    /// Time between two attempts.
    pub interval: Duration,
    /// Time after which a new container is given up.
    pub timeout: Duration,
}

/// What one container may use; none means the server's default.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Resources {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// A named volume.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Volume {
    /// Its name within the app.
    pub name: Name,
    /// Where it is mounted.
    pub path: ContainerPath,
}
