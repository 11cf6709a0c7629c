//! A deployment as a durable operation: source and lock ([`ready`](super::ready)), then every server
//! through the stages of [`plan`](super::plan). Each decision is in the journal before any server
//! hears of it, so a process that takes over reads there how far it went, asks the agents, and goes
//! on.
//!
//! Tasks: one [`Drive`] per server; they end with the run.

use std::{collections::HashMap, sync::Arc, time::Duration};

use slipway_host::redact::Redactor;
use slipway_proto::agent::v1::{self as wire, source::Kind as Source};
use slipway_store::{Deployment, DeploymentState, Failure, ServerId, Store};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::{Instrument as _, info, info_span};

use super::{
    Timing,
    drive::{Drive, Reached, Seat, Want},
    finish::{Verdict, finish},
    note::{note, noted},
    plan::{Circumstances, Decision, Stage, decide},
    record::{Cursors, WAITING, record},
    request::{Input, KIND},
    specs::Specs,
    upload::Uploads,
};
use crate::{
    fleet::Agents,
    operation::{Ended, Error, Handler, Run, StopReason},
    vault::Vault,
};

/// How long an agent holds a prepared release whose control plane is gone.
const HOLD: Duration = Duration::from_secs(600);

/// Runs deployments.
#[derive(Clone, Debug)]
pub struct Rollout {
    pub(super) store: Store,
    pub(super) agents: Agents,
    pub(super) specs: Specs,
    pub(super) uploads: Uploads,
    pub(super) timing: Timing,
}

impl Handler for Rollout {
    const KIND: &'static str = KIND;

    async fn run(&self, run: Run) -> Result<Ended, Error> {
        let found = run.system().deployment(run.id()).await;
        let deployment = run.check("read the deployment", found)?;
        let span = info_span!("deploy", deploy.id = %deployment.id, app = %deployment.app);
        let work = async {
            let verdict = self.roll(&run, &deployment).await?;
            finish(&run, &deployment, verdict).await
        };
        work.instrument(span).await
    }
}

impl Rollout {
    /// Runs deployments from `store` on `agents`.
    pub fn new(store: Store, vault: Vault, agents: Agents, timing: Timing) -> Self {
        let specs = Specs::new(store.clone(), vault);
        Self { store, agents, specs, uploads: Uploads::default(), timing }
    }

    async fn roll(&self, run: &Run, deployment: &Deployment) -> Result<Verdict, Error> {
        let ready = match self.ready(run, deployment).await? {
            Ok(ready) => ready,
            Err(failure) => return Ok(Verdict::untouched(failure)),
        };
        let servers = run.owner().deployment_servers(deployment.id).await;
        let servers = run.check("read the deployment's servers", servers)?;
        let images = images(run).await?;
        let redactor = Redactor::new();
        let _live = redactor.register(secrets(&ready.spec));
        let board = watch::Sender::new(vec![Reached::Nothing; servers.len()]);
        let want = watch::Sender::new(Want::Prepare);
        let (sink, heard) = mpsc::channel(WAITING);
        let cursors: Cursors = servers
            .iter()
            .map(|it| (it.server_id, u64::try_from(it.agent_seq).unwrap_or_default()))
            .collect();
        let mut drives = JoinSet::new();
        for (index, server) in servers.iter().enumerate() {
            let drive = Drive {
                system: run.system(),
                agents: self.agents.clone(),
                server_id: server.server_id,
                server: Arc::from(server.name.as_str()),
                start: start(run, deployment, &ready.spec, images.get(&server.server_id)),
                archive: ready.archive.clone(),
                want: want.subscribe(),
                seat: Seat { board: board.clone(), index },
                sink: sink.clone(),
                patience: self.timing.patience,
                redactor: redactor.clone(),
                resumed: server.agent_seq != 0,
            };
            drives.spawn(drive.run().in_current_span());
        }
        drop(sink);
        let conducted = async {
            let end = self.conduct(run, &want, board.subscribe()).await;
            // A server that has come to its end has handed in all its events; the others are
            // given up.
            drives.shutdown().await;
            end
        };
        let recorded = record(run.clone(), cursors, heard);
        let ((failure, stuck), ()) = tokio::try_join!(conducted, recorded)?;
        let reached = board.borrow().clone();
        Ok(Verdict { failure, stuck, servers: servers.into_iter().zip(reached).collect() })
    }

    /// Takes all servers through the stages. Gives why it failed, if it did, and whether it is
    /// stuck.
    async fn conduct(
        &self,
        run: &Run,
        want: &watch::Sender<Want>,
        mut board: watch::Receiver<Vec<Reached>>,
    ) -> Result<(Option<Failure>, bool), Error> {
        let (mut stage, mut cause) = journaled(run).await?;
        let mut moved = run.has_finished(word(Stage::Activate));
        loop {
            want.send_replace(wanted(stage, cause.as_ref()));
            match self.news(run, stage, moved, &mut board).await {
                Decision::Wait => (),
                Decision::Go(to) => {
                    note(run, word(to), ()).await?;
                    info!(stage = word(to), "going on");
                    (stage, moved) = (to, true);
                }
                Decision::Abort(failure) => {
                    info!(code = %failure.code, "putting everything back");
                    note(run, word(Stage::Abort), failure.clone()).await?;
                    let state = DeploymentState::Undoing;
                    let system = run.system();
                    let set = system.set_deployment_state(run.id(), run.epoch(), state).await;
                    run.check("note the deployment's state", set)?;
                    (stage, cause) = (Stage::Abort, Some(failure));
                }
                Decision::Succeeded => return Ok((None, false)),
                Decision::Failed => return Ok((cause, false)),
                Decision::Stuck(failure) => return Ok((Some(cause.unwrap_or(failure)), true)),
                Decision::Fenced => {
                    let source = slipway_store::Error::Fenced { operation: run.id() };
                    return run.check("go on", Err(source));
                }
            }
        }
    }

    /// Waits until there is something to do.
    async fn news(
        &self,
        run: &Run,
        stage: Stage,
        moved: bool,
        board: &mut watch::Receiver<Vec<Reached>>,
    ) -> Decision {
        let limit = Instant::now() + self.limit(stage);
        loop {
            let servers = board.borrow_and_update().clone();
            let stop = run.stop_reason();
            let late = stop == Some(StopReason::Deadline)
                && !matches!(stage, Stage::Abort | Stage::Commit);
            let now = Circumstances {
                canceled: stop == Some(StopReason::Canceled),
                overdue: late || limit <= Instant::now(),
                moved,
            };
            match decide(stage, &servers, now) {
                Decision::Wait => tokio::select! {
                    _ = board.changed() => (),
                    _ = run.stop_asked(), if stop.is_none() => (),
                    () = tokio::time::sleep_until(limit) => (),
                },
                decision => return decision,
            }
        }
    }

    fn limit(&self, stage: Stage) -> Duration {
        let Timing { prepare, activate, commit, undo, .. } = self.timing;
        match stage {
            Stage::Prepare => prepare,
            Stage::Activate => activate,
            Stage::Commit => commit,
            Stage::Abort => undo,
        }
    }
}

/// What must show in no event: secrets, and what opens the source.
fn secrets(spec: &wire::AppSpec) -> Vec<&str> {
    let source = match spec.source.as_ref().and_then(|it| it.kind.as_ref()) {
        Some(Source::Git(it)) => Some(it.token.as_str()),
        Some(Source::Image(it)) => Some(it.password.as_str()),
        _ => None,
    };
    spec.secrets.values().map(String::as_str).chain(source).filter(|it| !it.is_empty()).collect()
}

/// When it goes back to a release: that release's image on each server.
async fn images(run: &Run) -> Result<HashMap<ServerId, String>, Error> {
    let Some(id) = run.input::<Input>()?.images_of else { return Ok(HashMap::new()) };
    let servers = run.owner().deployment_servers(id).await;
    let servers = run.check("read the release's images", servers)?;
    let known = servers.into_iter().filter(|it| !it.image_id.is_empty());
    Ok(known.map(|it| (it.server_id, it.image_id)).collect())
}

fn start(
    run: &Run,
    deployment: &Deployment,
    spec: &wire::AppSpec,
    image: Option<&String>,
) -> wire::Start {
    let mut spec = spec.clone();
    if let Some(image_id) = image {
        let release = wire::ReleaseSource { image_id: image_id.clone() };
        spec.source = Some(wire::Source { kind: Some(Source::Release(release)) });
    }
    wire::Start {
        deploy_id: deployment.id.to_string(),
        epoch: run.epoch().number(),
        release: u64::try_from(deployment.release).unwrap_or_default(),
        spec: Some(spec),
        hold: prost_types::Duration::try_from(HOLD).ok(),
        // All of it again: what is recorded already is passed over, and the rest tells how far the
        // server is.
        after_seq: 0,
    }
}

/// How far the journal says that it went.
async fn journaled(run: &Run) -> Result<(Stage, Option<Failure>), Error> {
    if let Some(failure) = noted::<Failure>(run, word(Stage::Abort)).await? {
        return Ok((Stage::Abort, Some(failure)));
    }
    let stage = [Stage::Commit, Stage::Activate].into_iter().find(|it| run.has_finished(word(*it)));
    Ok((stage.unwrap_or(Stage::Prepare), None))
}

/// Name of the step that says that a stage was entered.
fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Prepare => "prepare",
        Stage::Activate => "activate",
        Stage::Commit => "commit",
        Stage::Abort => "abort",
    }
}

fn wanted(stage: Stage, cause: Option<&Failure>) -> Want {
    let reason = || cause.map_or_else(String::new, |it| format!("{}: {}", it.code, it.message));
    match stage {
        Stage::Prepare => Want::Prepare,
        Stage::Activate => Want::Activate,
        Stage::Commit => Want::Commit,
        Stage::Abort => Want::Abort(reason()),
    }
}
