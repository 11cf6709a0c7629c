//! The session service: takes the hello, then leaves the rest to [`super::live`].

use std::{fmt, sync::Arc, time::Duration};

use slipway_proto::{
    control::v1::{
        Hello, Refused, SessionRequest, SessionResponse, session_request::Part as In,
        session_response::Part, session_service_server::SessionService,
    },
    problem::{Kind, Problem},
};
use slipway_store::{AgentFacts, Entry, Server, Store};
use slipway_transport::Caller;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{
    Online, Sessions, accepted_keys, address, clean,
    live::Live,
    registry::{Out, answer},
};
use crate::{fleet::Keys, pki::Authority};

/// Time for the hello to come.
const HELLO: Duration = Duration::from_secs(10);
/// Answers that an agent may leave unread.
const UNREAD: usize = 8;

/// How often an agent is to be heard.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    /// Time between heartbeats.
    pub every: Duration,
    /// Silence after which the agent counts as gone.
    pub silence: Duration,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { every: Duration::from_secs(5), silence: Duration::from_secs(15) }
    }
}

/// Holds the sessions of agents.
#[derive(Clone)]
pub struct SessionApi(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) authority: Authority,
    pub(super) keys: Arc<dyn Keys>,
    pub(super) sessions: Sessions,
    /// Id of this replica.
    pub(super) replica: String,
    pub(super) pulse: Pulse,
    /// The version that agents should have.
    pub(super) expected_version: String,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl fmt::Debug for SessionApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionApi").field("sessions", &self.0.sessions).finish_non_exhaustive()
    }
}

impl SessionApi {
    /// Holds sessions for this replica, until `stop`.
    pub fn new(
        store: Store,
        authority: Authority,
        keys: Arc<dyn Keys>,
        sessions: Sessions,
        replica: impl Into<String>,
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(Shared {
            store,
            authority,
            keys,
            sessions,
            replica: replica.into(),
            pulse: Pulse::default(),
            expected_version: env!("CARGO_PKG_VERSION").to_owned(),
            tasks: TaskTracker::new(),
            stop,
        }))
    }

    /// The same with another pulse, before the first session.
    #[must_use]
    pub fn with_pulse(self, pulse: Pulse) -> Self {
        let Shared {
            store, authority, keys, sessions, replica, expected_version, tasks, stop, ..
        } = &*self.0;
        Self(Arc::new(Shared {
            store: store.clone(),
            authority: authority.clone(),
            keys: Arc::clone(keys),
            sessions: sessions.clone(),
            replica: replica.clone(),
            pulse,
            expected_version: expected_version.clone(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        }))
    }

    /// Waits until every session has ended and is off the records; call it after `stop`.
    pub async fn drained(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    async fn open(
        &self,
        caller: &Caller,
        mut requests: Streaming<SessionRequest>,
    ) -> Result<ReceiverStream<Result<SessionResponse, Status>>, Problem> {
        let agent = caller.agent_id().ok_or_else(|| Problem::internal("no agent is calling"))?;
        let hello = hello(&mut requests).await?;
        let (out, answers) = mpsc::channel(UNREAD);
        let droplet_id = i64::try_from(hello.droplet_id).unwrap_or(0);
        if self.0.sessions.is_on_other_droplet(agent, droplet_id) {
            self.quarantine(agent, &out).await?;
            return Ok(ReceiverStream::new(answers));
        }
        let session = Uuid::now_v7().to_string();
        let facts = facts(&hello, caller, droplet_id);
        let system = self.0.store.system();
        let server = match system.open_session(agent, &session, &self.0.replica, &facts).await {
            Ok(it) => it,
            Err(error) if error.kind() == Kind::NotFound => {
                refuse(&out, "SW-AGENT-REVOKED", "this server was removed").await;
                return Ok(ReceiverStream::new(answers));
            }
            Err(error) => return Err(error.problem()),
        };
        let keys = accepted_keys(&*self.0.keys, &server.user.to_string()).await?;
        let now = self.0.store.clock().now();
        let online = Online {
            agent_id: agent.to_owned(),
            server: server.name.clone(),
            droplet_id,
            since: now,
            heard_at: now,
        };
        let end = self.0.sessions.enter(&session, online, out.clone());
        tracing::info!(server = %server.name, agent, "an agent is online");
        let live = Live::new(Arc::clone(&self.0), server_of(server, agent), session, out, end);
        self.0.tasks.spawn(live.run(requests, keys));
        Ok(ReceiverStream::new(answers))
    }

    /// Two machines with one identity: neither is let in until a person has looked.
    async fn quarantine(&self, agent: &str, out: &Out) -> Result<(), Problem> {
        const WHY: &str = "two machines have this identity; enroll both anew";
        tracing::error!(agent, "two droplets show the same identity; both are refused");
        let audit =
            Entry::done(format!("agent:{agent}"), "agent.session", format!("agent:{agent}"))
                .failed("SW-AGENT-CLONE");
        self.0.store.system().audit(audit).await.map_err(|it| it.problem())?;
        self.0.sessions.refuse(agent, "SW-AGENT-CLONE", WHY);
        refuse(out, "SW-AGENT-CLONE", WHY).await;
        Ok(())
    }
}

/// What a live session needs to know of its server.
pub(super) struct Home {
    pub(super) agent: String,
    pub(super) user: String,
    pub(super) name: String,
}

fn server_of(server: Server, agent: &str) -> Home {
    Home { agent: agent.to_owned(), user: server.user.to_string(), name: server.name }
}

async fn hello(requests: &mut Streaming<SessionRequest>) -> Result<Hello, Problem> {
    let late = || Problem::new(Kind::Timeout, "SW-TIMEOUT", "no hello came in time");
    let first = timeout(HELLO, requests.message()).await.map_err(|_| late())?;
    match first.map_err(|it| Problem::from_status(&it))?.and_then(|it| it.part) {
        Some(In::Hello(hello)) => Ok(hello),
        _ => Err(Problem::invalid("SW-FIRST-MESSAGE", "part", "the first message must be `hello`")),
    }
}

fn facts(hello: &Hello, caller: &Caller, droplet_id: i64) -> AgentFacts {
    AgentFacts {
        agent_version: clean(&hello.agent_version),
        docker_version: clean(&hello.docker_version),
        boot_id: clean(&hello.boot_id),
        droplet_id,
        address: address(&hello.listen, caller.ip()),
    }
}

async fn refuse(out: &Out, code: &str, message: &str) {
    let refused = Refused { code: code.to_owned(), message: message.to_owned() };
    // If the caller is gone already, it will ask again.
    drop(out.send(Ok(answer(Part::Refused(refused)))).await);
}

#[tonic::async_trait]
impl SessionService for SessionApi {
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let caller = Caller::of(&request)?.clone();
        Ok(Response::new(self.open(&caller, request.into_inner()).await?))
    }
}
