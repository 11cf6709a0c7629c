//! What a start finds in `deploys/`, and how each deployment goes on.
//!
//! Preparing: goes on by itself with what is here; an archive that is not complete waits for its
//! caller. Prepared: is held for a while, then undone. Activating: the switch is made again, which
//! changes nothing when it was made. Active: serves the new release and waits. Committing, undoing:
//! are finished.

use std::{fs, path::Path, sync::Arc};

use slipway_host::Chain;
use slipway_proto::problem::Problem;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{
    Deploys, Error,
    deployment::Deployment,
    event::{Event, Failure, Phase},
    journal::Journal,
    record::{Facts, Mark, Opened, Record, State},
    recorder::Recorder,
    registry::{Holder, Inner, blocking, spool},
};
use crate::world::Outside;

/// One journal, read.
struct Read {
    journal: Journal,
    opened: Opened,
    facts: Facts,
    /// Time of the last event, in microseconds since the epoch.
    last_at: i64,
}

impl<O: Outside> Deploys<O> {
    /// Finds the deployments of earlier runs and lets those that have not ended go on.
    ///
    /// # Errors
    /// The folder cannot be used. A single journal that cannot be read is set aside.
    pub async fn recover(&self) -> Result<(), Error> {
        let dir = self.0.deploys_dir();
        let found = blocking(move || {
            slipway_host::fs::make_dir(&dir, 0o700)?;
            let entries = fs::read_dir(&dir)?.collect::<Result<Vec<_>, _>>()?;
            let ids = entries.iter().filter_map(|it| it.file_name().to_str()?.parse().ok());
            Ok(ids.filter_map(|id: Uuid| read(&dir.join(id.to_string()))).collect::<Vec<_>>())
        });
        let mut ended = Vec::new();
        for Read { journal, opened, facts, last_at } in found.await? {
            if facts.state.is_over() {
                ended.push((last_at, opened.deploy_id));
            } else {
                self.0.resume(journal, opened, facts).await?;
            }
        }
        ended.sort_unstable();
        let surplus = ended.len().saturating_sub(50);
        for (_, id) in ended.drain(..surplus) {
            self.0.forget(id).await;
        }
        self.0.table().ended.extend(ended.into_iter().map(|it| it.1));
        Ok(())
    }
}

impl<O: Outside> Inner<O> {
    async fn resume(
        self: &Arc<Self>,
        journal: Journal,
        opened: Opened,
        facts: Facts,
    ) -> Result<(), Error> {
        let (key, release) = (opened.app.clone(), opened.release);
        let id = opened.deploy_id;
        let claim = match self.claim(&key, Holder::Deployment(id)) {
            Ok(claim) => claim,
            Err(error) => {
                // Cannot come about while one deployment runs per app; the disk says otherwise.
                error!(error = %Chain(&error), deploy.id = %id, "two deployments of one app; this one is left");
                return Ok(());
            }
        };
        let whole = self.world.apps.spec(&key, release).await.ok().flatten();
        let lost = whole.is_none();
        let spec = whole.unwrap_or_else(|| opened.spec.clone());
        info!(deploy.id = %id, app = %key, state = ?facts.state, "found a deployment; it goes on");
        let dir = self.dir(id);
        let spool = spool(&spec, &facts, &dir).await?;
        let recorder =
            Recorder::start(journal, &facts, self.world.clock.clone(), &self.world.tasks);
        let phase = phase_of(facts.state);
        let parts = (recorder, facts, self.world.redactor.clone());
        let deployment = Arc::new(Deployment::new(opened, spec, dir, parts, spool));
        deployment.fence(self.world.apps.get(&key).map_or(0, |it| it.epoch));
        deployment.say(phase, "the agent was restarted; the deployment goes on").await;
        if lost && deployment.state() == State::Preparing {
            // Without its secrets nothing may be started; what is started may go on.
            let message = "what the release is, with its secrets, is lost";
            let failure = Failure::new(Problem::internal(message), phase);
            deployment.announce(Event::Failed(failure), Mark::Undoing).await?;
        }
        self.launch(deployment, claim);
        Ok(())
    }
}

/// The phase in which a restart is noticed.
fn phase_of(state: State) -> Phase {
    match state {
        State::Preparing => Phase::Source,
        State::Prepared => Phase::Health,
        State::Activating | State::Active => Phase::Switch,
        State::Committing | State::Committed => Phase::Commit,
        State::Undoing | State::Undone => Phase::Undo,
    }
}

/// Reads one journal. None when it does not even say what it is about.
fn read(dir: &Path) -> Option<Read> {
    let (mut opened, mut facts, mut last_at) = (None, Facts::default(), 0);
    let each = |bytes: &[u8]| match serde_json::from_slice::<Record>(bytes) {
        Ok(Record::Opened(it)) => opened = Some(*it),
        Ok(record) => {
            if let Record::Event { stamped, .. } = &record {
                last_at = stamped.at;
            }
            facts.apply(&record);
        }
        Err(error) => warn!(%error, dir = %dir.display(), "passed over a record"),
    };
    let (journal, damage) = match Journal::open(&dir.join("journal"), each) {
        Ok(it) => it,
        Err(error) => {
            warn!(error = %Chain(&error), dir = %dir.display(), "could not open a journal");
            return None;
        }
    };
    if 0 < damage.torn {
        info!(bytes = damage.torn, dir = %dir.display(), "cut off a torn tail");
    }
    if 0 < damage.lost {
        error!(bytes = damage.lost, dir = %dir.display(), "a journal is damaged; going on with the rest");
    }
    let Some(opened) = opened else {
        set_aside(dir, journal.len());
        return None;
    };
    Some(Read { journal, opened, facts, last_at })
}

/// A journal that does not say what it is about: either opening it was cut short, and nothing was
/// done yet, or the disk has lost it, and someone may want to look.
fn set_aside(dir: &Path, len: u64) {
    let gone = if len == 0 {
        slipway_host::fs::remove_all(dir)
    } else {
        slipway_host::fs::rename(dir, &dir.with_extension("damaged"))
    };
    if let Err(error) = gone {
        error!(error = %Chain(&error), dir = %dir.display(), "could not set a journal aside");
    }
}
