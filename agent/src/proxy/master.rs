//! The nginx process: find it, start it, tell it to read again, end it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use slipway_host::{
    Chain,
    exec::{Output, Program},
};
use slipway_proto::problem::{Kind, Problem};
use tokio::time::{Instant, sleep};

use super::{Mode, Settings};

/// How long nginx may take to read its configuration.
const LIMIT: Duration = Duration::from_secs(20);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// How much of nginx's words goes into a problem.
const MAX_WORDS: usize = 2_000;

/// Handles the process. Keeps nothing: what runs is asked each time.
#[derive(Clone, Debug)]
pub(crate) struct Master {
    program: PathBuf,
    dir: PathBuf,
    /// What the process was started with.
    main: PathBuf,
    pid_file: PathBuf,
    own: bool,
}

impl Master {
    pub(crate) fn new(settings: &Settings, own_main: PathBuf) -> Self {
        let (main, pid_file, own) = match &settings.mode {
            Mode::Own => (own_main, settings.dir.join("nginx.pid"), true),
            Mode::System { main, pid, .. } => (main.clone(), pid.clone(), false),
        };
        Self { program: settings.program.clone(), dir: settings.dir.clone(), main, pid_file, own }
    }

    /// The running process, if it is the one that we mean: a file with an id proves nothing.
    pub(crate) fn pid(&self) -> Option<Pid> {
        let pid: i32 = fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line);
        let ours = !self.own || line.contains(&*self.main.to_string_lossy());
        (line.starts_with("nginx: master process") && ours).then(|| Pid::from_raw(pid))
    }

    /// Has nginx check a configuration.
    pub(crate) async fn test(&self, main: &Path) -> Result<(), Problem> {
        let output = self.command(main).arg("-q").arg("-t").run(LIMIT).await;
        let output = output.map_err(|it| unusable(&Chain(&it).to_string()))?;
        if output.ok() {
            return Ok(());
        }
        let message = format!("nginx refuses the configuration: {}", words(&output));
        Err(Problem::new(Kind::Internal, "SW-PROXY-CONFIG", message)
            .hint("the configuration before it stays in force; report this"))
    }

    /// Has nginx check the whole configuration that it runs with.
    pub(crate) async fn test_whole(&self) -> Result<(), Problem> {
        self.test(&self.main).await
    }

    /// Starts it. It stays when the agent ends.
    pub(crate) async fn start(&self) -> Result<(), Problem> {
        if !self.own {
            return Err(Problem::new(Kind::Unavailable, "SW-PROXY-DOWN", "nginx is not running")
                .hint("start it: systemctl start nginx"));
        }
        let output = self.command(&self.main).run(LIMIT).await;
        let output = output.map_err(|it| unusable(&Chain(&it).to_string()))?;
        if !output.ok() {
            let words = words(&output);
            let taken = words.contains("Address already in use") || words.contains("(98:");
            let code = if taken { "SW-PORT-IN-USE" } else { "SW-PROXY-START" };
            let message = format!("nginx did not start: {words}");
            return Err(Problem::new(Kind::Unavailable, code, message));
        }
        let deadline = Instant::now() + LIMIT;
        while self.pid().is_none() {
            if deadline < Instant::now() {
                return Err(unusable("it ended right after its start; see its error.log"));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Tells it to read its configuration again. Returns before it has.
    pub(crate) fn reload(&self) -> Result<(), Problem> {
        let pid = self.pid().ok_or_else(|| unusable("it is not running"))?;
        kill(pid, Signal::SIGHUP).map_err(|it| unusable(&it.to_string()))
    }

    /// Lets it finish its requests and end; success when it is not running.
    pub(crate) async fn stop(&self, grace: Duration) -> Result<(), Problem> {
        for (signal, limit) in [(Signal::SIGQUIT, grace), (Signal::SIGTERM, LIMIT)] {
            let Some(pid) = self.pid() else { return Ok(()) };
            kill(pid, signal).map_err(|it| unusable(&it.to_string()))?;
            let deadline = Instant::now() + limit;
            while self.pid() == Some(pid) && Instant::now() < deadline {
                sleep(LOOK).await;
            }
        }
        match self.pid() {
            None => Ok(()),
            Some(_) => Err(unusable("it does not end")),
        }
    }

    /// What it logged last, for a problem.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(self.dir.join("error.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let mut last: Vec<&str> = text.lines().rev().take(5).collect();
        last.reverse();
        last.join("; ")
    }

    fn command(&self, main: &Path) -> Program {
        let log = self.dir.join("error.log");
        Program::new(&self.program).arg("-p").arg(&self.dir).arg("-e").arg(log).arg("-c").arg(main)
    }
}

fn unusable(why: &str) -> Problem {
    Problem::new(Kind::Unavailable, "SW-PROXY-DOWN", format!("nginx does not work: {why}"))
        .hint("is nginx installed? try: slipway-agent check")
}

/// What nginx complained, shortened.
fn words(output: &Output) -> String {
    let words: Vec<&str> = output.stderr.lines().map(str::trim).collect();
    words.join("; ").chars().take(MAX_WORDS).collect()
}
