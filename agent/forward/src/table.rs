//! The routes in force, and older generations that still have something open.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::time::{Instant, timeout_at};
use tracing::info;

use crate::{
    AppStatus, Error, Route,
    generation::Generation,
    route::check_app,
    state::{self, Restored, Routes},
};

type Current = HashMap<String, Arc<Generation>>;

/// The routes in force.
#[derive(Debug)]
pub(crate) struct Table {
    file: PathBuf,
    current: ArcSwap<Current>,
    /// Set while another process has taken over: everything goes there.
    passing_on: ArcSwapOption<Generation>,
    /// Older generations, by app. Its lock orders all changes.
    retired: Mutex<HashMap<String, Vec<Arc<Generation>>>>,
    pub(crate) restored: Restored,
}

impl Table {
    /// Reads the table from disk.
    pub(crate) fn open(file: PathBuf) -> Result<Self, Error> {
        let (routes, restored) = state::load(&file)?;
        info!(apps = routes.len(), ?restored, "read the table");
        let current = routes.into_iter().map(|(app, it)| (app, Generation::new(it))).collect();
        Ok(Self {
            file,
            current: ArcSwap::from_pointee(current),
            passing_on: ArcSwapOption::empty(),
            retired: Mutex::default(),
            restored,
        })
    }

    /// The generation that a request of `app` should enter now.
    pub(crate) fn current(&self, app: &str) -> Option<Arc<Generation>> {
        let passing_on = || self.passing_on.load_full();
        // Asked again at the end: handing over may empty the table between the first two.
        passing_on().or_else(|| self.current.load().get(app).cloned()).or_else(passing_on)
    }

    /// Puts a route in force, on disk first. Blocks on the disk.
    pub(crate) fn set(&self, app: &str, route: &Route) -> Result<(), Error> {
        check_app(app)?;
        route.check()?;
        self.change(app, Some(route))
    }

    /// Forgets an app, on disk first. Blocks on the disk.
    pub(crate) fn remove(&self, app: &str) -> Result<(), Error> {
        check_app(app)?;
        self.change(app, None)
    }

    fn change(&self, app: &str, route: Option<&Route>) -> Result<(), Error> {
        let mut retired = self.retired();
        if self.passing_on.load().is_some() {
            return Err(Error::Retired);
        }
        let mut next = Current::clone(&self.current.load());
        if next.get(app).and_then(|it| it.route.as_ref()) == route {
            return Ok(());
        }
        let old = match route {
            Some(route) => next.insert(app.to_owned(), Generation::new(route.clone())),
            None => next.remove(app),
        };
        // A crash from here on restarts with the new route: both sides run until the agent, which
        // has no answer yet, asks again.
        state::save(&self.file, &routes(&next))?;
        self.current.store(Arc::new(next));
        retired.retain(|_, them| {
            them.retain(|it| 0 < it.open());
            !them.is_empty()
        });
        if let Some(old) = old {
            old.retire();
            retired.entry(app.to_owned()).or_default().push(old);
        }
        info!(app, generation = route.map(|it| it.generation), "route changed");
        Ok(())
    }

    /// Waits until a retired generation is empty, until `limit` has passed.
    pub(crate) async fn drained(
        &self,
        app: &str,
        generation: u64,
        limit: Duration,
    ) -> Result<u64, Error> {
        let them = self.old(app, generation)?;
        let deadline = Instant::now().checked_add(limit).unwrap_or_else(Instant::now);
        for it in &them {
            if timeout_at(deadline, it.emptied()).await.is_err() {
                break;
            }
        }
        Ok(them.iter().map(|it| it.open()).sum())
    }

    /// Closes what is open on a retired generation.
    pub(crate) fn cut(&self, app: &str, generation: u64) -> Result<u64, Error> {
        let cut = |it: &Arc<Generation>| {
            let open = it.open();
            it.cut.cancel();
            open
        };
        Ok(self.old(app, generation)?.iter().map(cut).sum())
    }

    fn old(&self, app: &str, generation: u64) -> Result<Vec<Arc<Generation>>, Error> {
        check_app(app)?;
        let retired = self.retired();
        if self.current.load().get(app).is_some_and(|it| it.number == generation) {
            return Err(Error::Current { app: app.to_owned(), generation });
        }
        let them = retired.get(app).into_iter().flatten();
        Ok(them.filter(|it| it.number == generation).cloned().collect())
    }

    /// Sends all that still comes to the process that listens on `socket`, and lets what is open
    /// end. From then on every generation here is an old one.
    pub(crate) fn hand_over(&self, socket: PathBuf) {
        let mut retired = self.retired();
        if self.passing_on.load().is_some() {
            return;
        }
        self.passing_on.store(Some(Generation::passing_on(socket)));
        for (app, old) in self.current.swap(Arc::default()).iter() {
            old.retire();
            retired.entry(app.clone()).or_default().push(Arc::clone(old));
        }
    }

    /// Whether another process has taken over.
    pub(crate) fn handed_over(&self) -> bool {
        self.passing_on.load().is_some()
    }

    /// Takes the traffic back from a successor that died, with the routes that are on disk now.
    pub(crate) fn take_back(&self) -> Result<(), Error> {
        let _retired = self.retired();
        let (routes, _) = state::load(&self.file)?;
        let current = routes.into_iter().map(|(app, it)| (app, Generation::new(it))).collect();
        self.current.store(Arc::new(current));
        if let Some(successor) = self.passing_on.swap(None) {
            successor.retire();
        }
        Ok(())
    }

    /// Closes connections that were idle for too long.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        for generation in self.current.load().values() {
            generation.sweep(now);
        }
    }

    /// Closes everything.
    pub(crate) fn cut_all(&self) {
        let retired = self.retired();
        let current = self.current.load();
        for it in current.values().chain(retired.values().flatten()) {
            it.cut.cancel();
        }
        if let Some(successor) = self.passing_on.load_full() {
            successor.cut.cancel();
        }
    }

    /// All apps and what is open.
    pub(crate) fn status(&self) -> Vec<AppStatus> {
        let retired = self.retired();
        let current = self.current.load();
        let mut apps: Vec<_> = current.keys().chain(retired.keys()).collect();
        apps.sort_unstable();
        apps.dedup();
        let status = |app: &String| AppStatus {
            app: app.clone(),
            current: current.get(app).map(|it| it.status()),
            retired: retired
                .get(app)
                .into_iter()
                .flatten()
                .filter(|it| 0 < it.open())
                .map(|it| it.status())
                .collect(),
        };
        let busy = |it: &AppStatus| it.current.is_some() || !it.retired.is_empty();
        apps.into_iter().map(status).filter(busy).collect()
    }

    fn retired(&self) -> MutexGuard<'_, HashMap<String, Vec<Arc<Generation>>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn routes(current: &Current) -> Routes {
    let route = |(app, it): (&String, &Arc<Generation>)| Some((app.clone(), it.route.clone()?));
    current.iter().filter_map(route).collect()
}
