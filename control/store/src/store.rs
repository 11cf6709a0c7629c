//! The store itself: opening, closing, and the two ways in.

use std::{path::Path, sync::Arc, time::Duration};

use slipway_host::clock::Clock;
use tokio::sync::mpsc;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    blob::Blobs,
    db::{Db, Tx, query},
    error::Error,
    event::{Request, writer},
    hub::Hub,
    id::{At, OperationId, UserId},
};

/// Appends that may wait for the writer before callers have to wait.
const WAITING_APPENDS: usize = 1024;

/// A store. Cheap to clone.
///
/// It runs two tasks: the writer of events, and on PostgreSQL the listener for other replicas'
/// pokes. Both end with the last clone, or with [`Store::close`].
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    clock: Clock,
    hub: Hub,
    blobs: Blobs,
    install: String,
    /// Newest fencing number when this store was opened.
    opened_at: Epoch,
    appends: mpsc::Sender<Request>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _guard: DropGuard,
}

impl Store {
    /// Opens `sqlite://…` or `postgres://…` and the blob folder within `data_dir`, and brings the
    /// schema up to date.
    pub async fn open(url: &str, data_dir: &Path) -> Result<Self, Error> {
        Self::open_with(url, data_dir, Clock::system()).await
    }

    /// The same with another clock. Leases on PostgreSQL go by the database's own.
    pub async fn open_with(url: &str, data_dir: &Path, clock: Clock) -> Result<Self, Error> {
        const EPOCH: &str = "select value from counter where name = 'epoch'";
        let blobs = Blobs::open(&data_dir.join("blobs")).await?;
        let db = Db::open(url).await?;
        let install = install_id(&db).await?;
        let (opened_at,) = db.one(query("read the newest fencing number", EPOCH)).await?;
        let hub = Hub::default();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (appends, requests) = mpsc::channel(WAITING_APPENDS);
        tasks.spawn(writer(db.clone(), clock.clone(), hub.clone(), requests));
        if let Some(pool) = db.postgres() {
            tasks.spawn(hub.clone().listen(pool.clone(), stop.clone()));
        }
        tasks.close();
        let guard = stop.clone().drop_guard();
        let inner = Inner {
            db,
            clock,
            hub,
            blobs,
            install,
            opened_at,
            appends,
            tasks,
            stop,
            _guard: guard,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// A user's own rows: the only way to them. What belongs to others is missing here.
    pub fn of(&self, user: UserId) -> Owner {
        Owner { store: self.clone(), user }
    }

    /// Access without a user, for the work of the installation itself: sign-in, agents' sessions,
    /// workers, recovery.
    pub fn system(&self) -> System {
        System { store: self.clone() }
    }

    /// The folder of sources.
    pub fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    /// Id of this installation: 26 lower-case characters, made with the database.
    pub fn install(&self) -> &str {
        &self.0.install
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The time now.
    pub fn now(&self) -> At {
        At::from_micros(self.0.clock.now_micros())
    }

    /// Whether the database answers.
    pub async fn ready(&self) -> Result<(), Error> {
        let _one: (i64,) = self
            .db()
            .one(query("reach the database", "select value from counter where name = 'event'"))
            .await?;
        Ok(())
    }

    /// Writes what was accepted, then closes the database. Later calls answer [`Error::Closed`].
    pub async fn close(&self) {
        self.0.stop.cancel();
        let (reply, done) = tokio::sync::oneshot::channel();
        if self.0.appends.send(Request::Close(reply)).await.is_ok() {
            // An error here means that the writer has ended, which is what we wait for.
            drop(done.await);
        }
        self.0.tasks.wait().await;
        self.db().close().await;
    }

    pub(crate) fn db(&self) -> &Db {
        &self.0.db
    }

    pub(crate) fn opened_at(&self) -> Epoch {
        self.0.opened_at
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    pub(crate) fn appends(&self) -> &mpsc::Sender<Request> {
        &self.0.appends
    }

    /// The clock that leases go by. This is the one place that decides: PostgreSQL's own clock,
    /// because replicas' clocks differ; for SQLite, which one machine has to itself, ours.
    pub(crate) async fn lease_now(&self, tx: &mut Tx) -> Result<At, Error> {
        const NOW: &str = "select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)";
        if !tx.is_postgres() {
            return Ok(self.now());
        }
        let (now,): (At,) = tx.one(query("read the database's clock", NOW)).await?;
        Ok(now)
    }

    /// Locks an operation's row for the rest of the transaction if `epoch` is still its own.
    pub(crate) async fn fence(
        &self,
        tx: &mut Tx,
        operation: OperationId,
        epoch: Epoch,
    ) -> Result<(), Error> {
        const FENCE: &str = "
            update operation set lease_until = lease_until
            where operation_id = $1 and epoch = $2 and state = 'open'
        ";
        let held = tx
            .execute(query("check an operation's owner", FENCE).bind(operation).bind(epoch.0))
            .await?;
        if held == 0 { Err(Error::Fenced { operation }) } else { Ok(()) }
    }
}

/// Fencing number: grows with every claim of any operation, and only its newest holder may write.
#[derive(
    Clone,
    Copy,
    Debug,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    serde::Serialize,
    serde::Deserialize,
    sqlx::Type,
)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct Epoch(pub(crate) i64);

impl Epoch {
    /// The number as it goes over the wire.
    pub fn number(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A replica that works on operations, and how long its claims hold unless renewed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claimant {
    /// Stable id of the replica, the same after a restart.
    pub owner: String,
    /// How long a claim holds.
    pub lease: Duration,
}

/// One user's rows. See [`Store::of`].
#[derive(Clone, Debug)]
pub struct Owner {
    pub(crate) store: Store,
    pub(crate) user: UserId,
}

impl Owner {
    /// Whose rows these are.
    pub fn user(&self) -> UserId {
        self.user
    }

    pub(crate) fn db(&self) -> &Db {
        self.store.db()
    }
}

/// The installation's own access. See [`Store::system`].
#[derive(Clone, Debug)]
pub struct System {
    pub(crate) store: Store,
}

impl System {
    pub(crate) fn db(&self) -> &Db {
        self.store.db()
    }

    pub(crate) fn now(&self) -> At {
        self.store.now()
    }
}

/// Makes the installation's id once.
async fn install_id(db: &Db) -> Result<String, Error> {
    const MAKE: &str =
        "insert into meta (name, value) values ('install', $1) on conflict (name) do nothing";
    const READ: &str = "select value from meta where name = 'install'";
    let fresh = uuid::Uuid::new_v4().simple().to_string().chars().take(26).collect::<String>();
    db.execute(query("name the installation", MAKE).bind(fresh)).await?;
    let (id,): (String,) = db.one(query("read the installation's name", READ)).await?;
    Ok(id)
}
