//! Brings nginx to a wanted configuration, or leaves it where it was.

use std::{
    collections::HashSet,
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use slipway_host::failpoint;
use slipway_proto::problem::{Kind, Problem};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};
use tracing::{error, info, warn};

use super::{
    AppRoute, Mode, Settings,
    master::Master,
    probe,
    render::{Rendered, STATUS_HOST, render},
    tree::Trees,
};

/// How long nginx may take until its new workers answer.
const TAKE_LIMIT: Duration = Duration::from_secs(10);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// How long requests may take when nginx ends.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What [`Nginx::apply`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Applied {
    /// Nothing: nginx runs with exactly this.
    Unchanged,
    /// It read the new configuration.
    Reloaded,
    /// It was not running, and is now.
    Started,
}

/// nginx on this server.
#[derive(Debug)]
pub struct Nginx {
    settings: Settings,
    trees: Trees,
    master: Master,
    /// One change at a time.
    turn: Mutex<()>,
}

impl Nginx {
    /// Makes the folders. Starts nothing.
    pub fn open(settings: Settings) -> Result<Self, Problem> {
        let trees = Trees::open(&settings.dir).map_err(|it| broken_disk(&it))?;
        let master = Master::new(&settings, trees.main());
        Ok(Self { settings, trees, master, turn: Mutex::new(()) })
    }

    /// Makes nginx serve exactly `routes`, and returns once it does.
    ///
    /// Does nothing when it does already. A configuration that nginx refuses or does not take is
    /// withdrawn, and the one before it stays in force.
    ///
    /// # Errors
    /// `SW-DOMAIN-TAKEN`, `SW-PORT-IN-USE`, `SW-PROXY-CONFIG`, `SW-PROXY-START`, `SW-PROXY-DOWN`,
    /// `SW-PROXY-RELOAD`.
    pub async fn apply(&self, routes: &[AppRoute]) -> Result<Applied, Problem> {
        let _turn = self.turn.lock().await;
        let wanted = render(&self.settings, routes)?;
        if self.trees.holds(&wanted) && self.included()? {
            if self.master.pid().is_some() && self.runs(&wanted).await {
                return Ok(Applied::Unchanged);
            }
            return self.take(&wanted).await;
        }
        let tree = self.trees.stage(&wanted).map_err(|it| broken_disk(&it))?;
        failpoint!("proxy.staged");
        let before = self.trees.current();
        let outcome = self.swap(&wanted, &tree).await;
        if let Err(problem) = &outcome {
            error!(%problem, "nginx keeps the configuration before");
            self.restore(before.as_deref());
        }
        if let Err(error) = self.trees.sweep() {
            warn!(%error, "could not remove old configurations");
        }
        outcome
    }

    /// Asks the app through nginx, as a client would, until `release` answers.
    ///
    /// # Errors
    /// `SW-PROXY-PROBE` says what answered instead.
    pub async fn probe(
        &self,
        route: &AppRoute,
        release: &str,
        path: &str,
        limit: Duration,
    ) -> Result<(), Problem> {
        probe::until_release(&self.settings, route, release, path, limit).await
    }

    /// Whether nginx runs.
    pub fn is_running(&self) -> bool {
        self.master.pid().is_some()
    }

    /// Ends an nginx of our own; leaves the distribution's running.
    ///
    /// # Errors
    /// `SW-PROXY-DOWN` when it does not end.
    pub async fn stop(&self) -> Result<(), Problem> {
        let _turn = self.turn.lock().await;
        match self.settings.mode {
            Mode::Own => self.master.stop(STOP_GRACE).await,
            Mode::System { .. } => Ok(()),
        }
    }

    async fn swap(&self, wanted: &Rendered, tree: &Path) -> Result<Applied, Problem> {
        self.master.test(&tree.join(super::render::MAIN)).await?;
        self.check_ports(wanted).await?;
        failpoint!("proxy.tested");
        self.trees.point(tree).map_err(|it| broken_disk(&it))?;
        failpoint!("proxy.swapped");
        self.take(wanted).await
    }

    /// Makes the running nginx read what is in force, or starts one.
    async fn take(&self, wanted: &Rendered) -> Result<Applied, Problem> {
        self.include()?;
        if let Mode::System { .. } = self.settings.mode {
            // With the distribution's part, which only now includes ours.
            self.master.test_whole().await?;
        }
        let applied = if self.master.pid().is_some() {
            self.master.reload()?;
            Applied::Reloaded
        } else {
            self.master.start().await?;
            Applied::Started
        };
        let deadline = Instant::now() + TAKE_LIMIT;
        while !self.runs(wanted).await {
            if deadline < Instant::now() {
                let words = self.master.last_words();
                let taken = words.contains("Address already in use");
                let code = if taken { "SW-PORT-IN-USE" } else { "SW-PROXY-RELOAD" };
                let message = format!("nginx did not take the configuration: {words}");
                return Err(Problem::new(Kind::Unavailable, code, message));
            }
            sleep(LOOK).await;
        }
        info!(?applied, revision = wanted.revision, "nginx serves the routes");
        Ok(applied)
    }

    /// Goes back to the configuration before, and has nginx read it in case it read the other.
    fn restore(&self, before: Option<&Path>) {
        let restored = match before {
            Some(tree) => self.trees.point(tree),
            None => self.trees.unpoint(),
        };
        if let Err(error) = restored {
            error!(%error, "could not restore nginx's configuration");
        } else if self.master.pid().is_some()
            && let Err(problem) = self.master.reload()
        {
            error!(%problem, "could not reload nginx");
        }
    }

    /// Whether nginx answers with this configuration.
    async fn runs(&self, wanted: &Rendered) -> bool {
        let Some(listen) = self.settings.listen.first() else { return true };
        probe::get(*listen, STATUS_HOST, "/revision").await.is_ok_and(|it| it == wanted.revision)
    }

    /// Refuses ports that another program has: nginx would only log it.
    async fn check_ports(&self, wanted: &Rendered) -> Result<(), Problem> {
        let held: HashSet<SocketAddr> = match self.master.pid() {
            Some(_) => self.held(),
            None => HashSet::new(),
        };
        for address in wanted.listens.iter().filter(|it| !held.contains(it)) {
            // A port that nginx gave up a moment ago may need one.
            let deadline = Instant::now() + Duration::from_secs(1);
            while let Err(error) = TcpListener::bind(address) {
                if error.kind() != io::ErrorKind::AddrInUse {
                    break;
                }
                if deadline < Instant::now() {
                    let message = format!("another program listens on {address}");
                    return Err(Problem::new(Kind::Conflict, "SW-PORT-IN-USE", message)
                        .field("port")
                        .hint("stop it, or choose another port: `ss -ltnp` shows which it is"));
                }
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Where the configuration in force listens.
    fn held(&self) -> HashSet<SocketAddr> {
        let Some(tree) = self.trees.current() else { return HashSet::new() };
        let texts = std::fs::read_dir(tree.join("conf.d")).into_iter().flatten().flatten();
        let texts: Vec<String> =
            texts.filter_map(|it| std::fs::read_to_string(it.path()).ok()).collect();
        texts
            .iter()
            .flat_map(|it| it.lines())
            .filter_map(|it| it.trim().strip_prefix("listen ")?.split([' ', ';']).next())
            .filter_map(|it| it.parse().ok())
            .collect()
    }

    /// Whether the distribution's nginx includes us.
    fn included(&self) -> Result<bool, Problem> {
        let Mode::System { include, .. } = &self.settings.mode else { return Ok(true) };
        match std::fs::read_to_string(include) {
            Ok(text) => Ok(text == self.inclusion()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(broken_disk(&error)),
        }
    }

    fn include(&self) -> Result<(), Problem> {
        let Mode::System { include, .. } = &self.settings.mode else { return Ok(()) };
        if self.included()? {
            return Ok(());
        }
        slipway_host::fs::replace(include, self.inclusion().as_bytes(), 0o644)
            .map_err(|it| broken_disk(&it))
    }

    fn inclusion(&self) -> String {
        format!("# Written by slipway-agent.\ninclude {};\n", self.trees.pattern())
    }
}

fn broken_disk(error: &io::Error) -> Problem {
    Problem::new(
        Kind::Internal,
        "SW-PROXY-DISK",
        format!("could not write nginx's configuration: {error}"),
    )
}
