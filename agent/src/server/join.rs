//! Waits until this machine has an identity, then opens the TLS listener and the session.

use std::{sync::Arc, time::Duration};

use slipway_host::{Chain, clock::Clock, stats};
use slipway_proto::{control::v1::Hello, problem::Problem};
use slipway_transport::{
    listener::{self, Limits},
    tls::{ClientAuth, Protocols, ServerTls},
};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    Error, Real, file,
    listen::{self, Health, Services},
    pulse,
};
use crate::{
    config::Config,
    identity::{
        Identity,
        enroll::{About, Join, enroll},
    },
    session::Session,
    world::World,
};

/// Time between two looks for an identity.
const LOOK: Duration = Duration::from_secs(2);
/// Time until a refused join is tried again, with whatever the file says by then.
const REFUSED: Duration = Duration::from_secs(30);

/// What the listener and the session need.
pub(super) struct Joiner {
    pub(super) config: Config,
    pub(super) world: Arc<World<Real>>,
    pub(super) services: Services,
    pub(super) health: Health,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
}

/// Takes the port, so that a second agent is told at once.
pub(super) async fn bind(config: &Config) -> Result<TcpListener, Error> {
    let path = std::path::PathBuf::from(config.listen.to_string());
    TcpListener::bind(config.listen).await.map_err(file("listen on", &path))
}

/// What this machine says of itself when it joins.
pub fn about(config: &Config, droplet_id: u64) -> About {
    let facts = stats::facts();
    let port = config.listen.port();
    About {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        droplet_id,
        boot_id: facts.boot_id,
        hostname: facts.hostname,
        listen: config.advertise.clone().unwrap_or_else(|| format!(":{port}")),
    }
}

impl Joiner {
    /// Serves until `stop`.
    pub(super) async fn run(self, tcp: TcpListener, stop: CancellationToken) {
        let Some(identity) = stop.run_until_cancelled(self.identity()).await else { return };
        info!(agent = identity.agent_id(), server = identity.server_name(), "has an identity");
        self.services.know(&identity);
        let auth = ClientAuth::Required;
        let credentials = Arc::clone(identity.credentials());
        let tls = Arc::new(ServerTls::new(credentials, auth, Protocols::Grpc));
        let routes = self.services.routes(&self.world);
        let service = listen::guarded(routes, Some(Arc::clone(&identity)), &self.clock);
        self.health.serving().await;
        let serve = listener::serve_tls(tcp, tls, service, self.limits.clone(), stop.clone());
        let (figures, beat) = pulse::figures(Arc::clone(&self.world));
        let about = about(&self.config, 0);
        let hello = Hello {
            agent_version: about.agent_version,
            boot_id: about.boot_id,
            droplet_id: 0,
            docker_version: pulse::docker_version(&self.world).await,
            listen: about.listen,
        };
        let (session, _) = Session::new(identity, hello, figures, self.clock.clone());
        let session = async {
            if let Err(problem) = session.run(stop.clone()).await {
                error!(code = %problem.code, "there is no session: {}", problem.message);
            }
        };
        let beat = async { stop.run_until_cancelled(beat).await };
        tokio::join!(serve, session, beat);
    }

    /// The identity that is there, or the one that the join file brings.
    async fn identity(&self) -> Arc<Identity> {
        let mut said = false;
        loop {
            match Identity::load(&self.config.state_dir) {
                Ok(Some(identity)) => return identity,
                Ok(None) => (),
                Err(error) => error!(error = %Chain(&error), "the identity cannot be used"),
            }
            let pause = match Join::read(&self.config.join_file) {
                Ok(Some(join)) => match self.join(&join).await {
                    Ok(()) => Duration::ZERO,
                    Err(problem) => {
                        error!(code = %problem.code, "{}", problem.message);
                        REFUSED
                    }
                },
                Ok(None) => LOOK,
                Err(problem) => {
                    warn!(code = %problem.code, "{}", problem.message);
                    REFUSED
                }
            };
            if !said {
                info!(file = %self.config.join_file.display(), "waits for a join token");
                said = true;
            }
            sleep(pause).await;
        }
    }

    async fn join(&self, join: &Join) -> Result<(), Problem> {
        let joined = enroll(&self.config.state_dir, join, &about(&self.config, 0)).await;
        joined.map(drop).map_err(|refused| Problem::internal(Chain(&refused).to_string()))
    }
}
