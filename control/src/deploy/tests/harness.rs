//! A control plane without surfaces: a real store in a temporary folder, agents of this process. It
//! can be killed and started again on the same folder and the same agents.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use slipway_proto::{
    agent::v1::{self as agent, source::Kind as Source},
    control::v1 as wire,
    problem::Problem,
};
use slipway_store::{
    AgentFacts, Cert, CertProfile, Claimant, Done, Enrolled, Enrollment, Entry, Event, EventBody,
    Follow, JsonText, NewJoinToken, NewToken, OperationId, Store, User,
};
use tokio_util::sync::CancellationToken;

use super::super::{Deployments, Rollout, Started, Timing, drive::Patience};
use crate::{
    app::{Apps, Interrupted},
    fleet::{
        Agents, Keys,
        fake::{self, FakeAgent, FakeFleet},
    },
    operation::{Runner, Settings},
    vault::{MasterKey, Place, Vault},
};

/// What lasts when the control plane is killed.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) fleet: FakeFleet,
    pub(crate) timing: Timing,
}

impl World {
    pub(crate) fn new() -> Self {
        let timing = Timing {
            prepare: Duration::from_secs(30),
            activate: Duration::from_secs(30),
            commit: Duration::from_secs(30),
            undo: Duration::from_secs(30),
            queue_poll: Duration::from_millis(20),
            patience: Patience {
                first: Duration::from_millis(400),
                later: Duration::from_millis(1500),
            },
            ..Timing::default()
        };
        Self { dir: tempfile::tempdir().unwrap(), fleet: FakeFleet::default(), timing }
    }

    /// Starts a control plane in a runtime of its own, runs `work` in it, and kills it: every task
    /// of it is dropped where it stands.
    pub(crate) fn live<T>(&self, work: impl AsyncFnOnce(Control) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let result = runtime.block_on(async { work(Control::start(self).await).await });
        runtime.shutdown_background();
        result
    }
}

/// Waits until `is` holds of an agent.
pub(crate) async fn eventually(
    agent: &FakeAgent,
    what: &str,
    is: impl Fn(&mut fake::State) -> bool,
) {
    for _ in 0..2000 {
        if agent.with(&is) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never happened: {what}");
}

/// A control plane that runs.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) store: Store,
    pub(crate) deployments: Deployments,
    pub(crate) agents: Agents,
    pub(crate) keys: Arc<dyn Keys>,
    pub(crate) runner: Runner,
    pub(crate) vault: Vault,
    pub(crate) user: User,
}

impl Control {
    async fn start(world: &World) -> Self {
        let dir = world.dir.path();
        let url = format!("sqlite://{}", dir.join("slipway.db").display());
        let store = Store::open(&url, dir).await.unwrap();
        let sealed = store.system().has_keys().await.unwrap();
        let place = Place::choose(None, None, dir);
        let vault =
            Vault::open(store.clone(), MasterKey::load(&place, sealed).unwrap()).await.unwrap();
        let agents = Agents::new(Arc::new(world.fleet.clone()), Arc::new(world.fleet.clone()));
        let keys: Arc<dyn Keys> = Arc::new(world.fleet.clone());
        let rollout = Rollout::new(store.clone(), vault.clone(), agents.clone(), world.timing);
        let claimant = Claimant { owner: "replica".to_owned(), lease: Duration::from_secs(15) };
        let settings = Settings { claimant, at_once: 64, grace: Duration::ZERO };
        let runner = Runner::builder(store.clone(), settings)
            .handle(rollout.clone())
            .handle(Interrupted)
            .build();
        let deployments = Deployments::new(rollout, runner.clone());
        let user = user(&store, "ann").await;
        let control = Self { store, deployments, agents, keys, runner, vault, user };
        let drive = control.runner.clone();
        let mut set = tokio::task::JoinSet::new();
        set.spawn(async move { drive.drive(CancellationToken::new()).await });
        set.detach_all();
        control
    }

    /// A server with a fake agent of the same name.
    pub(crate) async fn server(&self, user: &User, name: &str) -> slipway_store::Server {
        let owner = self.store.of(user.id);
        if let Ok(server) = owner.server(name).await {
            return server;
        }
        let (id, secret) = (format!("token-{name}"), format!("{name:0>64}"));
        let token = NewJoinToken {
            id: id.clone(),
            secret_sha256: secret.clone(),
            expires_at: self.store.now().plus(Duration::from_secs(60)),
        };
        let audit = || Entry::done("test", "server.add", name);
        owner.add_server(name, token, Duration::from_secs(60), audit()).await.unwrap();
        let cert = Cert {
            serial: format!("serial-{name}"),
            profile: CertProfile::Agent,
            spki_sha256: secret.clone(),
            user: Some(user.id),
            agent_id: Some(name.to_owned()),
            chain: JsonText(Vec::new()),
            not_after: self.store.now().plus(Duration::from_secs(3600)),
        };
        let facts = AgentFacts {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            address: "127.0.0.1:9999".to_owned(),
            ..AgentFacts::default()
        };
        let enrollment = Enrollment { token: id, secret_sha256: secret, cert, facts };
        let enrolled = self.store.system().enroll(enrollment, audit()).await.unwrap();
        assert!(matches!(enrolled, Enrolled::New(_)));
        owner.server(name).await.unwrap()
    }

    pub(crate) fn apps(&self) -> Apps {
        Apps::new(self.deployments.clone(), tokio_util::task::TaskTracker::new())
    }

    /// The server `otter`, with its agent.
    pub(crate) async fn otter(&self, world: &World) -> FakeAgent {
        self.server(&self.user, "otter").await;
        world.fleet.agent("otter")
    }

    pub(crate) async fn deploy(&self, request: wire::StartDeployment) -> Started {
        self.deployments.start(&self.user, request).await.unwrap()
    }

    pub(crate) async fn refused(&self, request: wire::StartDeployment) -> Problem {
        self.deployments.start(&self.user, request).await.unwrap_err()
    }

    /// All events of a deployment, up to its last.
    pub(crate) async fn events(&self, id: OperationId) -> Vec<Event> {
        let tail =
            self.deployments.watch(self.user.id, &id.to_string(), 0, Follow::Yes).await.unwrap();
        let events = tail.map(|it| it.unwrap()).collect();
        tokio::time::timeout(Duration::from_secs(20), events).await.expect("it never ended")
    }

    /// How a deployment ended. Checks what holds of all of them.
    pub(crate) async fn done(&self, id: OperationId) -> Done {
        let events = self.events(id).await;
        let numbers: Vec<u64> = events.iter().map(|it| it.seq).collect();
        assert_eq!(numbers, (1..=u64::try_from(events.len()).unwrap()).collect::<Vec<_>>());
        let ends = events.iter().filter(|it| it.is_last()).count();
        assert_eq!(ends, 1, "exactly one event is the last one");
        let EventBody::Done(done) = events.last().unwrap().body.clone() else {
            panic!("the last event is not `done`");
        };
        done
    }

    /// Waits until an event satisfies `is`.
    pub(crate) async fn until(&self, id: OperationId, is: impl Fn(&Event) -> bool) {
        let tail =
            self.deployments.watch(self.user.id, &id.to_string(), 0, Follow::Yes).await.unwrap();
        let mut tail = std::pin::pin!(tail);
        let found = async {
            while let Some(event) = tail.next().await {
                if is(&event.unwrap()) {
                    return;
                }
            }
            panic!("it ended without that event");
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("that never happened");
    }
}

/// The user of that name, made if need be.
pub(crate) async fn user(store: &Store, name: &str) -> User {
    let all = store.system().users().await.unwrap();
    if let Some(user) = all.into_iter().find(|it| it.name == name) {
        return user;
    }
    let token = NewToken {
        id: format!("token-of-{name}"),
        name: "first".to_owned(),
        secret_sha256: format!("{name:0>64}"),
        read_only: false,
        expires_at: store.now().plus(Duration::from_secs(3600)),
    };
    let audit = Entry::done("test", "user.add", name);
    store.system().add_user(name, false, token, audit).await.unwrap()
}

/// Lines of what agents and the control plane told, `server phase text`.
pub(crate) fn lines(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .filter_map(|it| match &it.body {
            EventBody::Log { message } => Some(format!("{} {} {message}", it.server, it.phase)),
            EventBody::Step { state, .. } => Some(format!("{} {} {state:?}", it.server, it.phase)),
            _ => None,
        })
        .collect()
}

pub(crate) fn image(app: &str) -> wire::StartDeployment {
    request(
        app,
        Source::Image(agent::ImageSource {
            reference: "nginx:1.27".to_owned(),
            ..agent::ImageSource::default()
        }),
    )
}

pub(crate) fn git(app: &str) -> wire::StartDeployment {
    request(
        app,
        Source::Git(agent::GitSource {
            url: "https://example.com/a.git".to_owned(),
            token: "hunter2-token".to_owned(),
            ..agent::GitSource::default()
        }),
    )
}

pub(crate) fn code_of(app: &str) -> wire::StartDeployment {
    request(app, Source::Archive(agent::ArchiveSource::default()))
}

fn request(app: &str, source: Source) -> wire::StartDeployment {
    let spec = agent::AppSpec {
        app: app.to_owned(),
        source: Some(agent::Source { kind: Some(source) }),
        secrets: [("PASSWORD".to_owned(), "hunter2-secret".to_owned())].into(),
        ..agent::AppSpec::default()
    };
    wire::StartDeployment { spec: Some(spec), ..wire::StartDeployment::default() }
}

/// What ends the upload of these bytes.
pub(crate) fn end_of(bytes: &[u8]) -> wire::SourceEnd {
    use sha2::Digest as _;

    wire::SourceEnd {
        size_bytes: u64::try_from(bytes.len()).unwrap(),
        sha256: sha2::Sha256::digest(bytes).to_vec().into(),
    }
}

/// A small archive, with its digest.
pub(crate) fn archive() -> (Vec<u8>, wire::SourceEnd) {
    let mut builder = tar::Builder::new(Vec::new());
    let text = vec![b'x'; 300 << 10];
    let mut header = tar::Header::new_ustar();
    header.set_size(u64::try_from(text.len()).unwrap());
    header.set_mode(0o644);
    header.set_cksum();
    builder.append_data(&mut header, "app/index.html", text.as_slice()).unwrap();
    let bytes = builder.into_inner().unwrap();
    let end = end_of(&bytes);
    (bytes, end)
}

/// Sends an archive.
pub(crate) async fn send(started: Started, bytes: &[u8], end: wire::SourceEnd) -> OperationId {
    let mut upload = started.upload.unwrap();
    for chunk in bytes.chunks(100_000) {
        upload = upload.chunk(chunk.to_vec().into()).await.unwrap();
    }
    upload.end(end).await;
    started.id
}
