//! The parts of the agent, made of its configuration.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use slipway_engine::{Docker, network::Subnet};
use slipway_forward::Client;
use slipway_host::{clock::Clock, fs, redact::Redactor};
use slipway_proto::problem::Problem;
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Error, file, part};
use crate::{
    app::{Addresses, Store},
    config::{Config, NginxMode},
    proxy::{self, Nginx},
    world::{Front, Names, Parts, Settings, World, probe::Direct},
};

/// How long an agent that is ending may still hold the state folder.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// Docker, nginx with our switch, and the network.
pub type Real = Parts<Docker, Front<Client>, Direct>;

/// The parts.
pub(super) struct Built {
    pub(super) world: Arc<World<Real>>,
    /// Held while the agent runs.
    pub(super) lock: fs::Lock,
}

/// Makes the parts. Connects to nothing yet.
pub(super) async fn build(
    config: &Config,
    redactor: Redactor,
    clock: &Clock,
) -> Result<Built, Error> {
    // Others pass through to their sockets and to nginx's folder; what is inside is closed.
    folder(&config.state_dir, 0o711)?;
    folder(&config.runtime_dir, 0o711)?;
    let lock_path = config.state_dir.join("lock");
    let lock = lock(&lock_path).await?;
    let apps_dir = config.state_dir.join("apps");
    let apps = Store::open(&apps_dir).map_err(file("read", &apps_dir))?;
    let book = config.state_dir.join("network.json");
    let pool = Subnet::new(config.network_pool.network, config.network_pool.bits)
        .ok_or_else(|| part("use the network pool", Problem::internal("it is too small")))?;
    let addresses = Addresses::open(&book, pool, config.nginx.app_ports.clone());
    let addresses = addresses.map_err(file("read", &book))?;
    let settings = settings(config);
    let nginx = Nginx::open(nginx(config)).map_err(|it| part("prepare nginx", it))?;
    let outside = Parts {
        engine: Docker::new(config.docker_socket.clone(), clock.clone()),
        traffic: Front::new(
            nginx,
            Client::new(config.forward.control.clone()),
            config.nginx.http_port,
            config.address.clone(),
            settings.switch_limit,
        ),
        probe: Direct::default(),
    };
    let world = World {
        outside,
        apps,
        addresses,
        names: Names::new(config.name_prefix.clone()),
        settings,
        state_dir: config.state_dir.clone(),
        redactor,
        clock: clock.clone(),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    };
    Ok(Built { world: Arc::new(world), lock })
}

/// Takes the lock; waits a moment for an agent that is just ending.
async fn lock(path: &Path) -> Result<fs::Lock, Error> {
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        if let Some(lock) = fs::Lock::take(path).map_err(file("lock", path))? {
            return Ok(lock);
        }
        if deadline < Instant::now() {
            return Err(Error::Locked { path: path.display().to_string() });
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn folder(path: &Path, mode: u32) -> Result<(), Error> {
    fs::make_dir(path, mode).map_err(file("make", path))
}

fn settings(config: &Config) -> Settings {
    let mut settings = Settings {
        min_free_bytes: config.min_free_bytes,
        outbound: config.reach,
        ..Settings::default()
    };
    if let Some(python) = &config.bases.python {
        settings.bases.python.clone_from(python);
    }
    if let Some(node) = &config.bases.node {
        settings.bases.node.clone_from(node);
    }
    settings
}

/// nginx as the configuration wants it.
pub(crate) fn nginx(config: &Config) -> proxy::Settings {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let own = proxy::Settings::own(&config.nginx.dir, &config.forward.listen);
    proxy::Settings {
        mode: match config.nginx.mode {
            NginxMode::Own => proxy::Mode::Own,
            NginxMode::System => proxy::Mode::system(),
        },
        program: config.nginx.program.clone(),
        listen: vec![SocketAddr::new(any, config.nginx.http_port)],
        app_addresses: vec![any],
        ..own
    }
}
