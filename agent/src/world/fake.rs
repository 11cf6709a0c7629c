//! The way in, in memory, for tests: routes, and what was asked.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use slipway_proto::{
    problem::{Kind, Problem},
    value::AppKey,
};
use tokio::sync::watch;

use super::{STOPPED, Site, Traffic};

/// The way in, in memory. Cheap to clone; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct FakeTraffic {
    inner: Arc<Mutex<Inner>>,
    calls: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Inner {
    routes: BTreeMap<String, (u64, Vec<SocketAddr>)>,
    refuse: Option<u64>,
    open: BTreeMap<u64, u64>,
}

impl FakeTraffic {
    pub(crate) fn new() -> Self {
        Self { inner: Arc::default(), calls: watch::channel(0).0 }
    }

    /// The route in force.
    pub(crate) fn route(&self, app: &str) -> Option<(u64, Vec<SocketAddr>)> {
        self.lock().routes.get(app).cloned()
    }

    /// Lets a generation never be seen through nginx.
    pub(crate) fn refuse(&self, generation: u64) {
        self.lock().refuse = Some(generation);
    }

    /// Says how many requests stay open on a generation.
    pub(crate) fn hold(&self, generation: u64, open: u64) {
        self.lock().open.insert(generation, open);
    }

    /// Waits until so many calls were made.
    pub(crate) async fn until(&self, count: usize) {
        self.calls.subscribe().wait_for(|it| count <= *it).await.unwrap();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn enter(&self, line: String) {
        tracing::trace!(line);
        self.calls.send_modify(|it| *it += 1);
        // A place at which the agent can be killed before the call has an effect.
        tokio::task::yield_now().await;
    }
}

impl Traffic for FakeTraffic {
    async fn serve(
        &self,
        site: &Site,
        generation: u64,
        targets: &[SocketAddr],
    ) -> Result<(), Problem> {
        self.enter(format!("serve {} {generation} {}", site.key, targets.len())).await;
        assert_eq!(generation == STOPPED, targets.is_empty(), "a release without containers");
        for target in targets {
            TcpStream::connect(target)
                .expect("traffic was sent to a container that does not listen");
        }
        let refused = {
            let mut inner = self.lock();
            inner.routes.insert(site.key.to_string(), (generation, targets.to_vec()));
            inner.refuse == Some(generation)
        };
        tokio::task::yield_now().await;
        if refused {
            return Err(Problem::new(Kind::Timeout, "SW-PROXY-PROBE", "it was not seen"));
        }
        Ok(())
    }

    fn urls(&self, site: &Site) -> Vec<String> {
        vec![format!("http://{}", site.key)]
    }

    async fn generation(&self, key: &AppKey) -> Result<Option<u64>, Problem> {
        Ok(self.route(&key.to_string()).map(|it| it.0))
    }

    async fn drain(&self, key: &AppKey, generation: u64, _: Duration) -> Result<u64, Problem> {
        self.enter(format!("drain {key} {generation}")).await;
        let current = self.route(&key.to_string()).map(|it| it.0);
        assert_ne!(current, Some(generation), "drained the release that serves");
        Ok(self.lock().open.remove(&generation).unwrap_or(0))
    }

    async fn remove(&self, key: &AppKey) -> Result<(), Problem> {
        self.enter(format!("remove {key}")).await;
        self.lock().routes.remove(&key.to_string());
        Ok(())
    }

    async fn in_flight(&self) -> Result<BTreeMap<(String, u64), u64>, Problem> {
        Ok(BTreeMap::new())
    }

    async fn problems(&self) -> Vec<String> {
        Vec::new()
    }
}
