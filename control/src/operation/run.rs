//! One operation at work.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use slipway_host::Chain;
use slipway_store::{
    AppId, AppLock, DeploymentState, Done, Epoch, NewEvent, Operation, OperationId, Owner, Seen,
    ServerOutcome, Store, System, UserId,
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::Error;

/// One operation at work, by the replica that holds it. Cheap to clone. Its lease is renewed until
/// the last clone is gone.
#[derive(Clone, Debug)]
pub struct Run(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    operation: Operation,
    /// Results of steps that had finished when this run began.
    finished: HashMap<String, String>,
    signals: Signals,
    /// Ends the renewal.
    _guard: DropGuard,
}

/// What the renewal tells the run.
#[derive(Clone, Debug, Default)]
struct Signals {
    stop: CancellationToken,
    reason: Arc<OnceLock<StopReason>>,
    lost: CancellationToken,
}

/// Why a run should put things back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StopReason {
    /// Its user asked for it.
    Canceled,
    /// It is past its deadline.
    Deadline,
}

/// Proof that an operation was ended. Only a [`Run`] makes one.
#[must_use = "a handler returns it"]
#[derive(Debug)]
pub struct Ended(());

impl Run {
    /// Begins a run of an operation that this replica has claimed. Returns it with the task that
    /// renews its lease.
    pub(super) async fn begin(
        store: Store,
        operation: Operation,
        lease: Duration,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), Error> {
        let finished = store
            .system()
            .steps(operation.id)
            .await
            .map_err(|source| Error::Store { action: "read finished steps", source })?;
        let (signals, over) = (Signals::default(), CancellationToken::new());
        if operation.cancel_requested {
            signals.ask(StopReason::Canceled);
        }
        let left = operation.deadline_at.since(store.now());
        let renewal = Renewal {
            system: store.system(),
            id: operation.id,
            epoch: operation.epoch,
            lease,
            deadline: Instant::now() + left,
            signals: signals.clone(),
        };
        let guard = over.clone().drop_guard();
        let inner = Inner { store, operation, finished, signals, _guard: guard };
        let renew = async move {
            over.run_until_cancelled(renewal.run()).await;
        };
        Ok((Self(Arc::new(inner)), renew))
    }

    /// Id of the operation.
    pub fn id(&self) -> OperationId {
        self.0.operation.id
    }

    /// Fencing number of this run.
    pub fn epoch(&self) -> Epoch {
        self.0.operation.epoch
    }

    /// Whose operation it is.
    pub fn user(&self) -> UserId {
        self.0.operation.user
    }

    /// The operation, as it was when this run began.
    pub fn operation(&self) -> &Operation {
        &self.0.operation
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The rows of the operation's user.
    pub fn owner(&self) -> Owner {
        self.0.store.of(self.user())
    }

    /// The installation's own access.
    pub fn system(&self) -> System {
        self.0.store.system()
    }

    /// The operation's input.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.0.operation.input)
            .map_err(|source| Error::Decode { what: "the input".to_owned(), source })
    }

    /// Does `work`, once: when it has finished before, its result is given again and `work` is
    /// dropped unpolled. Errors are not kept, so a failed step runs again in the next run.
    ///
    /// Cut off between its effect and its record, it runs twice: look up before you create.
    pub async fn step<T, E>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        if let Some(result) = self.0.finished.get(name) {
            let what = format!("step `{name}`");
            return serde_json::from_str(result)
                .map_err(|source| E::from(Error::Decode { what, source }));
        }
        let value = work.await?;
        let result = serde_json::to_string(&value)
            .map_err(|source| Error::Encode { step: name.to_owned(), source })?;
        let recorded = self.system().finish_step(self.id(), self.epoch(), name, &result).await;
        self.check("record a step", recorded)?;
        Ok(value)
    }

    /// Whether a step had finished when this run began.
    pub fn has_finished(&self, step: &str) -> bool {
        self.0.finished.contains_key(step)
    }

    /// Appends events, durably.
    pub async fn append(&self, events: Vec<NewEvent>) -> Result<u64, Error> {
        let appended = self.system().append(self.id(), self.epoch(), events).await;
        self.check("record events", appended)
    }

    /// Appends what an agent told, and notes how far its own events are among ours, at once.
    pub async fn append_seen(&self, events: Vec<NewEvent>, seen: Seen) -> Result<u64, Error> {
        let appended = self.system().append_seen(self.id(), self.epoch(), events, seen).await;
        self.check("record events", appended)
    }

    /// Takes an app's lock, which the operation holds until it ends. While another has it, calls
    /// `waiting` with its id each time that it is a new one, and waits.
    pub async fn lock_app(
        &self,
        app: AppId,
        mut waiting: impl AsyncFnMut(OperationId) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut changes = self.system().watch_app(app);
        let mut last = None;
        loop {
            let lock = self.system().lock_app(self.id(), self.epoch(), app).await;
            match self.check("lock the app", lock)? {
                AppLock::Held => return Ok(()),
                AppLock::HeldBy(holder) => {
                    if last.replace(holder) != Some(holder) {
                        waiting(holder).await?;
                    }
                    changes.wait().await;
                }
            }
        }
    }

    /// Returns when the run should put things back, and why.
    pub async fn stop_asked(&self) -> StopReason {
        let Signals { stop, reason, .. } = &self.0.signals;
        stop.cancelled().await;
        reason.get().copied().unwrap_or(StopReason::Canceled)
    }

    /// Why the run should put things back, if it should.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.0.signals.reason.get().copied()
    }

    /// Ends the operation with its last event.
    pub async fn finish(&self, done: Done) -> Result<Ended, Error> {
        let finished = self.system().finish(self.id(), self.epoch(), done).await;
        self.check("end the operation", finished)?;
        Ok(Ended(()))
    }

    /// Ends a deployment: all its rows and its last event, at once.
    pub async fn finish_deployment(
        &self,
        state: DeploymentState,
        outcomes: &[ServerOutcome],
        done: Done,
    ) -> Result<Ended, Error> {
        let finished =
            self.system().finish_deployment(self.id(), self.epoch(), state, outcomes, done).await;
        self.check("end the deployment", finished)?;
        Ok(Ended(()))
    }

    /// Returns when another has, or may have, claimed the operation.
    pub(super) async fn lost(&self) {
        self.0.signals.lost.cancelled().await;
    }

    /// Passes a result of the store on, and notices when it says that the operation is lost. For
    /// writes of a handler's own, too.
    pub fn check<T>(
        &self,
        action: &'static str,
        result: Result<T, slipway_store::Error>,
    ) -> Result<T, Error> {
        result.map_err(|source| {
            if matches!(source, slipway_store::Error::Fenced { .. }) {
                self.0.signals.lost.cancel();
            }
            Error::Store { action, source }
        })
    }
}

impl Signals {
    fn ask(&self, reason: StopReason) {
        // The first reason stands.
        if self.reason.set(reason).is_ok() {
            self.stop.cancel();
        }
    }
}

/// Keeps a lease.
struct Renewal {
    system: System,
    id: OperationId,
    epoch: Epoch,
    lease: Duration,
    deadline: Instant,
    signals: Signals,
}

impl Renewal {
    /// Renews three times a lease, and whenever the operation may have been asked to stop. Ends
    /// when the operation is lost.
    async fn run(self) {
        let mut changes = self.system.watch_cancel(self.id);
        let mut held_until = Instant::now() + self.lease;
        loop {
            match self.system.renew(self.id, self.epoch, self.lease).await {
                Ok(cancel) => {
                    held_until = Instant::now() + self.lease;
                    if cancel {
                        self.signals.ask(StopReason::Canceled);
                    }
                }
                Err(slipway_store::Error::Fenced { .. }) => {
                    info!(operation.id = %self.id, "operation has ended or has another owner");
                    self.signals.lost.cancel();
                    return;
                }
                Err(error) => {
                    warn!(operation.id = %self.id, error = %Chain(&error), "could not renew a lease");
                }
            }
            if held_until <= Instant::now() {
                // Another may have it by now, and we could not tell.
                self.signals.lost.cancel();
                return;
            }
            let past = self.signals.reason.get().is_some();
            tokio::select! {
                () = changes.wait_at_most(self.lease / 3) => (),
                () = sleep_until(self.deadline), if !past => self.signals.ask(StopReason::Deadline),
            }
        }
    }
}
