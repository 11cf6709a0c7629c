//! All deployments of this agent: opens, finds and forgets them; one at a time per app.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use slipway_host::{Chain, failpoint};
use slipway_proto::{
    problem::{Kind, Problem},
    spec::{AppSpec, Source},
    value::{AppKey, Domain},
};
use tokio::sync::watch;
use tracing::{Instrument as _, info_span, warn};
use uuid::Uuid;

use super::{
    Error, Feed, Handle,
    deployment::Deployment,
    event::Event,
    journal::Journal,
    record::{Facts, Opened, Record},
    recorder::{Durable, Recorder},
    run,
    spool::{Spool, write_failed},
};
use crate::{
    app::AppRecord,
    source::disk,
    world::{Outside, World},
};

/// How `watch` names what it does to an app.
pub(crate) const REPAIRED: &str = "repaired";
/// How long others wait for an app that is about to be let go.
const LETTING_GO: Duration = Duration::from_secs(30);
/// Deployments that are remembered after their end.
const REMEMBERED: usize = 50;

/// All deployments of this agent. Cheap to clone.
#[derive(Debug)]
pub struct Deploys<O>(pub(super) Arc<Inner<O>>);

impl<O> Clone for Deploys<O> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
pub(super) struct Inner<O> {
    pub(super) world: Arc<World<O>>,
    pub(super) table: Arc<Mutex<Table>>,
    /// Held while a deployment is opened, so that two are not opened for one app.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) running: HashMap<Uuid, Arc<Deployment>>,
    pub(super) claims: BTreeMap<AppKey, Holder>,
    /// Oldest first.
    pub(super) ended: VecDeque<Uuid>,
}

/// What is being done to an app.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Holder {
    Deployment(Uuid),
    Act(&'static str),
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deployment(id) => write!(f, "deployment {id} has not ended"),
            Self::Act(act) => write!(f, "it is being {act}"),
        }
    }
}

/// Opens or resumes a deployment.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its id.
    pub deploy_id: Uuid,
    /// Fencing number of the caller.
    pub epoch: u64,
    /// Number of the release.
    pub release: u64,
    /// What to run.
    pub spec: AppSpec,
    /// How long to hold it when the caller is gone.
    pub hold: Option<Duration>,
    /// The last event that the caller has.
    pub after_seq: u64,
}

/// A deployment that was opened or found.
#[derive(Debug)]
pub struct Attached {
    /// Its events.
    pub events: Feed,
    /// Leaves orders; none when it is over.
    pub handle: Option<Handle>,
}

impl<O: Outside> Deploys<O> {
    /// Makes an empty registry; [`Deploys::recover`] fills it.
    pub fn new(world: Arc<World<O>>) -> Self {
        let table = Arc::default();
        Self(Arc::new(Inner { world, table, opening: tokio::sync::Mutex::default() }))
    }

    /// Opens a deployment, or finds it. Goes on when its caller does not wait for it.
    ///
    /// # Errors
    /// See [`Error`]; nothing was begun then.
    pub async fn open(&self, start: Start) -> Result<Attached, Error> {
        let inner = Arc::clone(&self.0);
        let span = info_span!("deploy", deploy.id = %start.deploy_id, app = %start.spec.key);
        let opened = async move {
            let _one = inner.opening.lock().await;
            Arc::clone(&inner).open(start).await
        };
        let task = self.0.world.tasks.spawn(opened.instrument(span));
        task.await.map_err(|_| Error::Stopping)?
    }

    /// Follows a deployment from after `after_seq`.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub async fn observe(&self, deploy_id: Uuid, after_seq: u64) -> Result<Feed, Error> {
        self.0.feed(deploy_id, after_seq).await?.ok_or(Error::Unknown { deploy_id })
    }

    /// Takes an app for something other than a deployment, `act` being how it is named to others:
    /// `stopped`, `removed`. Waits a moment when whoever has it is about to let it go.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub async fn claim(&self, key: &AppKey, act: &'static str) -> Result<Claim, Error> {
        self.0.claim_soon(key, Holder::Act(act)).await
    }

    /// As [`Deploys::claim`], without waiting; none when someone has it.
    pub fn try_claim(&self, key: &AppKey, act: &'static str) -> Option<Claim> {
        self.0.claim(key, Holder::Act(act)).ok()
    }

    /// The deployment of an app that has not ended.
    pub fn running(&self, key: &AppKey) -> Option<Uuid> {
        match self.0.table().claims.get(key) {
            Some(Holder::Deployment(id)) => Some(*id),
            _ => None,
        }
    }

    /// The apps that are being deployed.
    pub fn busy(&self) -> Vec<AppKey> {
        let table = self.0.table();
        let deployed = table.claims.iter().filter(|it| matches!(it.1, Holder::Deployment(_)));
        deployed.map(|it| it.0.clone()).collect()
    }
}

/// Holds an app until it is dropped.
#[derive(Debug)]
pub struct Claim {
    table: Arc<Mutex<Table>>,
    key: AppKey,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).claims.remove(&self.key);
    }
}

impl<O: Outside> Inner<O> {
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dir(&self, deploy_id: Uuid) -> PathBuf {
        self.deploys_dir().join(deploy_id.to_string())
    }

    pub(super) fn deploys_dir(&self) -> PathBuf {
        self.world.state_dir.join("deploys")
    }

    pub(super) fn claim(&self, key: &AppKey, holder: Holder) -> Result<Claim, Error> {
        let mut table = self.table();
        if let Some(other) = table.claims.get(key) {
            return Err(Error::Busy { app: key.clone(), holder: other.to_string() });
        }
        table.claims.insert(key.clone(), holder);
        Ok(Claim { table: Arc::clone(&self.table), key: key.clone() })
    }

    /// Claims an app; waits a moment when whoever has it is about to let it go.
    async fn claim_soon(&self, key: &AppKey, holder: Holder) -> Result<Claim, Error> {
        let deadline = tokio::time::Instant::now() + LETTING_GO;
        while self.is_letting_go(key) && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.claim(key, holder)
    }

    /// Whether an app is only being repaired, or its deployment has told its last event.
    fn is_letting_go(&self, key: &AppKey) -> bool {
        let table = self.table();
        match table.claims.get(key) {
            Some(Holder::Act(act)) => *act == REPAIRED,
            Some(Holder::Deployment(id)) => {
                table.running.get(id).is_some_and(|it| it.has_told_all())
            }
            None => false,
        }
    }

    async fn open(self: Arc<Self>, start: Start) -> Result<Attached, Error> {
        let seen = self.world.apps.get(&start.spec.key).map_or(0, |it| it.epoch);
        if start.epoch < seen {
            let app = start.spec.key.clone();
            return Err(Error::StaleEpoch { app, given: start.epoch, seen });
        }
        let known = self.table().running.get(&start.deploy_id).cloned();
        if let Some(deployment) = known {
            return self.attach(&start, deployment).await;
        }
        if let Some(events) = self.feed(start.deploy_id, start.after_seq).await? {
            return Ok(Attached { events, handle: None });
        }
        let claim = self.claim_soon(&start.spec.key, Holder::Deployment(start.deploy_id)).await?;
        let deployment = self.create(&start).await?;
        let handle = Handle::new(Arc::clone(&deployment), start.epoch);
        deployment.fence(start.epoch);
        let accepted = Event::Accepted { source_offset: 0, resumed: false };
        deployment.recorder.event(accepted, None).await?;
        let events = self.events(&deployment, 0).await?;
        self.launch(deployment, claim);
        Ok(Attached { events, handle: Some(handle) })
    }

    /// Gives a caller that came back its deployment.
    async fn attach(&self, start: &Start, deployment: Arc<Deployment>) -> Result<Attached, Error> {
        let Opened { app, release, .. } = &deployment.opened;
        if *app != start.spec.key || *release != start.release {
            let (app, release) = (app.clone(), *release);
            return Err(Error::Different { deploy_id: start.deploy_id, app, release });
        }
        let epoch = start.epoch;
        let raise = move |it: &mut AppRecord| {
            it.epoch = it.epoch.max(epoch);
            Ok(())
        };
        self.world.apps.update(app, raise).await.map_err(Error::Refused)?;
        deployment.fence(epoch);
        let handle = Handle::new(Arc::clone(&deployment), epoch);
        let received = deployment.facts().received || deployment.facts().image.is_some();
        let source_offset = match (&deployment.spool, &deployment.spec.source) {
            (Some(spool), _) if !received => spool.offset(),
            (_, Source::Archive { size_bytes, .. }) => *size_bytes,
            _ => 0,
        };
        deployment.recorder.event(Event::Accepted { source_offset, resumed: true }, None).await?;
        let events = self.events(&deployment, start.after_seq).await?;
        Ok(Attached { events, handle: Some(handle) })
    }

    /// Checks a deployment against what is here, and records it.
    async fn create(&self, start: &Start) -> Result<Arc<Deployment>, Error> {
        let world = &self.world;
        let settings = &world.settings;
        let outbound = settings.outbound;
        let mut size = 0;
        match &start.spec.source {
            Source::Git { url, .. } => url.check(outbound).map_err(Error::Refused)?,
            Source::Image { reference, .. } => reference.check(outbound).map_err(Error::Refused)?,
            Source::Archive { size_bytes, .. } => size = *size_bytes,
            Source::Release { .. } => (),
        }
        if !matches!(start.spec.source, Source::Release { .. }) {
            let paths = [world.state_dir.as_path(), settings.docker_root.as_path()];
            disk::guard(paths, settings.min_free_bytes, size).map_err(Error::Refused)?;
        }
        self.domains_free(&start.spec).map_err(Error::Refused)?;
        self.register(start).await?;
        world.apps.put_spec(start.release, &start.spec).await.map_err(Error::Refused)?;
        let opened = Opened {
            deploy_id: start.deploy_id,
            app: start.spec.key.clone(),
            release: start.release,
            hold: start.hold.unwrap_or(settings.hold),
            spec: start.spec.clone(),
        };
        let dir = self.dir(start.deploy_id);
        let at = dir.clone();
        let journal = blocking(move || {
            failpoint!("agent.deploy.opened.before");
            slipway_host::fs::make_dir(&at, 0o700)?;
            let journal = Journal::create(&at.join("journal"))?;
            at.parent().map_or(Ok(()), slipway_host::fs::sync_dir)?;
            Ok(journal)
        })
        .await?;
        let facts = Facts::default();
        let recorder = Recorder::start(journal, &facts, world.clock.clone(), &world.tasks);
        recorder.open(Record::Opened(Box::new(opened.clone()))).await?;
        failpoint!("agent.deploy.opened.after");
        let spool = spool(&start.spec, &facts, &dir).await?;
        let redactor = world.redactor.clone();
        let parts = (recorder, facts, redactor);
        Ok(Arc::new(Deployment::new(opened, start.spec.clone(), dir, parts, spool)))
    }

    /// Remembers the epoch, and gives an app without host names a port of the server.
    async fn register(&self, start: &Start) -> Result<(), Error> {
        let records = self.world.apps.all();
        let taken: Vec<u16> = records.iter().filter_map(|it| it.port).collect();
        let port = if start.spec.domains.is_empty() {
            let known = records.iter().find(|it| it.key == start.spec.key).and_then(|it| it.port);
            match known {
                Some(known) => Some(known),
                None => Some(self.world.addresses.port(&taken).map_err(Error::Refused)?),
            }
        } else {
            None
        };
        let (app, epoch, given) = (start.spec.key.clone(), start.epoch, start.release);
        let change = move |it: &mut AppRecord| {
            let newest = it.newest();
            if given <= newest {
                return Err(Error::OldRelease { app, given, newest }.into());
            }
            it.epoch = it.epoch.max(epoch);
            it.port = it.port.or(port);
            Ok(())
        };
        self.world.apps.update(&start.spec.key, change).await.map_err(Error::Refused)
    }

    /// A host name belongs to one app.
    fn domains_free(&self, spec: &AppSpec) -> Result<(), Problem> {
        let records = self.world.apps.all().into_iter().filter(|it| it.key != spec.key);
        let serving = records.filter_map(|it| it.serving.map(|old| (it.key, old.domains)));
        let running = {
            let table = self.table();
            let others = table.running.values().filter(|it| *it.key() != spec.key);
            others.map(|it| (it.key().clone(), it.spec.domains.clone())).collect::<Vec<_>>()
        };
        for (key, domains) in serving.chain(running) {
            let shared = |it: &&Domain| domains.contains(it);
            if let Some(domain) = spec.domains.iter().find(shared) {
                let message = format!("`{domain}` is served by `{key}` on this server");
                return Err(Problem::new(Kind::Exists, "SW-DOMAIN-TAKEN", message)
                    .field("domains")
                    .hint("remove it there first"));
            }
        }
        Ok(())
    }

    /// Runs a deployment to its end, in a task of its own.
    pub(super) fn launch(self: &Arc<Self>, deployment: Arc<Deployment>, claim: Claim) {
        self.table().running.insert(deployment.id(), Arc::clone(&deployment));
        let inner = Arc::clone(self);
        let (id, app) = (deployment.id(), deployment.key());
        let span = info_span!(parent: None, "deploy", deploy.id = %id, app = %app);
        let task = async move {
            run::drive(&inner.world, &deployment).await;
            deployment.recorder.close();
            let mut forgotten = None;
            {
                let mut table = inner.table();
                table.running.remove(&deployment.id());
                if deployment.state().is_over() {
                    table.ended.push_back(deployment.id());
                    if REMEMBERED < table.ended.len() {
                        forgotten = table.ended.pop_front();
                    }
                }
            }
            drop(claim);
            if let Some(id) = forgotten {
                inner.forget(id).await;
            }
        };
        self.world.tasks.spawn(task.instrument(span));
    }

    pub(super) async fn forget(&self, deploy_id: Uuid) {
        let dir = self.dir(deploy_id);
        if let Err(error) = blocking(move || slipway_host::fs::remove_all(&dir)).await {
            warn!(error = %Chain(&error), %deploy_id, "could not remove an old deployment");
        }
    }

    async fn events(&self, deployment: &Deployment, after: u64) -> Result<Feed, Error> {
        let (path, durable) = (deployment.dir.join("journal"), deployment.recorder.durable());
        blocking(move || Feed::open(&path, after, durable)).await
    }

    /// The events of a deployment, running or over; none when it is not known.
    async fn feed(&self, deploy_id: Uuid, after: u64) -> Result<Option<Feed>, Error> {
        let running = self.table().running.get(&deploy_id).cloned();
        if let Some(deployment) = running {
            return self.events(&deployment, after).await.map(Some);
        }
        if !self.table().ended.contains(&deploy_id) {
            return Ok(None);
        }
        let path = self.dir(deploy_id).join("journal");
        let opened = blocking(move || {
            let len = match std::fs::metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                other => other?.len(),
            };
            let durable = watch::channel(Durable { len, over: true }).1;
            Feed::open(&path, after, durable).map(Some)
        });
        opened.await
    }
}

/// Where the archive of a deployment comes in, if one still does.
pub(super) async fn spool(
    spec: &AppSpec,
    facts: &Facts,
    dir: &Path,
) -> Result<Option<Spool>, Error> {
    let Source::Archive { size_bytes, sha256, .. } = spec.source else { return Ok(None) };
    if facts.received || facts.image.is_some() {
        return Ok(None);
    }
    let path = dir.join("source");
    blocking(move || Spool::open(&path, size_bytes, sha256)).await.map(Some)
}

/// Runs file work on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopping)?;
    done.map_err(|error| Error::Refused(write_failed(&error)))
}
