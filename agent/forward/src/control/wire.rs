//! The JSON of the control socket.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::Restored;

/// What the switch is doing.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Status {
    /// Process id of the switch.
    pub pid: u32,
    /// What it found on disk when it started.
    pub restored: Restored,
    /// Whether it has stopped accepting.
    pub retired: bool,
    /// Whether an older process still finishes requests; they are counted in here.
    pub predecessor: bool,
    /// The apps, in order of their keys.
    pub apps: Vec<AppStatus>,
}

impl Status {
    /// The route in force of an app.
    pub fn current(&self, app: &str) -> Option<&GenerationStatus> {
        self.apps.iter().find(|it| it.app == app)?.current.as_ref()
    }
}

/// One app.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AppStatus {
    /// Its key.
    pub app: String,
    /// The generation that gets new requests; none when the app was removed.
    pub current: Option<GenerationStatus>,
    /// Older ones that still have something open.
    pub retired: Vec<GenerationStatus>,
}

/// One generation of an app. Counters begin at the start of the process.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct GenerationStatus {
    /// Its number.
    pub generation: u64,
    /// Its release.
    pub release: String,
    /// Its containers.
    pub targets: Vec<SocketAddr>,
    /// Open requests, upgraded connections among them.
    pub in_flight: u64,
    /// Open upgraded connections.
    pub upgraded: u64,
    /// Requests so far.
    pub requests: u64,
    /// Answers of 5xx that the switch itself gave.
    pub errors: u64,
    /// Sum of the time that finished requests took, in microseconds.
    pub latency_micros: u64,
}

/// Answer of `drained` and `cut`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Open {
    /// Requests still open, or those that were cut.
    pub(crate) open: u64,
}

/// Answer of `healthz` and `retire`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Alive {
    /// Who answers.
    pub(crate) pid: u32,
}

/// Every answer that is not 2xx.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Refusal {
    /// One sentence.
    pub(crate) error: String,
}
