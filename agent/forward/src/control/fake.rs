//! A switch in memory, for the tests of those who drive one.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::Switch;
use crate::{AppStatus, Error, GenerationStatus, Route, Status};

/// A switch in memory. It keeps routes, what was asked of it, and open requests that a test makes
/// up.
#[derive(Debug, Default)]
pub struct Fake(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    routes: BTreeMap<String, Route>,
    open: BTreeMap<(String, u64), u64>,
    calls: Vec<String>,
    broken: bool,
}

impl Fake {
    /// Makes a switch without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The route in force.
    pub fn route(&self, app: &str) -> Option<Route> {
        self.lock().routes.get(app).cloned()
    }

    /// What was asked so far, one line each: `set web 2 10.0.0.2:80`, `drained web 1`.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// Says how many requests are open on a generation. They stay until they are cut.
    pub fn hold(&self, app: &str, generation: u64, open: u64) {
        self.lock().open.insert((app.to_owned(), generation), open);
    }

    /// Makes every call fail as if the switch were not there, or ends that.
    pub fn break_down(&self, broken: bool) {
        self.lock().broken = broken;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, line: String) -> Result<MutexGuard<'_, Inner>, Error> {
        let mut inner = self.lock();
        if inner.broken {
            let source = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            return Err(Error::Unreachable { path: "fake".into(), source });
        }
        inner.calls.push(line);
        Ok(inner)
    }
}

impl Inner {
    fn retired(&self, app: &str, generation: u64) -> Result<(), Error> {
        if self.routes.get(app).is_some_and(|it| it.generation == generation) {
            return Err(Error::Current { app: app.to_owned(), generation });
        }
        Ok(())
    }
}

impl Switch for Fake {
    async fn set(&self, app: &str, route: &Route) -> Result<(), Error> {
        crate::route::check_app(app)?;
        route.check()?;
        let targets: Vec<_> = route.targets.iter().map(ToString::to_string).collect();
        let line = format!("set {app} {} {}", route.generation, targets.join(" "));
        self.call(line)?.routes.insert(app.to_owned(), route.clone());
        Ok(())
    }

    async fn remove(&self, app: &str) -> Result<(), Error> {
        self.call(format!("remove {app}"))?.routes.remove(app);
        Ok(())
    }

    async fn status(&self) -> Result<Status, Error> {
        let inner = self.call("status".to_owned())?;
        let apps = inner.routes.iter().map(|(app, route)| AppStatus {
            app: app.clone(),
            current: Some(GenerationStatus {
                generation: route.generation,
                release: route.release.clone(),
                targets: route.targets.clone(),
                in_flight: inner
                    .open
                    .get(&(app.clone(), route.generation))
                    .copied()
                    .unwrap_or_default(),
                upgraded: 0,
                requests: 0,
                errors: 0,
                latency_micros: 0,
            }),
            retired: Vec::new(),
        });
        Ok(Status { apps: apps.collect(), ..Status::default() })
    }

    async fn drained(&self, app: &str, generation: u64, _limit: Duration) -> Result<u64, Error> {
        let inner = self.call(format!("drained {app} {generation}"))?;
        inner.retired(app, generation)?;
        Ok(inner.open.get(&(app.to_owned(), generation)).copied().unwrap_or_default())
    }

    async fn cut(&self, app: &str, generation: u64) -> Result<u64, Error> {
        let mut inner = self.call(format!("cut {app} {generation}"))?;
        inner.retired(app, generation)?;
        Ok(inner.open.remove(&(app.to_owned(), generation)).unwrap_or_default())
    }
}
