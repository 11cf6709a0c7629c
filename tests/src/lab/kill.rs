//! Parts of an installation that end without warning, and come back.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;

use super::Lab;
use crate::process::{Process, Start};

/// A program of an installation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The control plane.
    Control,
    /// The agent.
    Agent,
    /// The traffic switch.
    Proxy,
}

impl Part {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Agent => "agent",
            Self::Proxy => "proxy",
        }
    }
}

#[derive(Deserialize)]
struct Mark {
    pid: i32,
}

impl Lab {
    /// Ends a part as a power cut would, and waits until it is gone.
    pub async fn kill(&self, part: Part) -> Result<()> {
        let pid = Pid::from_raw(self.pid(part)?);
        kill(pid, Signal::SIGKILL).with_context(|| format!("kill the {}", part.name()))?;
        for _ in 0..500 {
            if kill(pid, None) == Err(Errno::ESRCH) || is_buried(pid) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("the {} outlives SIGKILL", part.name())
    }

    /// Ends a part and starts it again with variables, such as the failpoint at which it is to end.
    /// [`Lab::up`] brings it back for good.
    pub async fn restart_with(&self, part: Part, vars: &[(&str, &str)]) -> Result<Process> {
        let pid = self.pid(part)?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline"))
            .with_context(|| format!("the {} does not run", part.name()))?;
        let words = line.split(|it| *it == 0).filter(|it| !it.is_empty());
        let mut words = words.map(|it| String::from_utf8_lossy(it).into_owned());
        let program = words.next().context("an empty command line")?;
        self.kill(part).await?;
        let mut start = Start::new(program).args(words);
        for (name, value) in vars {
            start = start.var(name, value);
        }
        start.start(&self.log(part))
    }

    /// The log of a part.
    pub fn log(&self, part: Part) -> PathBuf {
        self.dir().join(format!("log/{}.log", part.name()))
    }

    /// The id of a part's process, as `dev up` noted it.
    pub fn pid(&self, part: Part) -> Result<i32> {
        let path = self.dir().join(format!("pid/{}.pid", part.name()));
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let mark: Mark = serde_json::from_slice(&text).context("read a pid file")?;
        Ok(mark.pid)
    }
}

/// Whether it only waits for its parent to look.
fn is_buried(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}
