//! What is started in which order, and how it stops.
//!
//! Start: state folder, store, vault, certificate authority, first user; then the listeners are
//! bound, so that a taken port is told before anything runs; then the tasks. Operations that an
//! earlier process left are claimed by the runner's first pass.
//!
//! Stop, at SIGTERM or SIGINT: not ready, no new connections, every stream ends with a status that
//! says to come back, sessions are closed, operations are left to their journal, the store is closed.
//!
//! Tasks, all on one tracker: the gRPC listener, the HTTP listener, the runner, the renewal of our own
//! certificate, and the loops of [`crate::tasks`].
//!
//! * [`home`]: the state folder.
//! * [`first`]: what the first start makes.
//! * [`listen`]: the HTTP listener.
//! * [`figures`]: figures for Prometheus.

mod error;
mod figures;
mod first;
mod home;
mod listen;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use slipway_host::{Secret, redact::Redactor, telemetry};
use slipway_store::{Claimant, Store};
use slipway_transport::{
    Credentials, Guard,
    listener::{Limits, serve_tls},
    tls::{ClientAuth, ClientTls, Protocols, ServerTls},
};
use tokio::{net::TcpListener, sync::Notify, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

pub use error::Error;
use figures::Counted;
use home::Home;
use listen::Bound;

use crate::{
    api::{grpc, http},
    app::{Apps, Interrupted},
    auth::Auth,
    config::{Config, LogFormat},
    deploy::{Deployments, Rollout, Timing},
    enroll::{Enrollments, SessionApi, Sessions},
    fleet::{Agents, Keys, Mutual, VaultKeys},
    operation::{Runner, Settings},
    pki::{Authority, own},
    server::{Overdue, Servers},
    tasks::{self, Task, blobs::Sweep},
    user::Users,
    vault::{MasterKey, Vault},
};

/// How long a claim of an operation holds unless renewed.
const LEASE: Duration = Duration::from_secs(15);
/// Operations at once. Most of them wait for agents.
const AT_ONCE: usize = 256;
/// What running operations get to come to an end by themselves at a stop.
const GRACE: Duration = Duration::from_secs(1);
/// What connections get to finish in.
const DRAIN: Duration = Duration::from_secs(5);
/// What a killed process gets to let go of the state folder.
const DYING: Duration = Duration::from_secs(3);
/// After this a stop waits for nothing more.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the control plane until SIGTERM or SIGINT.
///
/// # Errors
/// It did not start.
pub async fn run(config: Config) -> Result<(), Error> {
    log(&config)?;
    let stop = CancellationToken::new();
    let signal = signal()?;
    let running = start(config, stop.clone()).await?;
    ready(&running);
    signal.await;
    info!("stopping");
    running.stop().await;
    Ok(())
}

fn log(config: &Config) -> Result<(), Error> {
    let redactor = Redactor::new();
    let secrets = [&config.do_token, &config.git_token];
    let live = redactor.register(secrets.into_iter().flatten().map(Secret::expose));
    // For as long as the process lives, so that its log never shows them.
    drop(KEEP.set(live));
    let format = match config.log_format {
        LogFormat::Auto => telemetry::Format::Auto,
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
        LogFormat::Journal => telemetry::Format::Journal,
    };
    let filter = config.log.clone();
    telemetry::init(telemetry::Config { format, filter, redactor }).map_err(Error::Log)
}

static KEEP: std::sync::OnceLock<slipway_host::redact::Live> = std::sync::OnceLock::new();

fn signal() -> Result<impl Future<Output = ()>, Error> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    })
}

fn ready(running: &Running) {
    info!(grpc = %running.grpc, http = %running.http, "ready");
    // Without a service manager there is nobody to tell.
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        warn!(%error, "could not notify the service manager");
    }
}

/// A control plane that runs.
#[derive(Debug)]
pub struct Running {
    /// Where gRPC listens.
    pub grpc: SocketAddr,
    /// Where HTTP listens.
    pub http: SocketAddr,
    store: Store,
    sessions: SessionApi,
    tasks: TaskTracker,
    stop: CancellationToken,
    _home: Home,
}

impl Running {
    /// Stops: connections finish, operations are left to their journal, the store is closed.
    pub async fn stop(self) {
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Stopping]) {
            warn!(%error, "could not notify the service manager");
        }
        self.stop.cancel();
        self.tasks.close();
        let ended = async {
            self.sessions.drained().await;
            self.tasks.wait().await;
        };
        if timeout(PATIENCE, ended).await.is_err() {
            warn!(tasks = self.tasks.len(), "tasks did not end in time");
        }
        self.store.close().await;
        info!("stopped");
    }
}

/// Everything that the surfaces and the loops need.
struct Parts {
    store: Store,
    authority: Authority,
    credentials: Arc<Credentials>,
    keys: Arc<dyn Keys>,
    runner: Runner,
    sessions: Sessions,
    session_api: SessionApi,
    surface: grpc::Surface,
}

/// Starts the control plane; it runs until `stop`, or until it is stopped.
///
/// # Errors
/// It did not start.
pub async fn start(config: Config, stop: CancellationToken) -> Result<Running, Error> {
    let home = Home::take(&config.data_dir, DYING).await?;
    let figures = figures::recorder().map_err(Error::Figures)?;
    let tasks = TaskTracker::new();
    let parts = assemble(&config, &home.replica, &tasks, &stop).await?;
    let Parts { store, authority, credentials, keys, runner, sessions, session_api, surface } =
        parts;

    let tcp = TcpListener::bind(config.grpc)
        .await
        .map_err(|source| Error::Bind { address: config.grpc, source })?;
    let grpc = local(config.grpc, tcp.local_addr())?;
    let web = Bound::bind(&config.http).await?;
    let http = local(config.http.listen, web.address())?;

    let (reporter, health) = tonic_health::server::health_reporter();
    let enrollments = Enrollments::new(store.clone(), authority.clone(), keys);
    let routes = grpc::routes(surface, enrollments, session_api.clone(), health)
        .map_err(Error::Reflection)?
        .prepare();
    let guarded = Guard::new(Counted(routes), Auth::new(store.clone()));
    let tls = ServerTls::new(Arc::clone(&credentials), ClientAuth::Optional, Protocols::Grpc);
    let limits = Limits { drain: DRAIN, ..Limits::default() };
    tasks.spawn(serve_tls(tcp, Arc::new(tls), guarded, limits, stop.clone()));

    let state = http::Health::new(store.clone(), stop.clone(), figures.clone());
    tasks.spawn(web.serve(http::router(state), stop.clone()));
    let drive = runner.clone();
    let stopped = stop.clone();
    tasks.spawn(async move { drive.drive(stopped).await });
    tasks.spawn(own::keep(authority, home.replica.clone(), credentials, stop.clone()));
    keep(&tasks, &stop, Overdue { store: store.clone() });
    keep(&tasks, &stop, Sweep { store: store.clone() });
    keep(&tasks, &stop, figures::Gauges { sessions, handle: figures });
    let stopped = stop.clone();
    tasks.spawn(async move {
        reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
        stopped.cancelled().await;
        reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    });
    Ok(Running { grpc, http, store, sessions: session_api, tasks, stop, _home: home })
}

/// Puts everything together, from the store up. Nothing runs yet.
async fn assemble(
    config: &Config,
    replica: &str,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Parts, Error> {
    let store = Store::open(config.database_url.expose(), &config.data_dir)
        .await
        .map_err(Error::store("open the store"))?;
    let sealed = store.system().has_keys().await.map_err(Error::store("look for keys"))?;
    let master = MasterKey::load(&config.master_key, sealed).map_err(Error::Vault)?;
    let vault = Vault::open(store.clone(), master).await.map_err(Error::Vault)?;
    let authority = Authority::open(&store, &vault).await.map_err(Error::Authority)?;
    let credentials = own::credentials(&authority, replica).await.map_err(Error::Authority)?;
    first::user(&store, authority.pin(), config.bootstrap_token_file.as_deref()).await?;
    first::credentials(&store, &vault, config).await?;
    let keys = VaultKeys::new(store.clone(), vault.clone());
    keys.prepare().await.map_err(Error::Keys)?;
    let keys: Arc<dyn Keys> = Arc::new(keys);
    let closed = store.system().close_sessions_of(replica).await;
    closed.map_err(Error::store("close the sessions of before"))?;

    let mutual = Mutual::new(ClientTls::mutual(Arc::clone(&credentials)));
    let agents = Agents::new(Arc::new(mutual), Arc::clone(&keys));
    let rollout = Rollout::new(store.clone(), vault, agents.clone(), Timing::default());
    let claimant = Claimant { owner: replica.to_owned(), lease: LEASE };
    let settings = Settings { claimant, at_once: AT_ONCE, grace: GRACE };
    let runner = Runner::builder(store.clone(), settings)
        .handle(rollout.clone())
        .handle(Interrupted)
        .build();
    let deployments = Deployments::new(rollout, runner.clone());
    let apps = Apps::new(deployments.clone(), tasks.clone());
    let timeout = config.enroll_timeout;
    let servers =
        Servers::new(store.clone(), agents, Arc::clone(&keys), authority.clone(), timeout);
    let users = Users::new(store.clone(), authority.pin().clone());
    let sessions = Sessions::new();
    let session_api = SessionApi::new(
        store.clone(),
        authority.clone(),
        Arc::clone(&keys),
        sessions.clone(),
        replica,
        stop.clone(),
    );
    let surface = grpc::Surface {
        deployments,
        apps,
        servers,
        users,
        install: store.install().to_owned(),
        tasks: tasks.clone(),
        stop: stop.clone(),
    };
    Ok(Parts { store, authority, credentials, keys, runner, sessions, session_api, surface })
}

fn keep(tasks: &TaskTracker, stop: &CancellationToken, task: impl Task) {
    let stop = stop.clone();
    tasks.spawn(async move { tasks::drive(task, &Notify::new(), stop).await });
}

fn local(address: SocketAddr, bound: std::io::Result<SocketAddr>) -> Result<SocketAddr, Error> {
    bound.map_err(|source| Error::Bind { address, source })
}

#[cfg(test)]
mod tests;
