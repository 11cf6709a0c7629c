//! Programs in the background. A process is known again by its pid *and* the time at which it
//! started, so that a pid that was given to somebody else is never signalled.

use std::{fs::OpenOptions, path::Path, process::Stdio, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use slipway_host::fs;
use tokio::time::{Instant, sleep};

use super::place::{self, Place};
use crate::cli::Error;

const LIMIT: u64 = 4 << 10;
const LOOK: Duration = Duration::from_millis(50);

/// A process of ours, as it is remembered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    /// Its id.
    pub(super) pid: i32,
    /// When it started, in the kernel's ticks since boot.
    started: u64,
    /// Of which boot.
    boot: String,
}

impl Mark {
    /// The mark of a process that runs now.
    fn of(pid: i32) -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self { pid, started: started(pid)?, boot: boot.trim().to_owned() })
    }

    /// Whether this very process still runs.
    pub(super) fn runs(&self) -> bool {
        Self::of(self.pid).is_some_and(|it| it == *self)
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        if !self.runs() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(Error::local(
                format!("could not signal process {}: {error}", self.pid),
                "run it as the user who started it",
            )),
        }
    }

    /// Asks it to end; after `grace` ends it.
    pub(super) async fn stop(&self, grace: Duration) -> Result<(), Error> {
        self.signal(Signal::SIGTERM)?;
        if self.gone_within(grace).await {
            return Ok(());
        }
        self.signal(Signal::SIGKILL)?;
        if self.gone_within(Duration::from_secs(5)).await {
            return Ok(());
        }
        Err(Error::local(format!("process {} does not end", self.pid), ""))
    }

    async fn gone_within(&self, limit: Duration) -> bool {
        let start = Instant::now();
        while self.runs() {
            if start.elapsed() > limit {
                return false;
            }
            sleep(LOOK).await;
        }
        true
    }
}

/// When a process started; none when there is none, or it only waits to be buried.
fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; what follows it is numbered from 3.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The process of a program, if it runs.
pub(super) fn find(place: &Place, program: &str) -> Result<Option<Mark>, Error> {
    let path = place.pid_file(program);
    let read = fs::read_limited(&path, LIMIT).map_err(|source| Error::File {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let mark: Option<Mark> = read.and_then(|it| serde_json::from_slice(&it).ok());
    Ok(mark.filter(Mark::runs))
}

/// Forgets a process that ended.
pub(super) fn forget(place: &Place, program: &str) -> Result<(), Error> {
    let path = place.pid_file(program);
    fs::remove(&path).map_err(|source| Error::File { action: "remove", path, source })
}

/// The agent's nginx, if it runs: whatever its pid file says must be an nginx of this folder.
pub(super) fn nginx(place: &Place) -> Option<Mark> {
    let text = std::fs::read_to_string(place.nginx_pid_file()).ok()?;
    let pid: i32 = text.trim().parse().ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line);
    let ours = line.starts_with("nginx: master") && line.contains(&*place.dir().to_string_lossy());
    ours.then(|| Mark::of(pid)).flatten()
}

/// Starts a program in a session of its own, so that it outlives this command and its terminal.
pub(super) fn start(
    place: &Place,
    name: &str,
    program: &Path,
    args: &[String],
) -> Result<Mark, Error> {
    let log = place.log(name);
    let open = |path: &Path| {
        OpenOptions::new().create(true).append(true).open(path).map_err(|source| Error::File {
            action: "open",
            path: path.to_owned(),
            source,
        })
    };
    let (out, err) = (open(&log)?, open(&log)?);
    // `setsid` becomes the program itself, so the pid stays.
    #[expect(clippy::disallowed_methods, reason = "it has to outlive this process")]
    let mut command = std::process::Command::new("setsid");
    command
        .arg(program)
        .args(args)
        .current_dir("/")
        .env_remove("SLIPWAY_URL")
        .env_remove("SLIPWAY_TOKEN")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    let child = command.spawn().map_err(|source| Error::File {
        action: "start",
        path: program.to_owned(),
        source,
    })?;
    let pid = i32::try_from(child.id()).unwrap_or_default();
    let Some(mark) = Mark::of(pid) else {
        return Err(ended(place, name));
    };
    let text = serde_json::to_string(&mark)
        .map_err(|error| Error::local(format!("the pid cannot be written: {error}"), ""))?;
    place::write(&place.pid_file(name), &text)?;
    Ok(mark)
}

/// A program that ended when it should not, with its last words.
pub(super) fn ended(place: &Place, name: &str) -> Error {
    let log = place.log(name);
    let text = std::fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(8).collect();
    let mut said = vec![format!("the {name} did not come up; the end of its log:")];
    said.extend(lines.iter().rev().map(|it| format!("    | {it}")));
    Error::local(said.join("\n"), format!("the whole log is {}", log.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Environment, verb::dev::Where};

    fn place() -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().unwrap();
        let place = Where { dir: Some(dir.path().to_owned()) };
        let place = Place::of(&place, &Environment::default()).unwrap();
        place.save(&place::Settings::default()).unwrap();
        (dir, place)
    }

    #[tokio::test]
    async fn a_program_is_known_again_and_ends_when_asked() {
        let (_dir, place) = place();
        let mark = start(&place, "agent", Path::new("sleep"), &["60".to_owned()]).unwrap();
        assert_eq!(find(&place, "agent").unwrap().as_ref(), Some(&mark));
        mark.stop(Duration::from_secs(10)).await.unwrap();
        assert_eq!(find(&place, "agent").unwrap(), None);
    }

    #[test]
    fn a_pid_that_went_to_somebody_else_is_not_ours() {
        let (_dir, place) = place();
        let own = Mark::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.runs());
        let other = Mark { started: own.started + 1, ..own };
        assert!(!other.runs());
        let text = serde_json::to_string(&other).unwrap();
        place::write(&place.pid_file("agent"), &text).unwrap();
        assert_eq!(find(&place, "agent").unwrap(), None);
    }
}
