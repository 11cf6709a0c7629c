//! Stopping, starting, restarting and removing apps. Each act can be repeated, and what it intends is
//! in the app's record before Docker hears of it, so that `watch` finishes what a crash cut short.

use std::{sync::Arc, time::Duration};

use slipway_engine::Engine as _;
use slipway_proto::{problem::Problem, value::AppKey};
use tokio::time::Instant;

use super::{AppRecord, Release, view::missing};
use crate::{
    deploy::{
        Deploys, Placed,
        run::{Age, Check},
    },
    world::{Outside, STOPPED, Traffic as _, World},
};

/// How long a started app may take to answer when its specification is lost.
const HEALTH_LIMIT: Duration = Duration::from_mins(1);

/// Acts on apps.
#[derive(Debug)]
pub struct Acts<O> {
    world: Arc<World<O>>,
    deploys: Deploys<O>,
}

impl<O: Outside> Acts<O> {
    /// Acts in this world.
    pub fn new(world: Arc<World<O>>, deploys: Deploys<O>) -> Self {
        Self { world, deploys }
    }

    /// Stops an app's containers and keeps everything else.
    ///
    /// # Errors
    /// There is no such app, it is busy, or Docker's and nginx's.
    pub async fn stop(&self, key: &AppKey) -> Result<(), Problem> {
        let _claim = self.deploys.claim(key, "stopped").await?;
        let (record, _) = self.serving(key)?;
        self.intend(key, true).await?;
        halt(&self.world, &record).await
    }

    /// Starts a stopped app and waits until it is healthy.
    ///
    /// # Errors
    /// There is no such app, it is busy or does not become healthy, or Docker's and nginx's.
    pub async fn start(&self, key: &AppKey) -> Result<(), Problem> {
        let _claim = self.deploys.claim(key, "started").await?;
        let (record, release) = self.serving(key)?;
        for placed in &release.containers {
            self.world.patiently(|| self.world.engine().start(&placed.name)).await?;
        }
        for placed in &release.containers {
            self.healthy(&record, &release, placed).await?;
        }
        self.world.traffic().serve(&record.site(), release.release, &release.targets()).await?;
        self.intend(key, false).await
    }

    /// Restarts an app's containers. With several, one after the other, each out of traffic first.
    ///
    /// # Errors
    /// There is no such app, it is busy or does not become healthy, or Docker's and nginx's.
    pub async fn restart(&self, key: &AppKey) -> Result<(), Problem> {
        let _claim = self.deploys.claim(key, "restarted").await?;
        let (record, release) = self.serving(key)?;
        let (engine, traffic) = (self.world.engine(), self.world.traffic());
        let site = record.site();
        for placed in &release.containers {
            let own = (placed.address, release.image.port).into();
            let others: Vec<_> = release.targets().into_iter().filter(|it| *it != own).collect();
            if !others.is_empty() {
                traffic.serve(&site, release.release, &others).await?;
            }
            self.world.patiently(|| engine.stop(&placed.name, release.stop_grace)).await?;
            self.world.patiently(|| engine.start(&placed.name)).await?;
            self.healthy(&record, &release, placed).await?;
            traffic.serve(&site, release.release, &release.targets()).await?;
        }
        self.intend(key, false).await
    }

    /// Removes an app with everything that belongs to it; volumes only when asked to.
    ///
    /// # Errors
    /// It is busy, or Docker's and nginx's; asked again, it goes on.
    pub async fn remove(&self, key: &AppKey, volumes: Volumes) -> Result<(), Problem> {
        let _claim = self.deploys.claim(key, "removed").await?;
        let world = &self.world;
        let known = world.apps.get(key);
        if known.is_some() {
            // Should this be cut short, nothing brings the app back.
            self.intend(key, true).await?;
        }
        world.traffic().remove(key).await?;
        let engine = world.engine();
        let grace =
            known.and_then(|it| it.serving).map_or(Duration::from_secs(10), |it| it.stop_grace);
        let filter = world.names.of(key);
        for container in world.patiently(|| engine.containers(&filter)).await? {
            world.patiently(|| engine.stop(&container.id, grace)).await?;
            world.patiently(|| engine.remove(&container.id)).await?;
        }
        let network = world.names.network(key);
        world.patiently(|| engine.remove_network(&network)).await?;
        for release in world.apps.specs(key).await? {
            let tag = world.names.image(key, release);
            match world.patiently(|| engine.remove_image(&tag)).await {
                Err(error) if !error.is_missing() && !in_use(&error) => return Err(error.into()),
                _ => (),
            }
        }
        if volumes == Volumes::Remove {
            for volume in world.patiently(|| engine.volumes(&filter)).await? {
                world.patiently(|| engine.remove_volume(&volume.name)).await?;
            }
        }
        world.addresses.forget(key).await?;
        world.apps.remove(key).await
    }

    fn serving(&self, key: &AppKey) -> Result<(AppRecord, Release), Problem> {
        let record = self.world.apps.get(key).ok_or_else(|| missing(key))?;
        let release = record.serving.clone().ok_or_else(|| missing(key))?;
        Ok((record, release))
    }

    async fn intend(&self, key: &AppKey, stopped: bool) -> Result<(), Problem> {
        let change = move |it: &mut AppRecord| {
            it.stopped = stopped;
            Ok(())
        };
        self.world.apps.update(key, change).await
    }

    async fn healthy(
        &self,
        record: &AppRecord,
        release: &Release,
        placed: &Placed,
    ) -> Result<(), Problem> {
        let spec = self.world.apps.spec(&record.key, release.release).await?;
        let health = spec.map_or_else(|| default_health(release), |it| it.health);
        let deadline = Instant::now() + health.timeout;
        let port = release.image.port;
        let check = Check { health: &health, port, deadline, age: Age::Old };
        check.passes(&self.world, placed).await
    }
}

/// Whether volumes go with their app.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Volumes {
    /// They stay.
    Keep,
    /// They go, with what is in them.
    Remove,
}

/// Takes a stopped app out of traffic, lets its requests end, and stops its containers.
pub(crate) async fn halt<O: Outside>(world: &World<O>, record: &AppRecord) -> Result<(), Problem> {
    let Some(release) = &record.serving else { return Ok(()) };
    world.traffic().serve(&record.site(), STOPPED, &[]).await?;
    world.traffic().drain(&record.key, release.release, release.drain_timeout).await?;
    for placed in &release.containers {
        world.patiently(|| world.engine().stop(&placed.name, release.stop_grace)).await?;
    }
    Ok(())
}

fn default_health(release: &Release) -> slipway_proto::spec::Health {
    let interval = Duration::from_millis(500);
    slipway_proto::spec::Health { path: release.path.clone(), interval, timeout: HEALTH_LIMIT }
}

fn in_use(error: &slipway_engine::Error) -> bool {
    matches!(error, slipway_engine::Error::InUse { .. })
}
