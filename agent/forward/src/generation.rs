//! One generation of an app while it is in use: who is in it, which connections to its containers
//! are kept.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use hyper::client::conn::http1::SendRequest;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{GenerationStatus, Route, relay::body::Outgoing};

/// Set in [`Generation::open`] once the generation gets no new requests. The bit shares the word with
/// the counter, so that entering and retiring cannot miss each other.
const RETIRED: u64 = 1 << 63;
/// How long a connection to a container is kept without a request.
pub(crate) const IDLE: Duration = Duration::from_secs(1);
/// How many such connections are kept to one container.
const MAX_IDLE: usize = 64;

/// One generation of an app.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) number: u64,
    /// Where it came from; none for the one that passes requests on to the successor.
    pub(crate) route: Option<Route>,
    /// For the header; the route's release was checked to fit one.
    pub(crate) release: HeaderValue,
    targets: Vec<Arc<Target>>,
    turn: AtomicUsize,
    /// Requests in it, and [`RETIRED`].
    open: AtomicU64,
    upgraded: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    latency_micros: AtomicU64,
    emptied: Notify,
    /// Canceled to close all that is open.
    pub(crate) cut: CancellationToken,
}

/// Where a container, or the successor, listens.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// One container.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: Address,
    busy: AtomicU64,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Outgoing>,
    since: Instant,
}

impl Generation {
    /// Opens a generation for requests.
    pub(crate) fn new(route: Route) -> Arc<Self> {
        let addresses = route.targets.iter().copied().map(Address::Tcp).collect();
        let release =
            HeaderValue::from_str(&route.release).unwrap_or(HeaderValue::from_static("unknown"));
        Self::with(route.generation, Some(route), release, addresses)
    }

    /// A generation that passes everything on to the process that listens on `socket`.
    pub(crate) fn passing_on(socket: PathBuf) -> Arc<Self> {
        Self::with(0, None, HeaderValue::from_static("successor"), vec![Address::Unix(socket)])
    }

    fn with(
        number: u64,
        route: Option<Route>,
        release: HeaderValue,
        addresses: Vec<Address>,
    ) -> Arc<Self> {
        let target = |address| {
            Arc::new(Target { address, busy: AtomicU64::new(0), idle: Mutex::new(Vec::new()) })
        };
        Arc::new(Self {
            number,
            route,
            release,
            targets: addresses.into_iter().map(target).collect(),
            turn: AtomicUsize::new(0),
            open: AtomicU64::new(0),
            upgraded: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            latency_micros: AtomicU64::new(0),
            emptied: Notify::new(),
            cut: CancellationToken::new(),
        })
    }

    /// Lets a request in; none when the generation is retired and the request must look again.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Pass> {
        let before = self.open.fetch_add(1, Ordering::SeqCst);
        let pass = Pass { generation: Arc::clone(self), since: Instant::now() };
        // Dropping the pass leaves again.
        (before & RETIRED == 0).then_some(pass)
    }

    /// Lets no more requests in, and closes the connections that none uses.
    pub(crate) fn retire(&self) {
        self.open.fetch_or(RETIRED, Ordering::SeqCst);
        for target in &self.targets {
            target.idle().clear();
        }
        self.emptied.notify_waiters();
    }

    /// How many requests are in it.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::SeqCst) & !RETIRED
    }

    fn retired(&self) -> bool {
        self.open.load(Ordering::SeqCst) & RETIRED != 0
    }

    /// Waits until no request is in it.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// The targets in the order in which to try them: the least busy first, equals in turn.
    pub(crate) fn candidates(&self) -> Vec<Arc<Target>> {
        let mut targets = self.targets.clone();
        if 1 < targets.len() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(targets.len());
            targets.rotate_left(turn.unwrap_or_default());
            targets.sort_by_key(|it| it.busy.load(Ordering::Relaxed));
        }
        targets
    }

    /// Counts an answer of 5xx that is ours.
    pub(crate) fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Closes connections that were idle for too long.
    pub(crate) fn sweep(&self, now: Instant) {
        for target in &self.targets {
            target
                .idle()
                .retain(|it| now.duration_since(it.since) < IDLE && !it.sender.is_closed());
        }
    }

    /// What it is doing.
    pub(crate) fn status(&self) -> GenerationStatus {
        GenerationStatus {
            generation: self.number,
            release: self.route.as_ref().map(|it| it.release.clone()).unwrap_or_default(),
            targets: self.route.as_ref().map(|it| it.targets.clone()).unwrap_or_default(),
            in_flight: self.open(),
            upgraded: self.upgraded.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            latency_micros: self.latency_micros.load(Ordering::Relaxed),
        }
    }
}

/// A request's stay in a generation; leaving is dropping it.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) generation: Arc<Generation>,
    since: Instant,
}

impl Pass {
    /// Counts an upgraded connection until the answer is dropped.
    pub(crate) fn upgraded(self: &Arc<Self>) -> Upgraded {
        self.generation.upgraded.fetch_add(1, Ordering::Relaxed);
        Upgraded { pass: Arc::clone(self) }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let generation = &self.generation;
        generation.requests.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        generation.latency_micros.fetch_add(micros, Ordering::Relaxed);
        if generation.open.fetch_sub(1, Ordering::SeqCst) == RETIRED | 1 {
            generation.emptied.notify_waiters();
        }
    }
}

/// An upgraded connection.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pass: Arc<Pass>,
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        self.pass.generation.upgraded.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Target {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to a target while a request uses it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) sender: SendRequest<Outgoing>,
    busy: Busy,
}

/// Counts a request towards its target.
#[derive(Debug)]
struct Busy(Arc<Target>);

impl Link {
    /// Uses a new connection.
    pub(crate) fn new(target: &Arc<Target>, sender: SendRequest<Outgoing>) -> Self {
        target.busy.fetch_add(1, Ordering::Relaxed);
        Self { sender, busy: Busy(Arc::clone(target)) }
    }

    /// Takes a kept connection; none when there is none that is still open.
    pub(crate) fn reuse(target: &Arc<Target>) -> Option<Self> {
        let now = Instant::now();
        let fresh = |it: &Idle| it.sender.is_ready() && now.duration_since(it.since) < IDLE;
        let mut idle = target.idle();
        let sender = idle.iter().rposition(fresh).map(|at| idle.swap_remove(at).sender)?;
        drop(idle);
        Some(Self::new(target, sender))
    }

    /// Keeps the connection for the next request, unless there will be none.
    pub(crate) fn give_back(self, generation: &Generation) {
        let Self { sender, busy: Busy(target) } = &self;
        if sender.is_closed() {
            return;
        }
        let target = Arc::clone(target);
        let Self { sender, busy } = self;
        drop(busy);
        // Under the lock, so that retiring either finds the connection here or is seen.
        let mut idle = target.idle();
        if !generation.retired() && idle.len() < MAX_IDLE {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
