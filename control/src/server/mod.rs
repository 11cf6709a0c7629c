//! The machines: records, join tokens, health, and certificates for people who call an agent
//! themselves.
//!
//! * [`name`]: names for servers that got none.

mod name;

use std::{sync::Arc, time::Duration};

use slipway_proto::{
    agent::v1 as agent,
    problem::{Kind, Problem},
    value::Name,
};
use slipway_store::{At, Entry, Force, Server, Store, User, UserId};
use slipway_transport::agent_name;
use tokio::time::Instant;
use tracing::warn;

use crate::{
    auth::token,
    fleet::{Agents, Keys, Link, Target},
    pki::{Authority, Csr, Profile},
    refused::refused,
};

/// Life of a join token unless told otherwise, and at most.
const JOIN: (Duration, Duration) = (Duration::from_secs(15 * 60), Duration::from_secs(24 * 3600));
/// Life of an operator's certificate unless told otherwise, and at most.
const OPERATOR: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(8 * 3600));
/// How often another made-up name is tried.
const NAMES: usize = 16;

/// The version of agents that this control plane expects.
pub const EXPECTED_AGENT: &str = env!("CARGO_PKG_VERSION");

/// All servers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Servers {
    store: Store,
    agents: Agents,
    keys: Arc<dyn Keys>,
    authority: Authority,
    enroll_timeout: Duration,
}

/// A server and what runs on it.
#[derive(Debug)]
pub struct ServerView {
    /// The server.
    pub server: Server,
    /// Names of its apps.
    pub apps: Vec<String>,
}

impl ServerView {
    /// What to do about an agent of another version; none: it is as expected, or not known.
    pub fn stale(&self) -> Option<String> {
        let version = &self.server.agent_version;
        (!version.is_empty() && version != EXPECTED_AGENT).then(|| {
            format!(
                "its agent is {version}, this control plane expects {EXPECTED_AGENT}: install \
                slipway-agent {EXPECTED_AGENT} on it and restart slipway-agent.service"
            )
        })
    }
}

/// How a server is.
#[derive(Debug)]
pub struct Health {
    /// The server.
    pub view: ServerView,
    /// Its agent's answers, or why there are none.
    pub answer: Result<(agent::GetHealthResponse, agent::GetVersionResponse), Problem>,
    /// How long they took.
    pub round_trip: Duration,
}

/// What a person needs to call an agent.
#[derive(Debug)]
pub struct OperatorAccess {
    /// Certificate and intermediates, DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// Roots to trust, DER.
    pub roots: Vec<Vec<u8>>,
    /// TLS name to expect.
    pub tls_name: String,
    /// Address and port to dial.
    pub address: String,
    /// The server's `x-api-key`.
    pub api_key: String,
}

impl Servers {
    /// Keeps the servers in `store`. One that does not enroll within `enroll_timeout` has failed.
    pub fn new(
        store: Store,
        agents: Agents,
        keys: Arc<dyn Keys>,
        authority: Authority,
        enroll_timeout: Duration,
    ) -> Self {
        Self { store, agents, keys, authority, enroll_timeout }
    }

    /// The user's servers, ordered by name.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, user: UserId) -> Result<Vec<ServerView>, Problem> {
        let servers = self.store.of(user).servers().await.map_err(refused)?;
        let mut views = Vec::with_capacity(servers.len());
        for server in servers {
            views.push(self.view(user, server).await?);
        }
        Ok(views)
    }

    /// One server, by id or name.
    ///
    /// # Errors
    /// SW-SERVER-MISSING.
    pub async fn get(&self, user: UserId, server: &str) -> Result<ServerView, Problem> {
        let server = self.store.of(user).server(server).await.map_err(refused)?;
        self.view(user, server).await
    }

    async fn view(&self, user: UserId, server: Server) -> Result<ServerView, Problem> {
        let apps = self.store.of(user).apps_on(server.id).await.map_err(refused)?;
        Ok(ServerView { server, apps })
    }

    /// Records a machine that exists already, and makes the join token for it.
    ///
    /// # Errors
    /// SW-NAME, SW-SERVER-NAME, SW-DURATION.
    pub async fn add(
        &self,
        user: &User,
        name: &str,
        ttl: Option<Duration>,
    ) -> Result<(ServerView, String), Problem> {
        let ttl = within("ttl", ttl, JOIN)?;
        if !name.is_empty() {
            let name = Name::of("name", name)?;
            return self.record(user, name.as_str(), ttl).await;
        }
        let mut last = None;
        for _ in 0..NAMES {
            match self.record(user, &name::make(), ttl).await {
                Err(problem) if problem.kind == Kind::Exists => last = Some(problem),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| Problem::internal("no name could be made up")))
    }

    async fn record(
        &self,
        user: &User,
        name: &str,
        ttl: Duration,
    ) -> Result<(ServerView, String), Problem> {
        let (text, new) = token::join(self.authority.pin(), self.store.now(), ttl);
        let audit = Entry::done(actor(user), "server.add", format!("server:{name}"));
        // As long as its token holds there is no reason to give it up.
        let deadline = self.enroll_timeout.max(ttl);
        let added = self.store.of(user.id).add_server(name, new, deadline, audit).await;
        let view = ServerView { server: added.map_err(refused)?, apps: Vec::new() };
        Ok((view, text.expose().clone()))
    }

    /// Forgets a server and revokes its certificates at once.
    ///
    /// # Errors
    /// SW-SERVER-MISSING, SW-SERVER-IN-USE.
    pub async fn remove(&self, user: &User, server: &str, force: Force) -> Result<(), Problem> {
        let owner = self.store.of(user.id);
        let server = owner.server(server).await.map_err(refused)?;
        let audit = Entry::done(actor(user), "server.remove", format!("server:{}", server.name));
        owner.remove_server(server.id, force, audit).await.map_err(refused)
    }

    /// Asks the server's agent how it is.
    ///
    /// # Errors
    /// SW-SERVER-MISSING. A server that does not answer is no error.
    pub async fn check(&self, user: UserId, server: &str) -> Result<Health, Problem> {
        let view = self.get(user, server).await?;
        let began = Instant::now();
        let answer = async {
            let link = self.link(&view.server).await?;
            let health = link.health(agent::GetHealthRequest {});
            let version = link.version(agent::GetVersionRequest {});
            tokio::try_join!(health, version)
        };
        let answer = answer.await;
        Ok(Health { view, answer, round_trip: began.elapsed() })
    }

    async fn link(&self, server: &Server) -> Result<Link, Problem> {
        self.agents.link(&Target::of(server)?, &server.user.to_string()).await
    }

    /// Signs a short-lived certificate with which a person can call one agent directly.
    ///
    /// # Errors
    /// SW-SERVER-MISSING, SW-CSR, SW-DURATION, SW-SERVER-NOT-ENROLLED.
    pub async fn issue(
        &self,
        user: &User,
        server: &str,
        csr_der: &[u8],
        ttl: Option<Duration>,
        access: Access,
    ) -> Result<OperatorAccess, Problem> {
        let life = within("ttl", ttl, OPERATOR)?;
        let server = self.store.of(user.id).server(server).await.map_err(refused)?;
        let target = Target::of(&server)?;
        let csr = Csr::parse(csr_der)?;
        let write = access == Access::Write;
        let profile = Profile::Operator { user: user.id.to_string(), write, life };
        let issued = self.authority.sign(&csr, &profile)?;
        let audit =
            Entry::done(actor(user), "certificate.issue", format!("server:{}", server.name));
        self.authority.record(&issued, audit).await?;
        let key = self.keys.key(&user.id.to_string()).await?;
        let der = |it: &[rustls::pki_types::CertificateDer<'static>]| {
            it.iter().map(|it| it.as_ref().to_vec()).collect()
        };
        Ok(OperatorAccess {
            chain: der(&issued.chain),
            roots: der(&self.authority.roots()),
            tls_name: agent_name(&target.agent_id),
            address: target.address,
            api_key: key.expose().to_owned(),
        })
    }
}

/// What an operator may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Look.
    Read,
    /// Change things.
    Write,
}

fn actor(user: &User) -> String {
    format!("user:{}", user.name)
}

/// Checks how long something should hold.
pub(crate) fn within(
    field: &'static str,
    given: Option<Duration>,
    (usual, most): (Duration, Duration),
) -> Result<Duration, Problem> {
    let given = given.unwrap_or(usual);
    if given.is_zero() || most < given {
        let message = format!("{given:?} is not between 1 s and {most:?}");
        return Err(Problem::invalid("SW-DURATION", field, message));
    }
    Ok(given)
}

/// Fails the servers that never enrolled, and marks those offline whose replica is gone.
#[derive(Debug)]
pub struct Overdue {
    /// The store.
    pub store: Store,
}

impl crate::tasks::Task for Overdue {
    const NAME: &'static str = "overdue servers";
    const EVERY: Duration = Duration::from_secs(5);

    async fn pass(&mut self) -> Result<(), impl std::fmt::Display> {
        let system = self.store.system();
        let reason = "it never enrolled: no agent has shown its join token in time";
        for server in system.fail_overdue_servers(reason).await? {
            warn!(server, "server never enrolled");
        }
        let before = minus(self.store.now(), SILENT);
        if system.close_silent_sessions(before).await? != 0 {
            warn!("closed sessions of which nobody has heard");
        }
        Ok::<_, slipway_store::Error>(())
    }
}

/// Twice the time after which a live replica ends a silent session by itself.
const SILENT: Duration = Duration::from_secs(30);

fn minus(at: At, by: Duration) -> At {
    At::from_micros(at.micros().saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}
