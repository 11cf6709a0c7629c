//! Figures for the session's heartbeat, and the service manager's watchdog.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sd_notify::NotifyState;
use slipway_engine::{Engine as _, container::Status};
use slipway_host::{Chain, stats};
use slipway_proto::control::v1::Heartbeat;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Real;
use crate::{
    session::Figures,
    world::{Traffic as _, World},
};

/// Time between two readings.
const EVERY: Duration = Duration::from_secs(5);
/// Limits of the heartbeat.
const MAX_PROBLEMS: usize = 20;
const MAX_PROBLEM: usize = 256;

/// Figures that a task keeps fresh, and that task.
pub(super) fn figures(world: Arc<World<Real>>) -> (Figures, impl Future<Output = ()> + Send) {
    let last = Arc::new(Mutex::new(Heartbeat::default()));
    let shown = Arc::clone(&last);
    let figures: Figures =
        Arc::new(move || shown.lock().unwrap_or_else(PoisonError::into_inner).clone());
    let task = async move {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let fresh = read(&world).await;
            *last.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
    };
    (figures, task)
}

async fn read(world: &World<Real>) -> Heartbeat {
    let load = stats::load();
    let disk = stats::disk(&world.settings.docker_root)
        .or_else(|_| stats::disk(&world.state_dir))
        .map_or(0, |it| it.free);
    let mut problems = world.traffic().problems().await;
    let running = match world.engine().containers(&world.names.ours()).await {
        Ok(all) => all.iter().filter(|it| it.status == Status::Running).count(),
        Err(error) => {
            problems.push(Chain(&error).to_string());
            0
        }
    };
    let cut = |it: String| it.chars().take(MAX_PROBLEM).collect();
    Heartbeat {
        load1: load.load1.unwrap_or(0.0),
        disk_free_bytes: disk,
        memory_available_bytes: load.memory_available.unwrap_or(0),
        running_containers: u32::try_from(running).unwrap_or(u32::MAX),
        problems: problems.into_iter().take(MAX_PROBLEMS).map(cut).collect(),
    }
}

/// Version of Docker; empty while it does not answer.
pub(super) async fn docker_version(world: &World<Real>) -> String {
    world.engine().info().await.map(|it| it.version).unwrap_or_default()
}

/// Tells the service manager that the agent lives, as often as it wants to hear it.
pub(super) async fn watchdog(stop: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = interval(limit / 3);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
            warn!(%error, "could not tell the service manager that the agent lives");
        }
    }
}
