//! Agents that live in the tests' process. They speak the agent's real services over a pipe without
//! a network, keep their deployments when the control plane goes, and fail where a test says.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures::{Stream, StreamExt as _, future::BoxFuture};
use slipway_proto::{
    agent::v1::{
        self as wire, Phase, app_service_server, deploy_request::Part,
        deploy_response::Event as Told, deploy_service_server, node_service_server,
        source::Kind as Source, step::State as StepState,
    },
    key::NodeKey,
    problem::{Kind, Problem},
};
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status, Streaming, service::Routes};
use tower::{ServiceExt as _, util::BoxCloneSyncService};

use super::{Dial, Pipe, Target, dial::Keys};

/// What a test wants to go wrong on one agent.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Phases that fail.
    pub(crate) fail: HashSet<Phase>,
    /// Phases that wait until they are taken out of here.
    pub(crate) hold: HashSet<Phase>,
    /// Streams that break after the event with this number, each once.
    pub(crate) cut_after: HashSet<u64>,
    /// Nothing answers.
    pub(crate) down: bool,
    /// Log lines during the build.
    pub(crate) lines: usize,
    /// What the last of these lines says beside.
    pub(crate) says: String,
    /// Releases that are not kept any more.
    pub(crate) forgotten: HashSet<u64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    Receiving,
    Preparing,
    Prepared,
    Active,
    Committed,
    Undone,
}

#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) start: wire::Start,
    pub(crate) stage: Stage,
    pub(crate) received: Vec<u8>,
    pub(crate) events: Vec<wire::DeployResponse>,
    pub(crate) streams: usize,
    pub(crate) image_id: String,
    previous: Option<u64>,
    activate: bool,
    commit: bool,
    abort: bool,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) script: Script,
    pub(crate) deployments: Vec<Deployment>,
    /// Serving release by app key.
    pub(crate) serving: HashMap<String, u64>,
    pub(crate) epochs: HashMap<String, u64>,
    pub(crate) stopped: HashSet<String>,
    pub(crate) calls: Vec<String>,
}

/// One agent. Clones are the same agent.
#[derive(Clone, Debug)]
pub(crate) struct FakeAgent {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

impl FakeAgent {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), changed: watch::Sender::new(0) }
    }

    /// Looks at the agent's state, or changes it; held work goes on.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap();
        let result = look(&mut state);
        for index in 0..state.deployments.len() {
            advance(&mut state, index);
        }
        drop(state);
        self.changed.send_modify(|it| *it += 1);
        result
    }

    fn check(&self) -> Result<(), Status> {
        if self.with(|it| it.script.down) {
            return Err(Status::unavailable("connection refused"));
        }
        Ok(())
    }

    fn pipe(&self) -> Pipe {
        let routes = Routes::new(deploy_service_server::DeployServiceServer::new(self.clone()))
            .add_service(app_service_server::AppServiceServer::new(self.clone()))
            .add_service(node_service_server::NodeServiceServer::new(self.clone()));
        let routes = tower::service_fn(move |request: http::Request<tonic::body::Body>| {
            let routes = routes.clone();
            async move { routes.oneshot(request).await.map_err(|it| match it {}) }
        });
        BoxCloneSyncService::new(routes)
    }
}

fn key_of(spec: &wire::AppSpec) -> String {
    format!("{}.{}", spec.app, spec.environment)
}

fn tell(deployment: &mut Deployment, event: Told) {
    let seq = u64::try_from(deployment.events.len()).unwrap() + 1;
    let at = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
    deployment.events.push(wire::DeployResponse { seq, at, event: Some(event) });
}

fn step(deployment: &mut Deployment, phase: Phase, state: StepState) {
    let elapsed = (state != StepState::Started)
        .then_some(prost_types::Duration { seconds: 0, nanos: 5_000_000 });
    let it = wire::Step { phase: phase.into(), state: state.into(), elapsed };
    tell(deployment, Told::Step(it));
}

/// Does one phase. False: it failed, and everything was undone.
fn phase(script: &Script, deployment: &mut Deployment, phase: Phase) -> bool {
    step(deployment, phase, StepState::Started);
    if phase == Phase::Build {
        for line in 0..script.lines {
            let message = format!("line {line} {}", script.says);
            tell(deployment, Told::Log(wire::Log { phase: phase.into(), message }));
        }
    }
    if !script.fail.contains(&phase) {
        step(deployment, phase, StepState::Done);
        return true;
    }
    step(deployment, phase, StepState::Failed);
    tell(
        deployment,
        Told::Failed(wire::Failed {
            code: "SW-FAKE".to_owned(),
            message: format!("{} broke", phase.as_str_name()),
            exit_code: Some(3),
            last_lines: vec![format!("last words {}", script.says)],
            phase: phase.into(),
            ..wire::Failed::default()
        }),
    );
    false
}

const PREPARING: [Phase; 4] = [Phase::Source, Phase::Build, Phase::Start, Phase::Health];

/// Takes a deployment as far as it can go.
fn advance(state: &mut State, index: usize) {
    let State { script, deployments, serving, .. } = state;
    let it = &mut deployments[index];
    let app = key_of(it.start.spec.as_ref().unwrap());
    if it.abort && !matches!(it.stage, Stage::Committed | Stage::Undone) {
        return undo(it, serving, &app);
    }
    if it.stage == Stage::Preparing && !PREPARING.iter().any(|it| script.hold.contains(it)) {
        for part in PREPARING {
            if !phase(script, it, part) {
                return undo(it, serving, &app);
            }
        }
        it.stage = Stage::Prepared;
        let (image_id, release) = (it.image_id.clone(), it.start.release);
        let containers = vec![format!("slipway-{app}-web-{release}-1")];
        tell(it, Told::Prepared(wire::Prepared { image_id, containers, ..Default::default() }));
    }
    if it.stage == Stage::Prepared && it.activate && !script.hold.contains(&Phase::Switch) {
        if !phase(script, it, Phase::Switch) {
            return undo(it, serving, &app);
        }
        it.stage = Stage::Active;
        it.previous = serving.insert(app, it.start.release);
        tell(it, Told::Activated(wire::Activated { urls: vec!["http://fake/".to_owned()] }));
    }
    if it.stage == Stage::Active && it.commit && !script.hold.contains(&Phase::Drain) {
        phase(&Script::default(), it, Phase::Drain);
        phase(&Script::default(), it, Phase::Commit);
        it.stage = Stage::Committed;
        tell(it, Told::Committed(wire::Committed::default()));
    }
}

fn undo(it: &mut Deployment, serving: &mut HashMap<String, u64>, app: &str) {
    step(it, Phase::Undo, StepState::Started);
    if serving.get(app) == Some(&it.start.release) {
        match it.previous {
            Some(previous) => serving.insert(app.to_owned(), previous),
            None => serving.remove(app),
        };
    }
    step(it, Phase::Undo, StepState::Done);
    it.stage = Stage::Undone;
    tell(it, Told::Undone(wire::Undone {}));
}

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl deploy_service_server::DeployService for FakeAgent {
    type DeployStream = Events<wire::DeployResponse>;
    type ObserveStream = Events<wire::DeployResponse>;

    async fn deploy(
        &self,
        request: Request<Streaming<wire::DeployRequest>>,
    ) -> Result<Response<Self::DeployStream>, Status> {
        self.check()?;
        let mut requests = request.into_inner();
        let Some(Part::Start(start)) = requests.message().await?.and_then(|it| it.part) else {
            return Err(Status::failed_precondition("the first message must be `start`"));
        };
        let (id, after) = (start.deploy_id.clone(), start.after_seq);
        self.with(|state| begin(state, start)).map_err(Status::from)?;
        let (out, events) = mpsc::channel(4);
        let (agent, index) = (self.clone(), move |state: &State| {
            state.deployments.iter().position(|it| it.start.deploy_id == id).unwrap()
        });
        let reader = index.clone();
        let mut set = tokio::task::JoinSet::new();
        set.spawn(async move {
            while let Ok(Some(message)) = requests.message().await {
                agent.with(|state| {
                    let index = reader(state);
                    take(&mut state.deployments[index], message.part.unwrap());
                });
            }
        });
        let agent = self.clone();
        let mut changed = self.changed.subscribe();
        set.spawn(async move {
            let mut sent = usize::try_from(after).unwrap();
            loop {
                changed.borrow_and_update();
                let (fresh, down) = agent
                    .state
                    .lock()
                    .map(|state| {
                        let it = &state.deployments[index(&state)];
                        (it.events.get(sent..).unwrap_or_default().to_vec(), state.script.down)
                    })
                    .unwrap();
                for event in fresh {
                    if down {
                        break;
                    }
                    sent += 1;
                    let cut = agent.state.lock().unwrap().script.cut_after.remove(&event.seq);
                    let end = matches!(event.event, Some(Told::Committed(_) | Told::Undone(_)));
                    if out.send(Ok(event)).await.is_err() || end {
                        return;
                    }
                    if cut {
                        drop(out.send(Err(Status::unknown("h2 protocol error"))).await);
                        return;
                    }
                }
                if down {
                    drop(out.send(Err(Status::unavailable("gone"))).await);
                    return;
                }
                if changed.changed().await.is_err() {
                    return;
                }
            }
        });
        // Dropped with the stream, and its tasks with it: what a broken connection does.
        let stream = futures::stream::unfold((events, set), |(mut events, set)| async move {
            events.recv().await.map(|it| (it, (events, set)))
        });
        Ok(Response::new(stream.boxed()))
    }

    async fn observe(
        &self,
        _request: Request<wire::ObserveRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        Err(Status::unimplemented("the control plane does not observe"))
    }
}

fn begin(state: &mut State, start: wire::Start) -> Result<(), Problem> {
    let app = key_of(start.spec.as_ref().unwrap());
    let epoch = state.epochs.entry(app.clone()).or_default();
    if start.epoch < *epoch {
        return Err(Problem::new(Kind::Fenced, "SW-STALE-EPOCH", "an older epoch"));
    }
    *epoch = start.epoch;
    let source = start.spec.as_ref().unwrap().source.as_ref().unwrap();
    let archive = matches!(source.kind, Some(Source::Archive(_)));
    let found = state.deployments.iter_mut().find(|it| it.start.deploy_id == start.deploy_id);
    if let Some(it) = found {
        it.streams += 1;
        let offset = u64::try_from(it.received.len()).unwrap();
        let end = matches!(it.stage, Stage::Committed | Stage::Undone);
        if !end {
            tell(it, Told::Accepted(wire::Accepted { source_offset: offset, resumed: true }));
        }
        return Ok(());
    }
    let busy = |it: &&Deployment| {
        key_of(it.start.spec.as_ref().unwrap()) == app
            && !matches!(it.stage, Stage::Committed | Stage::Undone)
    };
    if let Some(other) = state.deployments.iter().find(busy) {
        let message = format!("deployment {} of `{app}` has not ended", other.start.deploy_id);
        return Err(Problem::new(Kind::Conflict, "SW-APP-BUSY", message));
    }
    let stage = if archive { Stage::Receiving } else { Stage::Preparing };
    let image_id = match &start.spec.as_ref().unwrap().source.as_ref().unwrap().kind {
        Some(Source::Release(it)) => it.image_id.clone(),
        _ => format!("sha256:{:064x}", start.release),
    };
    let mut it = Deployment {
        start,
        stage,
        received: Vec::new(),
        events: Vec::new(),
        streams: 1,
        image_id,
        previous: None,
        activate: false,
        commit: false,
        abort: false,
    };
    tell(&mut it, Told::Accepted(wire::Accepted { source_offset: 0, resumed: false }));
    state.deployments.push(it);
    Ok(())
}

fn take(it: &mut Deployment, part: Part) {
    match part {
        Part::Start(_) => panic!("a second start"),
        Part::Chunk(chunk) => {
            let have = u64::try_from(it.received.len()).unwrap();
            assert!(chunk.offset <= have, "a gap in the archive");
            let known = usize::try_from(have - chunk.offset).unwrap();
            it.received.extend_from_slice(chunk.data.get(known..).unwrap_or_default());
        }
        Part::SourceEnd(_) => {
            if it.stage == Stage::Receiving {
                it.stage = Stage::Preparing;
            }
        }
        Part::Activate(_) => it.activate = true,
        Part::Commit(_) => it.commit = true,
        Part::Abort(_) => it.abort = true,
    }
}

impl FakeAgent {
    fn call(&self, name: &str, app: Option<wire::AppRef>) -> Result<String, Status> {
        self.check()?;
        let app = app.unwrap_or_default();
        let key = format!("{}.{}", app.app, app.environment);
        self.with(|it| it.calls.push(format!("{name} {key}")));
        Ok(key)
    }
}

#[tonic::async_trait]
impl app_service_server::AppService for FakeAgent {
    type LogsStream = Events<wire::LogsResponse>;

    async fn list_apps(
        &self,
        _request: Request<wire::ListAppsRequest>,
    ) -> Result<Response<wire::ListAppsResponse>, Status> {
        self.check()?;
        Ok(Response::new(wire::ListAppsResponse::default()))
    }

    async fn get_app(
        &self,
        request: Request<wire::GetAppRequest>,
    ) -> Result<Response<wire::GetAppResponse>, Status> {
        let key = self.call("get", request.into_inner().app)?;
        let release = self.with(|it| it.serving.get(&key).copied().unwrap_or_default());
        let releases = self.with(|state| {
            let kept = |it: &&Deployment| {
                it.stage == Stage::Committed && key_of(it.start.spec.as_ref().unwrap()) == key
            };
            let release = |it: &Deployment| wire::AppRelease {
                release: it.start.release,
                image_id: it.image_id.clone(),
                committed_at: None,
            };
            let all = state.deployments.iter().filter(kept).map(release);
            all.filter(|it| !state.script.forgotten.contains(&it.release)).collect()
        });
        let (app, environment) = key.split_once('.').unwrap();
        let app = wire::App {
            releases,
            app: app.to_owned(),
            environment: environment.to_owned(),
            release,
            ..wire::App::default()
        };
        Ok(Response::new(wire::GetAppResponse { app: Some(app) }))
    }

    async fn stop_app(
        &self,
        request: Request<wire::StopAppRequest>,
    ) -> Result<Response<wire::StopAppResponse>, Status> {
        let key = self.call("stop", request.into_inner().app)?;
        self.with(|it| it.stopped.insert(key));
        Ok(Response::new(wire::StopAppResponse {}))
    }

    async fn start_app(
        &self,
        request: Request<wire::StartAppRequest>,
    ) -> Result<Response<wire::StartAppResponse>, Status> {
        let key = self.call("start", request.into_inner().app)?;
        self.with(|it| it.stopped.remove(&key));
        Ok(Response::new(wire::StartAppResponse {}))
    }

    async fn restart_app(
        &self,
        request: Request<wire::RestartAppRequest>,
    ) -> Result<Response<wire::RestartAppResponse>, Status> {
        self.call("restart", request.into_inner().app)?;
        Ok(Response::new(wire::RestartAppResponse {}))
    }

    async fn remove_app(
        &self,
        request: Request<wire::RemoveAppRequest>,
    ) -> Result<Response<wire::RemoveAppResponse>, Status> {
        let key = self.call("remove", request.into_inner().app)?;
        self.with(|it| it.serving.remove(&key));
        Ok(Response::new(wire::RemoveAppResponse {}))
    }

    async fn logs(
        &self,
        request: Request<wire::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        self.call("logs", request.app)?;
        let lines = self.with(|it| it.script.lines);
        let batches = (0..lines).map(|it| {
            let line = wire::LogLine { text: format!("line {it}"), ..wire::LogLine::default() };
            Ok(wire::LogsResponse { lines: vec![line], dropped: 0 })
        });
        Ok(Response::new(futures::stream::iter(batches).boxed()))
    }
}

#[tonic::async_trait]
impl node_service_server::NodeService for FakeAgent {
    async fn get_version(
        &self,
        _request: Request<wire::GetVersionRequest>,
    ) -> Result<Response<wire::GetVersionResponse>, Status> {
        self.check()?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(wire::GetVersionResponse { version, ..Default::default() }))
    }

    async fn get_health(
        &self,
        _request: Request<wire::GetHealthRequest>,
    ) -> Result<Response<wire::GetHealthResponse>, Status> {
        self.check()?;
        Ok(Response::new(wire::GetHealthResponse { healthy: true, ..Default::default() }))
    }
}

/// A fleet of fakes, by agent id.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeFleet(Arc<Mutex<HashMap<String, FakeAgent>>>);

impl FakeFleet {
    pub(crate) fn agent(&self, agent_id: &str) -> FakeAgent {
        let mut agents = self.0.lock().unwrap();
        agents.entry(agent_id.to_owned()).or_insert_with(FakeAgent::new).clone()
    }
}

impl Dial for FakeFleet {
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Pipe, Problem>> {
        let pipe = self.agent(&target.agent_id).pipe();
        Box::pin(async move { Ok(pipe) })
    }
}

impl Keys for FakeFleet {
    fn key<'a>(&'a self, user_id: &'a str) -> BoxFuture<'a, Result<NodeKey, Problem>> {
        Box::pin(async move { Ok(NodeKey::derive(b"dop_v1_fake", user_id)) })
    }
}
