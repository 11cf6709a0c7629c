//! The running agent: its parts put together, its listeners, the order of starting and stopping.
//!
//! Starting: lock the state folder → read records and journals → nginx and the switch → deployments
//! go on → listeners → ready. Stopping: not serving → no new calls, deployments stop where they
//! stand → calls end within the grace → what is left is cut. The journal makes it safe to stop
//! anywhere, so nothing that takes long is waited for.
//!
//! * `build`: the parts.
//! * `listen`: the services behind the guard, on TLS and on the unix socket.
//! * `join`: waits for an identity, then opens the TLS listener and the session.
//! * `pulse`: figures for the session, and the watchdog.

mod build;
mod join;
mod listen;
mod pulse;

use std::{sync::Arc, time::Duration};

pub use build::Real;
pub use join::about;
use slipway_host::{Chain, clock::Clock, redact::Redactor};
use slipway_transport::listener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{config::Config, deploy::Deploys, watch};

/// How long cancelled tasks may take.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// An agent that could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A folder or a file cannot be used.
    #[error("could not {act} `{path}`")]
    File {
        /// What was tried.
        act: &'static str,
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another agent uses the state folder.
    #[error("another agent uses `{path}`")]
    Locked {
        /// The folder.
        path: String,
    },
    /// A part could not be started.
    #[error("could not {act}: {problem}")]
    Part {
        /// What was tried.
        act: &'static str,
        /// Why not.
        problem: slipway_proto::problem::Problem,
    },
}

/// Runs the agent until `stop`. `ready` is called once it answers.
///
/// # Errors
/// It could not be started. What goes wrong later is logged, and tried again.
pub async fn run(
    config: Config,
    redactor: Redactor,
    stop: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), Error> {
    let clock = Clock::system();
    let build::Built { world, lock } = build::build(&config, redactor, &clock).await?;
    let deploys = Deploys::new(Arc::clone(&world));
    let records = world.apps.all();
    if let Err(problem) = world.outside.traffic.restore(&records).await {
        // Apps that nginx serves already go on; `watch` and the next deployment try again.
        error!(code = %problem.code, "nginx could not be brought up: {}", problem.message);
    }
    deploys.recover().await.map_err(|error| part("recover deployments", error.into()))?;
    let health = listen::Health::new();
    let socket = config.socket();
    let unix = listener::bind_unix(&socket).map_err(file("listen on", &socket))?;
    let tasks = world.tasks.clone();
    let services = listen::services(&world, &deploys, &health).await;
    let limits =
        listener::Limits { connections: 256, drain: config.grace, ..listener::Limits::default() };
    let serving = CancellationToken::new();
    let joiner = join::Joiner {
        config: config.clone(),
        world: Arc::clone(&world),
        services: services.clone(),
        health: health.clone(),
        limits: limits.clone(),
        clock: clock.clone(),
    };
    let local = listen::guarded(services.routes(&world), None, &clock);
    tasks.spawn(listener::serve_unix(unix, local, limits, serving.clone()));
    let tcp = join::bind(&config).await?;
    tasks.spawn(joiner.run(tcp, serving.clone()));
    tasks.spawn(watch::run(Arc::clone(&world), deploys, world.stop.clone()));
    tasks.spawn(pulse::watchdog(world.stop.clone()));
    health.serving().await;
    info!(listen = %config.listen, socket = %socket.display(), "the agent serves");
    ready();
    stop.cancelled().await;
    info!("stopping");
    health.not_serving().await;
    serving.cancel();
    world.stop.cancel();
    tasks.close();
    if timeout(config.grace + LAST_GRACE, tasks.wait()).await.is_err() {
        warn!(unfinished = tasks.len(), "tasks did not end in time");
    }
    if let Err(error) = slipway_host::fs::remove(&socket) {
        warn!(error = %Chain(&error), "could not remove the socket");
    }
    drop(lock);
    info!("stopped");
    Ok(())
}

fn part(act: &'static str, problem: slipway_proto::problem::Problem) -> Error {
    Error::Part { act, problem }
}

fn file(act: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::File { act, path, source }
}
