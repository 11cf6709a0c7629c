//! Programs in the background. Each writes to a log of its own and ends with its handle.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// A program that runs.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

/// How a program is started.
#[derive(Debug)]
pub struct Start {
    command: Command,
    name: String,
}

impl Start {
    /// The program at this path, or of this name in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
        #[expect(clippy::disallowed_methods, reason = "outlives the call, and may need a pipe")]
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).kill_on_drop(true);
        Self { command, name }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn var(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes the variables of this process away, except `PATH` and `HOME`.
    #[must_use]
    pub fn clean(mut self) -> Self {
        let kept: Vec<_> =
            std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME").collect();
        self.command.env_clear().envs(kept);
        self
    }

    /// Runs in this folder.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// The command itself, for pipes.
    pub fn command(self) -> Command {
        self.command
    }

    /// Starts it; what it prints is appended to `log`.
    pub fn start(mut self, log: &Path) -> Result<Process> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let file: File = open().with_context(|| format!("open {}", log.display()))?;
        let copy = file.try_clone().context("copy a file handle")?;
        self.command.stdout(file).stderr(copy);
        let child = self.command.spawn().with_context(|| format!("start {}", self.name))?;
        Ok(Process { child, name: self.name, log: log.to_owned() })
    }
}

impl Process {
    /// Its id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it without warning, as a power cut would, and waits until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("kill {}", self.name))
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        match timeout(limit, self.child.wait()).await {
            Ok(status) => status.with_context(|| format!("wait for {}", self.name)),
            Err(_) => bail!("{} did not end within {limit:?}\n{}", self.name, self.tail()),
        }
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        if let Some(pid) = self.child.id().and_then(|it| i32::try_from(it).ok()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM)
                .with_context(|| format!("signal {}", self.name))?;
        }
        self.ended(limit).await
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        tail(&self.log, 30)
    }
}

/// The last lines of a log.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    let last = all.get(from..).unwrap_or_default().join("\n");
    format!("--- end of {} ---\n{last}", log.display())
}
