//! Requests in closed and paced loops, each outcome counted. Nothing is tried again: a reset is a
//! failure, also when it would not matter.
//!
//! * [`Plan`]: who asks what, how often.
//! * [`Load`]: the load while it runs; [`Load::stop`] gives the [`Tally`].
//! * [`websocket`]: one WebSocket that echoes all along.

mod client;
pub mod websocket;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use client::{Connection, Fault};

/// Who asks what.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Clients that ask again as soon as they have their answer, on one connection each.
    pub closed: usize,
    /// Clients that ask every so often, on one connection each.
    pub paced: usize,
    /// How often.
    pub pace: Duration,
    /// Clients whose answers take 5 s.
    pub slow: usize,
}

impl Plan {
    /// What the acceptance tests ask for: 64 closed-loop clients, paced ones, slow ones.
    pub const FULL: Self =
        Self { closed: 64, paced: 32, pace: Duration::from_millis(150), slow: 4 };
    /// What a demo on a small machine can bear.
    pub const LIGHT: Self = Self { closed: 4, paced: 8, pace: Duration::from_millis(100), slow: 2 };
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Answers of 2xx with the right body.
    pub answered: u64,
    /// Everything else.
    pub failed: u64,
    /// Some of the failures in words, and how often each came.
    pub failures: BTreeMap<String, u64>,
    /// Which versions answered, and how often.
    pub versions: BTreeMap<String, u64>,
    /// Each answer's time, sorted.
    pub times: Vec<Duration>,
}

impl Tally {
    fn good(&mut self, version: String, took: Duration) {
        self.answered += 1;
        *self.versions.entry(version).or_default() += 1;
        self.times.push(took);
    }

    fn bad(&mut self, what: String) {
        self.failed += 1;
        if self.failures.len() < 20 || self.failures.contains_key(&what) {
            *self.failures.entry(what).or_default() += 1;
        }
    }

    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.failed += other.failed;
        for (what, count) in other.failures {
            *self.failures.entry(what).or_default() += count;
        }
        for (version, count) in other.versions {
            *self.versions.entry(version).or_default() += count;
        }
        self.times.extend(other.times);
    }

    /// The time within which this share (0 to 100) of the answers came.
    pub fn percentile(&self, share: usize) -> Duration {
        let at = self.times.len().saturating_mul(share) / 100;
        self.times.get(at.min(self.times.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// A load that runs.
#[derive(Debug)]
pub struct Load {
    tasks: JoinSet<Tally>,
    stop: CancellationToken,
    answered: Arc<AtomicU64>,
}

/// What one client asks.
#[derive(Clone, Copy, Debug)]
enum Ask {
    /// `GET /version`, then `POST /echo`, in turns.
    Quick(Duration),
    /// `GET /slow?s=5`.
    Slow,
}

impl Load {
    /// Starts the clients of a plan against an app at `address`, under the name `host`.
    pub fn start(plan: Plan, address: SocketAddr, host: &str) -> Self {
        let mut load = Self {
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            answered: Arc::default(),
        };
        let asks = std::iter::repeat_n(Ask::Quick(Duration::ZERO), plan.closed)
            .chain(std::iter::repeat_n(Ask::Quick(plan.pace), plan.paced))
            .chain(std::iter::repeat_n(Ask::Slow, plan.slow));
        for ask in asks {
            let (stop, host) = (load.stop.clone(), host.to_owned());
            let answered = Arc::clone(&load.answered);
            load.tasks.spawn(async move { client(ask, address, host, stop, answered).await });
        }
        load
    }

    /// Answers so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Lets the requests that are open end, and adds up.
    pub async fn stop(mut self) -> Tally {
        self.stop.cancel();
        let mut sum = Tally::default();
        while let Some(joined) = self.tasks.join_next().await {
            match joined {
                Ok(tally) => sum.add(tally),
                Err(error) => sum.bad(format!("a client broke: {error}")),
            }
        }
        sum.times.sort_unstable();
        sum
    }
}

async fn client(
    ask: Ask,
    address: SocketAddr,
    host: String,
    stop: CancellationToken,
    answered: Arc<AtomicU64>,
) -> Tally {
    let mut tally = Tally::default();
    let mut connection: Option<Connection> = None;
    let mut turn = 0_u64;
    while !stop.is_cancelled() {
        turn += 1;
        let start = Instant::now();
        match one(&mut connection, ask, turn, address, &host).await {
            Ok(version) => {
                answered.fetch_add(1, Ordering::Relaxed);
                tally.good(version, start.elapsed());
            }
            Err(fault) => {
                connection = None;
                tally.bad(fault.to_string());
                // A server that refuses everything must not turn this into a flood.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        if let Ask::Quick(pace) = ask
            && !pace.is_zero()
        {
            tokio::select! {
                () = stop.cancelled() => (),
                () = tokio::time::sleep(pace) => (),
            }
        }
    }
    tally
}

async fn one(
    connection: &mut Option<Connection>,
    ask: Ask,
    turn: u64,
    address: SocketAddr,
    host: &str,
) -> Result<String, Fault> {
    // A connection whose end was announced may be replaced; one that breaks in use is a failure.
    let open = match connection {
        Some(open) if !open.is_over() => open,
        slot => slot.insert(Connection::open(address).await?),
    };
    let answer = match ask {
        Ask::Slow => open.ask("GET", "/slow?s=5", host, "").await?,
        Ask::Quick(_) if turn.is_multiple_of(2) => {
            let body = format!("ballast {turn}");
            let answer = open.ask("POST", "/echo", host, &body).await?;
            if answer.body != body {
                return Err(Fault::Body(answer.body));
            }
            answer
        }
        Ask::Quick(_) => open.ask("GET", "/version", host, "").await?,
    };
    match answer.status {
        200..=299 => Ok(answer.version),
        status => Err(Fault::Status(status, answer.body)),
    }
}
