//! Apps as they stand, put together from their records, Docker and the switch.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use slipway_engine::{
    Engine as _,
    container::{Container, Status},
    label,
};
use slipway_proto::{
    problem::{Kind, Problem},
    value::{AppKey, Domain},
};
use uuid::Uuid;

use super::{AppRecord, Kept};
use crate::{
    deploy::Deploys,
    world::{Outside, Traffic as _, World},
};

/// An app as it stands.
#[derive(Clone, Debug)]
pub struct AppView {
    /// Which app.
    pub key: AppKey,
    /// How it stands.
    pub state: AppState,
    /// The release that serves; 0: none yet.
    pub release: u64,
    /// Where it answers.
    pub urls: Vec<String>,
    /// Host names.
    pub domains: Vec<Domain>,
    /// Its containers.
    pub containers: Vec<ContainerView>,
    /// Releases that can be rolled back to, newest first.
    pub kept: Vec<Kept>,
    /// The deployment that has not ended.
    pub deploy_id: Option<Uuid>,
}

/// How an app stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AppState {
    /// All containers of the serving release run.
    Running,
    /// Some do not.
    Degraded,
    /// It was stopped on request.
    Stopped,
    /// It has never served yet.
    Deploying,
}

/// A container of an app as it stands.
#[derive(Clone, Debug)]
pub struct ContainerView {
    /// What Docker knows.
    pub container: Container,
    /// Its release.
    pub release: u64,
    /// Requests in flight on its release, shared out evenly.
    pub in_flight: u64,
    /// Since it was started.
    pub uptime: Option<std::time::Duration>,
}

/// What there is no app of.
pub fn missing(key: &AppKey) -> Problem {
    Problem::new(
        Kind::NotFound,
        "SW-APP-MISSING",
        format!("there is no app `{key}` on this server"),
    )
}

/// Tells how apps stand.
#[derive(Debug)]
pub struct Views<O> {
    pub(super) world: Arc<World<O>>,
    pub(super) deploys: Deploys<O>,
}

impl<O: Outside> Views<O> {
    /// Looks at this world.
    pub fn new(world: Arc<World<O>>, deploys: Deploys<O>) -> Self {
        Self { world, deploys }
    }

    /// All apps, ordered by key.
    ///
    /// # Errors
    /// Docker's.
    pub async fn all(&self) -> Result<Vec<AppView>, Problem> {
        let in_flight = self.world.traffic().in_flight().await.unwrap_or_default();
        let mut views = Vec::new();
        for record in self.world.apps.all() {
            if self.shown(&record) {
                views.push(self.view(record, &in_flight).await?);
            }
        }
        Ok(views)
    }

    /// One app.
    ///
    /// # Errors
    /// There is none, or Docker's.
    pub async fn one(&self, key: &AppKey) -> Result<AppView, Problem> {
        let record = self.world.apps.get(key).filter(|it| self.shown(it));
        let in_flight = self.world.traffic().in_flight().await.unwrap_or_default();
        self.view(record.ok_or_else(|| missing(key))?, &in_flight).await
    }

    /// A record alone is no app: it may only hold the fencing number of one that was undone.
    fn shown(&self, record: &AppRecord) -> bool {
        record.serving.is_some() || self.deploys.running(&record.key).is_some()
    }

    async fn view(
        &self,
        record: AppRecord,
        in_flight: &BTreeMap<(String, u64), u64>,
    ) -> Result<AppView, Problem> {
        let engine = self.world.engine();
        let listed = engine.containers(&self.world.names.of(&record.key)).await?;
        let mut containers = Vec::with_capacity(listed.len());
        for it in listed {
            match engine.inspect(&it.id).await {
                Ok(container) => containers.push(container),
                Err(error) if error.is_missing() => (),
                Err(error) => return Err(error.into()),
            }
        }
        let deploy_id = self.deploys.running(&record.key);
        let state = state(&record, &containers);
        let now = self.world.clock.now();
        let views = containers.iter().map(|it| {
            let release = number(it, label::RELEASE);
            let peers = containers.iter().filter(|it| number(it, label::RELEASE) == release);
            let peers = u64::try_from(peers.filter(|it| it.running()).count()).unwrap_or(0);
            let open = in_flight.get(&(record.key.to_string(), release)).copied().unwrap_or(0);
            ContainerView {
                release,
                in_flight: if it.running() { open.checked_div(peers).unwrap_or(0) } else { 0 },
                uptime: uptime(it, now),
                container: it.clone(),
            }
        });
        let site = record.site();
        Ok(AppView {
            state,
            release: record.serving.as_ref().map_or(0, |it| it.release),
            urls: if record.serving.is_some() {
                self.world.traffic().urls(&site)
            } else {
                Vec::new()
            },
            domains: site.domains,
            containers: views.collect(),
            kept: record.kept,
            deploy_id,
            key: record.key,
        })
    }
}

fn number(it: &Container, label: &str) -> u64 {
    it.labels.get(label).and_then(|it| it.parse().ok()).unwrap_or(0)
}

fn uptime(it: &Container, now: SystemTime) -> Option<std::time::Duration> {
    let started = it.started_at.filter(|_| it.status == Status::Running)?;
    Some(now.duration_since(started).unwrap_or_default())
}

fn state(record: &AppRecord, containers: &[Container]) -> AppState {
    let Some(serving) = &record.serving else { return AppState::Deploying };
    if record.stopped {
        return AppState::Stopped;
    }
    let runs = |name: &String| containers.iter().any(|it| it.name == *name && it.running());
    if serving.containers.iter().all(|it| runs(&it.name)) {
        AppState::Running
    } else {
        AppState::Degraded
    }
}
