//! Who runs which operation.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use slipway_host::Chain;
use slipway_proto::problem::Problem;
use slipway_store::{Claimant, Operation, Store};
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use super::{AnyHandler, Ended, Error, Handler, Run};

/// After its deadline an operation has this long to put things back before it is given up.
const LAST_CALL: Duration = Duration::from_secs(15 * 60);

/// How a replica runs operations.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Stable id of the replica, the same after a restart, and how long its claims hold.
    pub claimant: Claimant,
    /// How many operations it runs at once.
    pub at_once: usize,
    /// How long running operations may go on when it stops. Those that do not end by then are
    /// dropped where they stand, and go on at the next start or on another replica.
    pub grace: Duration,
}

/// Runs operations. Cheap to clone.
#[derive(Clone)]
pub struct Runner(Arc<Inner>);

struct Inner {
    store: Store,
    settings: Settings,
    handlers: HashMap<&'static str, Arc<dyn AnyHandler>>,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    /// A slot has become free.
    freed: Notify,
    /// Drops what runs.
    interrupt: CancellationToken,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// A runner that is being put together.
#[must_use = "call `build`"]
pub struct Builder {
    store: Store,
    settings: Settings,
    handlers: HashMap<&'static str, Arc<dyn AnyHandler>>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("kinds", &self.handlers.keys()).finish_non_exhaustive()
    }
}

impl Builder {
    /// Adds the handler of a kind of operations.
    pub fn handle<H: Handler>(mut self, handler: H) -> Self {
        self.handlers.insert(H::KIND, Arc::new(handler));
        self
    }

    /// The runner. Nothing runs before [`Runner::drive`] or [`Runner::start`].
    #[must_use]
    pub fn build(self) -> Runner {
        let Self { store, settings, handlers } = self;
        let slots = Arc::new(Semaphore::new(settings.at_once));
        let (tasks, interrupt) = (TaskTracker::new(), CancellationToken::new());
        Runner(Arc::new(Inner {
            store,
            settings,
            handlers,
            slots,
            tasks,
            freed: Notify::new(),
            interrupt,
        }))
    }
}

impl Runner {
    /// Begins to put a runner together.
    pub fn builder(store: Store, settings: Settings) -> Builder {
        Builder { store, settings, handlers: HashMap::new() }
    }

    /// This replica, for recording operations that it runs itself.
    pub fn claimant(&self) -> &Claimant {
        &self.0.settings.claimant
    }

    /// Takes over an operation that this replica has claimed, such as one that was just recorded
    /// with [`Runner::claimant`], and keeps its lease. It does not run yet: there may be a source
    /// to receive first. Dropped instead of started, it is claimed again when its lease has ended.
    pub async fn adopt(&self, operation: Operation) -> Result<Run, Error> {
        let lease = self.claimant().lease;
        let (run, renew) = Run::begin(self.0.store.clone(), operation, lease).await?;
        self.0.tasks.spawn(renew);
        Ok(run)
    }

    /// Runs it, as soon as there is a free slot.
    pub fn start(&self, run: Run) {
        let inner = Arc::clone(&self.0);
        let span = info_span!(
            "operation",
            operation.id = %run.id(),
            kind = run.operation().kind,
            epoch = run.epoch().number()
        );
        self.0.tasks.spawn(inner.work(run).instrument(span));
    }

    /// Claims and runs operations until `stop`; then lets the running ones end, and returns when
    /// nothing of it is left. The replica's own operations of before a restart come first.
    pub async fn drive(&self, stop: CancellationToken) {
        let mut own_claimed = false;
        let mut changes = self.0.store.system().watch_queue();
        while !stop.is_cancelled() {
            if let Err(error) = self.pass(&mut own_claimed).await {
                warn!(error = %Chain(&error), "could not claim operations; the next pass tries again");
            }
            tokio::select! {
                () = stop.cancelled() => (),
                () = changes.wait() => (),
                () = self.0.freed.notified() => (),
            }
        }
        self.drain().await;
    }

    async fn pass(&self, own_claimed: &mut bool) -> Result<(), Error> {
        let system = self.0.store.system();
        let claim = |source| Error::Store { action: "claim operations", source };
        if !*own_claimed {
            for operation in system.claim_own(self.claimant()).await.map_err(claim)? {
                info!(operation.id = %operation.id, "going on with an operation of before the restart");
                self.take(operation).await;
            }
            *own_claimed = true;
        }
        while 0 < self.0.slots.available_permits() {
            let Some(operation) = system.claim(self.claimant()).await.map_err(claim)? else {
                return Ok(());
            };
            self.take(operation).await;
            // Lets it take its slot before the next look.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn take(&self, operation: Operation) {
        let id = operation.id;
        match self.adopt(operation).await {
            Ok(run) => self.start(run),
            Err(error) => {
                warn!(operation.id = %id, error = %Chain(&error), "could not begin an operation");
            }
        }
    }

    async fn drain(&self) {
        let Inner { tasks, interrupt, settings, .. } = &*self.0;
        tasks.close();
        if timeout(settings.grace, tasks.wait()).await.is_ok() {
            return;
        }
        info!(tasks = tasks.len(), "grace is over; operations go on after the restart");
        interrupt.cancel();
        if timeout(Duration::from_secs(10), tasks.wait()).await.is_err() {
            warn!(tasks = tasks.len(), "tasks ignored the interruption");
        }
    }
}

/// How a run came to its end.
enum Outcome {
    Returned(Result<Ended, Error>),
    Panicked,
    Lost,
    Interrupted,
}

impl Inner {
    async fn work(self: Arc<Self>, run: Run) {
        let Some(handler) = self.handlers.get(run.operation().kind.as_str()).map(Arc::clone) else {
            error!("no handler for this kind of operation; it waits for a version that has one");
            return;
        };
        let Some(slot) = self.slot(&run).await else { return };
        debug!("operation runs");
        let outcome = self.supervise(&*handler, &run).await;
        drop(slot);
        self.freed.notify_one();
        match outcome {
            Outcome::Returned(Ok(_ended)) => debug!("operation ended"),
            Outcome::Returned(Err(error)) if error.is_fenced() => {
                info!("operation has another owner");
            }
            Outcome::Lost => info!("operation has, or may have, another owner"),
            Outcome::Interrupted => {
                info!("operation interrupted");
                self.release(&run).await;
            }
            Outcome::Returned(Err(error)) => {
                error!(error = %Chain(&error), "operation could not go on; it is tried again");
                self.give_up_if_late(&run, error.problem()).await;
            }
            Outcome::Panicked => {
                error!("operation's handler panicked; it is tried again");
                let problem = Problem::internal("internal error; see the control plane's log");
                self.give_up_if_late(&run, problem).await;
            }
        }
    }

    /// Waits for a slot, as long as the operation is ours.
    async fn slot(&self, run: &Run) -> Option<tokio::sync::OwnedSemaphorePermit> {
        tokio::select! {
            slot = Arc::clone(&self.slots).acquire_owned() => slot.ok(),
            () = run.lost() => None,
            () = self.interrupt.cancelled() => {
                self.release(run).await;
                None
            }
        }
    }

    async fn supervise(&self, handler: &dyn AnyHandler, run: &Run) -> Outcome {
        let work = AssertUnwindSafe(handler.run(run.clone())).catch_unwind();
        tokio::select! {
            // In this order, so that an end is not taken for the loss that follows it.
            biased;
            returned = work => returned.map_or(Outcome::Panicked, Outcome::Returned),
            () = run.lost() => Outcome::Lost,
            () = self.interrupt.cancelled() => Outcome::Interrupted,
        }
    }

    async fn release(&self, run: &Run) {
        if let Err(error) = self.store.system().release(run.id(), run.epoch()).await {
            debug!(error = %Chain(&error), "could not give an operation back; its lease ends by itself");
        }
    }

    /// An operation that fails in ways that no handler foresaw is not tried for ever.
    async fn give_up_if_late(&self, run: &Run, problem: Problem) {
        if self.store.now() < run.operation().deadline_at.plus(LAST_CALL) {
            return;
        }
        match self.store.system().abandon(run.id(), run.epoch(), problem.into()).await {
            Ok(()) => error!("operation given up; it needs a person"),
            Err(error) => warn!(error = %Chain(&error), "could not give an operation up"),
        }
    }
}
