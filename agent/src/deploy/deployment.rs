//! One running deployment, as its driver and its callers share it.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use slipway_host::redact::{Live, Redactor};
use slipway_proto::{
    spec::{AppSpec, Source},
    value::AppKey,
};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    Error,
    event::{Event, Failure, Phase},
    record::{Facts, Mark, Opened, State},
    recorder::Recorder,
    spool::Spool,
};

/// One running deployment.
#[derive(Debug)]
pub(super) struct Deployment {
    pub(super) opened: Opened,
    /// Secrets included.
    pub(super) spec: AppSpec,
    pub(super) dir: PathBuf,
    pub(super) recorder: Recorder,
    /// Where the archive comes in; none for other sources.
    pub(super) spool: Option<Spool>,
    redactor: Redactor,
    /// While this lives, the secrets of the specification are taken out of everything.
    _secrets: Live,
    facts: Mutex<Facts>,
    orders: watch::Sender<Orders>,
    callers: watch::Sender<usize>,
}

/// What callers have asked for so far. An order is never taken back and can be repeated.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    pub(super) complete: bool,
    pub(super) activate: bool,
    pub(super) commit: bool,
    pub(super) abort: Option<String>,
    /// Only callers with this fencing number or a higher one are heard.
    pub(super) epoch: u64,
}

/// Why a deployment does not go on by itself.
#[derive(Debug)]
pub(super) enum Interrupt {
    /// Someone asked for it.
    Aborted(String),
    /// Its caller has been gone for too long.
    HoldOver,
}

impl Deployment {
    pub(super) fn new(
        opened: Opened,
        spec: AppSpec,
        dir: PathBuf,
        (recorder, facts, redactor): (Recorder, Facts, Redactor),
        spool: Option<Spool>,
    ) -> Self {
        let secrets = redactor.register(secrets(&spec));
        Self {
            redactor,
            _secrets: secrets,
            opened,
            spec,
            dir,
            recorder,
            spool,
            facts: Mutex::new(facts),
            orders: watch::channel(Orders::default()).0,
            callers: watch::channel(0).0,
        }
    }

    pub(super) fn id(&self) -> Uuid {
        self.opened.deploy_id
    }

    pub(super) fn key(&self) -> &AppKey {
        &self.opened.app
    }

    pub(super) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> State {
        self.facts().state
    }

    /// Makes something true: on disk first, then here.
    pub(super) async fn mark(&self, mark: Mark) -> Result<(), Error> {
        self.recorder.mark(mark.clone()).await?;
        self.facts().apply(&super::record::Record::Mark(mark));
        Ok(())
    }

    /// Makes something true that observers hear of.
    pub(super) async fn announce(&self, event: Event, mark: Mark) -> Result<(), Error> {
        let failed = matches!(event, Event::Failed(_));
        self.recorder.event(event, Some(mark.clone())).await?;
        let mut facts = self.facts();
        facts.failed |= failed;
        facts.apply(&super::record::Record::Mark(mark));
        Ok(())
    }

    /// Whether observers can see the last event; the state here follows a moment later.
    pub(super) fn has_told_all(&self) -> bool {
        self.recorder.durable().borrow().over
    }

    /// Waits for an order.
    pub(super) async fn ordered(&self, order: impl Fn(&Orders) -> bool) {
        // The sender lives in `self`, so it cannot be gone.
        drop(self.orders.subscribe().wait_for(|it| order(it)).await);
    }

    /// Waits until the deployment must not go on by itself.
    pub(super) async fn interrupted(&self) -> Interrupt {
        tokio::select! {
            reason = self.aborted() => Interrupt::Aborted(reason),
            () = self.hold_over() => Interrupt::HoldOver,
        }
    }

    /// Waits until someone asks for the deployment to be undone, and tells why.
    pub(super) async fn aborted(&self) -> String {
        self.ordered(|it| it.abort.is_some()).await;
        self.orders.borrow().abort.clone().unwrap_or_default()
    }

    /// Why it was asked to be undone, if it was.
    pub(super) fn abort_reason(&self) -> Option<String> {
        self.orders.borrow().abort.clone()
    }

    async fn hold_over(&self) {
        let mut callers = self.callers.subscribe();
        loop {
            if *callers.borrow_and_update() == 0 {
                tokio::select! {
                    () = tokio::time::sleep(self.opened.hold) => return,
                    changed = callers.changed() => drop(changed),
                }
            } else {
                drop(callers.changed().await);
            }
        }
    }

    /// Passes on a line of the agent's own.
    pub(super) async fn say(&self, phase: Phase, text: impl AsRef<str>) {
        self.recorder.output(phase, &self.redactor.text(text.as_ref())).await;
    }

    /// A failure without secrets: what a container or a builder says may hold some.
    pub(super) fn redacted(&self, mut failure: Failure) -> Failure {
        failure.message = self.redactor.text(&failure.message).into_owned();
        for line in &mut failure.last_lines {
            *line = self.redactor.text(line).into_owned();
        }
        failure
    }

    /// Hears only callers with this fencing number or a higher one from now on.
    pub(super) fn fence(&self, epoch: u64) {
        self.orders.send_if_modified(|it| {
            let higher = it.epoch < epoch;
            it.epoch = it.epoch.max(epoch);
            higher
        });
    }

    /// The longest time for a request on the old release.
    pub(super) fn drain_timeout(&self) -> Duration {
        self.spec.drain_timeout
    }
}

/// The secrets of a specification: those of the app, and those of its source.
fn secrets(spec: &AppSpec) -> Vec<String> {
    let own = spec.secrets.values().map(|it| it.expose().to_owned());
    let source = match &spec.source {
        Source::Git { token, .. } => Some(token.expose().to_owned()),
        Source::Image { login, .. } => login.as_ref().map(|it| it.password.expose().to_owned()),
        Source::Archive { .. } | Source::Release { .. } => None,
    };
    own.chain(source).filter(|it| !it.is_empty()).collect()
}

/// A caller's hold on a deployment: leaves orders. While one exists, the hold timer rests.
#[derive(Debug)]
pub struct Handle {
    deployment: std::sync::Arc<Deployment>,
    epoch: u64,
}

impl Handle {
    pub(super) fn new(deployment: std::sync::Arc<Deployment>, epoch: u64) -> Self {
        deployment.callers.send_modify(|it| *it += 1);
        Self { deployment, epoch }
    }

    /// Takes a part of the archive.
    ///
    /// # Errors
    /// A gap, too many bytes, a full disk, or another caller has taken over.
    pub async fn chunk(&self, offset: u64, data: Bytes) -> Result<(), Error> {
        self.fenced()?;
        let Some(spool) = &self.deployment.spool else { return Ok(()) };
        if self.deployment.facts().received {
            return Ok(());
        }
        spool.write(offset, data).await.map(drop)
    }

    /// The archive is complete.
    ///
    /// # Errors
    /// Another caller has taken over.
    pub fn source_end(&self) -> Result<(), Error> {
        self.order(|it| it.complete = true)
    }

    /// Traffic may move. Waits in line until the release is prepared.
    ///
    /// # Errors
    /// Another caller has taken over.
    pub fn activate(&self) -> Result<(), Error> {
        self.order(|it| it.activate = true)
    }

    /// The old release may go. Waits in line until traffic has moved.
    ///
    /// # Errors
    /// Another caller has taken over.
    pub fn commit(&self) -> Result<(), Error> {
        self.order(|it| it.commit = true)
    }

    /// Everything is to be put back.
    ///
    /// # Errors
    /// Another caller has taken over.
    pub fn abort(&self, reason: &str) -> Result<(), Error> {
        let reason: String = super::event::plain(reason).chars().take(1_024).collect();
        self.order(|it| {
            it.abort.get_or_insert(reason);
        })
    }

    /// Waits until another caller has taken over.
    pub async fn overtaken(&self) -> Error {
        let epoch = self.epoch;
        self.deployment.ordered(|it| epoch < it.epoch).await;
        self.fenced().err().unwrap_or(Error::Stopping)
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) -> Result<(), Error> {
        self.fenced()?;
        self.deployment.orders.send_modify(change);
        Ok(())
    }

    fn fenced(&self) -> Result<(), Error> {
        let seen = self.deployment.orders.borrow().epoch;
        if self.epoch < seen {
            let app = self.deployment.key().clone();
            return Err(Error::StaleEpoch { app, given: self.epoch, seen });
        }
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.deployment.callers.send_modify(|it| *it = it.saturating_sub(1));
    }
}
