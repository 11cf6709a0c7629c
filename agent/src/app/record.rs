//! What the agent remembers of an app.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};
use slipway_proto::value::{AppKey, Domain, HealthPath, ServiceName};
use uuid::Uuid;

use crate::{
    deploy::{Image, Placed},
    world::Site,
};

/// How many releases' images are kept for rolling back, the serving one included.
pub const KEEP_RELEASES: usize = 5;

/// One app, as `apps/<key>/app.json` keeps it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AppRecord {
    /// Which app.
    pub key: AppKey,
    /// Highest fencing number seen; lower ones are refused.
    pub epoch: u64,
    /// The release that serves.
    pub serving: Option<Release>,
    /// The one before it, whose containers are kept, stopped.
    pub previous: Option<Release>,
    /// Releases whose images are kept, newest first, the serving one included.
    pub kept: Vec<Kept>,
    /// It was stopped on request.
    pub stopped: bool,
    /// Its port on the server, when it has no domain.
    pub port: Option<u16>,
}

/// One release that was committed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its number.
    pub release: u64,
    /// The deployment that brought it.
    pub deploy_id: Uuid,
    /// Service within the app.
    pub service: ServiceName,
    /// What it runs.
    pub image: Image,
    /// Its containers.
    pub containers: Vec<Placed>,
    /// Host names.
    pub domains: Vec<Domain>,
    /// Path at which it answers when it is healthy.
    pub path: Option<HealthPath>,
    /// The longest time a request may still run on it after a switch.
    pub drain_timeout: Duration,
    /// The longest time between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
}

/// A release that can be rolled back to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Its number.
    pub release: u64,
    /// Its image.
    pub image_id: String,
    /// When it was committed, in microseconds since the epoch.
    pub committed_at: i64,
}

impl AppRecord {
    /// An app of which nothing is known yet.
    pub fn new(key: AppKey) -> Self {
        Self {
            key,
            epoch: 0,
            serving: None,
            previous: None,
            kept: Vec::new(),
            stopped: false,
            port: None,
        }
    }

    /// The highest number of a release that was committed.
    pub fn newest(&self) -> u64 {
        let serving = self.serving.iter().chain(&self.previous).map(|it| it.release);
        serving.chain(self.kept.iter().map(|it| it.release)).max().unwrap_or(0)
    }

    /// What the record says once `release` has taken over.
    #[must_use]
    pub fn with_serving(&self, release: Release, committed_at: i64) -> Self {
        let mut next = self.clone();
        if self.serving.as_ref().is_some_and(|it| it.deploy_id == release.deploy_id) {
            return next;
        }
        let kept =
            Kept { release: release.release, image_id: release.image.id.clone(), committed_at };
        next.kept.retain(|it| it.release != release.release);
        next.kept.insert(0, kept);
        next.kept.truncate(KEEP_RELEASES);
        next.previous = next.serving.take();
        if !release.domains.is_empty() {
            next.port = None;
        }
        next.serving = Some(release);
        next.stopped = false;
        next
    }

    /// Where the serving release is reached.
    pub fn site(&self) -> Site {
        let domains = self.serving.iter().flat_map(|it| it.domains.clone()).collect::<Vec<_>>();
        let port = if domains.is_empty() { self.port } else { None };
        let path = self.serving.as_ref().and_then(|it| it.path.clone());
        Site { key: self.key.clone(), domains, port, path }
    }

    /// Releases of which something is kept: images, containers, specifications.
    pub fn releases(&self) -> BTreeSet<u64> {
        let full = self.serving.iter().chain(&self.previous).map(|it| it.release);
        full.chain(self.kept.iter().map(|it| it.release)).collect()
    }
}

impl Release {
    /// Where its containers listen.
    pub fn targets(&self) -> Vec<SocketAddr> {
        let port = self.image.port;
        self.containers.iter().map(|it| (it.address, port).into()).collect()
    }
}
