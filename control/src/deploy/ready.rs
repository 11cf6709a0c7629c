//! Everything before the first server: the archive, the place in the queue.

use std::time::Duration;

use slipway_host::{Chain, failpoint};
use slipway_proto::{
    agent::v1::{self as wire, source::Kind as Source},
    problem::{Kind, Problem},
};
use slipway_store::{
    AppLock, Blob, Deployment, DeploymentState, Digest, EventBody, Failure, NewEvent, OperationId,
    StepState,
};
use tokio::time::Instant;
use tracing::warn;

use super::{
    drive::Archive,
    note::{note, noted, tell},
    rollout::Rollout,
    upload::incomplete,
};
use crate::operation::{Error, Run, StopReason};

/// Time between two events about an upload.
const PROGRESS: Duration = Duration::from_secs(1);
/// Earlier deployments that are looked through for one that has not ended.
const EARLIER: u32 = 200;

/// What has to be known before any server is asked.
#[derive(Debug)]
pub(super) struct Ready {
    /// What to run, secrets included.
    pub(super) spec: wire::AppSpec,
    /// The archive, when that is the source.
    pub(super) archive: Option<Archive>,
}

/// What was found out, or why the deployment fails. The outer error: it cannot go on now.
type Tried<T> = Result<Result<T, Failure>, Error>;

impl Rollout {
    /// Gets the source and the app's lock.
    pub(super) async fn ready(&self, run: &Run, deployment: &Deployment) -> Tried<Ready> {
        let mut spec = match self.specs.load(deployment.user, deployment.id).await {
            Ok(spec) => spec,
            Err(problem) => return Ok(Err(problem.into())),
        };
        let mut archive = None;
        if let Some(Source::Archive(source)) = spec.source.as_mut().and_then(|it| it.kind.as_mut())
        {
            let blob = match self.source(run).await? {
                Ok(blob) => blob,
                Err(failure) => return Ok(Err(failure)),
            };
            source.size_bytes = blob.size;
            source.sha256 = blob.digest.bytes().to_vec().into();
            archive = Some(Archive { path: self.store.blobs().path(blob.digest) });
        }
        if let Err(failure) = self.lock(run, deployment).await? {
            return Ok(Err(failure));
        }
        let state = if run.has_finished("abort") {
            DeploymentState::Undoing
        } else {
            DeploymentState::Running
        };
        let set = run.system().set_deployment_state(run.id(), run.epoch(), state).await;
        run.check("note the deployment's state", set)?;
        Ok(Ok(Ready { spec, archive }))
    }

    /// Waits for the archive, looks through it, and writes it down.
    async fn source(&self, run: &Run) -> Tried<Blob> {
        if let Some((digest, size)) = noted::<(String, u64)>(run, "source").await? {
            return Ok(match digest.parse::<Digest>() {
                Ok(digest) => Ok(Blob { digest, size }),
                Err(_) => Err(Problem::internal("the journal names no archive").into()),
            });
        }
        let blob = match self.receive(run).await? {
            Ok(blob) => blob,
            Err(problem) => return Ok(Err(problem.into())),
        };
        if let Err(problem) = self.scan(run, blob).await? {
            return Ok(Err(problem.into()));
        }
        let set = run.system().set_deployment_blob(run.id(), run.epoch(), blob.digest).await;
        run.check("note the archive", set)?;
        note(run, "source", (blob.digest.to_string(), blob.size)).await?;
        Ok(Ok(blob))
    }

    async fn receive(&self, run: &Run) -> Result<Result<Blob, Problem>, Error> {
        let Some(mut incoming) = self.uploads.take(run.id()) else {
            let message = "the control plane was restarted before the archive was complete";
            return Ok(Err(incomplete(message)));
        };
        tell(run, NewEvent::step("upload", StepState::Started, 0)).await?;
        let began = Instant::now();
        let (mut told, mut last) = (0, began);
        let outcome = loop {
            tokio::select! {
                outcome = &mut incoming.outcome => break outcome.unwrap_or_else(|_| {
                    let arrived = *incoming.progress.borrow();
                    Err(incomplete(format!("the caller went away after {arrived} B")))
                }),
                reason = run.stop_asked() => break Err(stopped(reason)),
                () = tokio::time::sleep(PROGRESS) => {
                    let current = *incoming.progress.borrow();
                    if current != told {
                        (told, last) = (current, Instant::now());
                        tell(run, uploaded(current, 0)).await?;
                    } else if self.timing.upload_idle <= last.elapsed() {
                        let idle = self.timing.upload_idle;
                        break Err(incomplete(format!("nothing arrived for {idle:?}")));
                    }
                }
            }
        };
        let state = match &outcome {
            Ok(blob) => {
                tell(run, uploaded(blob.size, blob.size)).await?;
                StepState::Done
            }
            Err(_) => StepState::Failed,
        };
        let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tell(run, NewEvent::step("upload", state, elapsed)).await?;
        Ok(outcome)
    }

    /// Looks through the whole archive before any server sees a byte of it.
    async fn scan(&self, run: &Run, blob: Blob) -> Result<Result<(), Problem>, Error> {
        let path = self.store.blobs().path(blob.digest);
        let scan = move || slipway_archive::scan(&path, &slipway_archive::Limits::default());
        let summary = match tokio::task::spawn_blocking(scan).await {
            Ok(Ok(summary)) => summary,
            Ok(Err(error)) => return Ok(Err(error.into())),
            Err(error) => {
                warn!(error = %Chain(&error), "the scanner broke");
                return Ok(Err(Problem::internal("the archive could not be looked through")));
            }
        };
        let (files, bytes) = (summary.files, summary.unpacked_bytes);
        tell(run, NewEvent::log("upload", format!("{files} files, {bytes} B"))).await?;
        for warning in summary.warnings {
            tell(run, NewEvent::log("upload", warning)).await?;
        }
        Ok(Ok(()))
    }

    /// Waits until every earlier deployment of the app has ended, then takes the app's lock.
    async fn lock(&self, run: &Run, deployment: &Deployment) -> Tried<()> {
        let mut changes = run.system().watch_app(deployment.app_id);
        let mut told = None;
        loop {
            let Some(ahead) = self.ahead(run, deployment).await? else { return Ok(Ok(())) };
            if told.replace(ahead) != Some(ahead) {
                let app = &deployment.app;
                let message = format!("queued: operation {ahead} on `{app}` has to end first");
                tell(run, NewEvent::log("plan", message)).await?;
            }
            tokio::select! {
                () = changes.wait_at_most(self.timing.queue_poll) => (),
                reason = run.stop_asked() => return Ok(Err(match reason {
                    StopReason::Canceled => stopped(reason),
                    StopReason::Deadline => {
                        let message = format!("operation {ahead} did not end in time");
                        Problem::new(Kind::Timeout, "SW-APP-BUSY", message)
                    }
                }.into())),
            }
        }
    }

    /// Who has to end before this deployment; none: it has the app's lock.
    async fn ahead(
        &self,
        run: &Run,
        deployment: &Deployment,
    ) -> Result<Option<OperationId>, Error> {
        let before =
            run.owner().deployments(Some(&deployment.app), Some(deployment.id), EARLIER).await;
        let before = run.check("look for earlier deployments", before)?;
        let waits = |it: &&Deployment| it.app_id == deployment.app_id && it.ended_at.is_none();
        if let Some(earlier) = before.iter().find(waits) {
            return Ok(Some(earlier.id));
        }
        failpoint!("control.deploy.lock.before");
        let lock = run.system().lock_app(run.id(), run.epoch(), deployment.app_id).await;
        let lock = run.check("lock the app", lock)?;
        failpoint!("control.deploy.lock.after");
        Ok(match lock {
            AppLock::Held => None,
            AppLock::HeldBy(holder) => Some(holder),
        })
    }
}

/// The run was asked to stop before any server was.
fn stopped(reason: StopReason) -> Problem {
    match reason {
        StopReason::Canceled => {
            Problem::new(Kind::Canceled, "SW-CANCELED", "the deployment was canceled")
        }
        StopReason::Deadline => {
            Problem::new(Kind::Timeout, "SW-TIMEOUT", "the deployment took too long")
        }
    }
}

fn uploaded(current: u64, total: u64) -> NewEvent {
    let body = EventBody::Progress { current, total, unit: "bytes".into(), item: String::new() };
    NewEvent::new("upload", body)
}
