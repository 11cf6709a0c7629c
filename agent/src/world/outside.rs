//! The outside things that a deployment touches, as one bundle of traits.

use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

use slipway_engine::Engine;
use slipway_proto::{
    problem::Problem,
    value::{AppKey, Domain, HealthPath},
};

/// Docker, the way in, and the containers' own ports.
pub trait Outside: Send + Sync + 'static {
    /// Docker.
    type Engine: Engine;
    /// The way in.
    type Traffic: Traffic;
    /// The containers' own ports.
    type Probe: Probe;

    /// Docker.
    fn engine(&self) -> &Self::Engine;

    /// The way in.
    fn traffic(&self) -> &Self::Traffic;

    /// The containers' own ports.
    fn probe(&self) -> &Self::Probe;
}

/// The three parts of an [`Outside`].
#[derive(Debug)]
pub struct Parts<E, T, P> {
    /// Docker.
    pub engine: E,
    /// The way in.
    pub traffic: T,
    /// The containers' own ports.
    pub probe: P,
}

impl<E: Engine, T: Traffic, P: Probe> Outside for Parts<E, T, P> {
    type Engine = E;
    type Traffic = T;
    type Probe = P;

    fn engine(&self) -> &E {
        &self.engine
    }

    fn traffic(&self) -> &T {
        &self.traffic
    }

    fn probe(&self) -> &P {
        &self.probe
    }
}

/// Under which names and ports an app is served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Site {
    /// The app.
    pub key: AppKey,
    /// Host names.
    pub domains: Vec<Domain>,
    /// Port of the server, for an app without host names.
    pub port: Option<u16>,
    /// Path at which a healthy release answers.
    pub path: Option<HealthPath>,
}

/// The generation of an app that is stopped: no release has this number.
pub const STOPPED: u64 = 0;

/// The way in: nginx and the switch beneath it. Every call can be repeated.
pub trait Traffic: Send + Sync + 'static {
    /// Sends new requests of an app to `targets`, under `site`. Returns once `generation` was seen
    /// answering through nginx; without targets, once the app is known to be stopped.
    fn serve(
        &self,
        site: &Site,
        generation: u64,
        targets: &[SocketAddr],
    ) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Where a site answers.
    fn urls(&self, site: &Site) -> Vec<String>;

    /// The generation that gets an app's requests now.
    fn generation(&self, key: &AppKey)
    -> impl Future<Output = Result<Option<u64>, Problem>> + Send;

    /// Waits until nothing is open on a generation that gets no new requests, `limit` at most; then
    /// cuts what is left, and returns how much that was.
    fn drain(
        &self,
        key: &AppKey,
        generation: u64,
        limit: Duration,
    ) -> impl Future<Output = Result<u64, Problem>> + Send;

    /// Forgets an app: nothing answers for it any more.
    fn remove(&self, key: &AppKey) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Requests in flight, by app and generation.
    fn in_flight(
        &self,
    ) -> impl Future<Output = Result<BTreeMap<(String, u64), u64>, Problem>> + Send;

    /// What is wrong with nginx or the switch, a sentence each.
    fn problems(&self) -> impl Future<Output = Vec<String>> + Send;
}

/// Asks a container's port.
pub trait Probe: Send + Sync + 'static {
    /// Asks for a path over HTTP and returns the status of the answer.
    fn http(
        &self,
        target: SocketAddr,
        path: &HealthPath,
        limit: Duration,
    ) -> impl Future<Output = io::Result<u16>> + Send;

    /// Connects.
    fn connect(
        &self,
        target: SocketAddr,
        limit: Duration,
    ) -> impl Future<Output = io::Result<()>> + Send;
}
