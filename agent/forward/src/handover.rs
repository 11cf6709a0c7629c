//! Sockets that pass from one process to the next, and the successor itself.
//!
//! Each process answers on a control socket of its own, `<control>.<pid>-<time>`; the public name is a
//! symbolic link to the one in charge. So a successor takes over with one rename, and can still ask
//! the process before it.

use std::{
    env, fs, io,
    os::{
        fd::AsFd as _,
        unix::{
            fs::{FileTypeExt as _, PermissionsExt as _, symlink},
            net::{UnixListener as StdListener, UnixStream as StdStream},
        },
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::sys::socket::{getsockopt, sockopt::AcceptConn};
use slipway_host::clock::Clock;
use tokio::{
    net::UnixListener,
    process::{Child, Command},
    time::{Instant, sleep},
};
use tracing::{info, warn};

use crate::{Client, Config, Error};

/// Where a process that hands over names its control socket.
const PREDECESSOR: &str = "SLIPWAY_PROXY_PREDECESSOR";
/// How long a successor may take to take over.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(15);
/// Time between two looks at it.
const LOOK: Duration = Duration::from_millis(10);

/// The control socket of the process that started this one to take over.
#[expect(clippy::disallowed_methods, reason = "between two of our processes, not configuration")]
pub(crate) fn predecessor() -> Option<PathBuf> {
    env::var_os(PREDECESSOR).filter(|it| !it.is_empty()).map(PathBuf::from)
}

/// The standard input, when it is a listening socket.
pub(crate) fn inherited() -> Result<Option<StdListener>, Error> {
    let stdin = io::stdin();
    if !matches!(getsockopt(&stdin.as_fd(), AcceptConn), Ok(true)) {
        return Ok(None);
    }
    let owned = stdin.as_fd().try_clone_to_owned();
    owned.map(|it| Some(it.into())).map_err(|source| Error::Listen { path: "stdin".into(), source })
}

/// Makes an inherited socket ours, and tells its path.
pub(crate) fn adopt(
    listener: StdListener,
    expected: &Path,
) -> Result<(UnixListener, PathBuf), Error> {
    let listen = |source| Error::Listen { path: expected.to_owned(), source };
    let path = listener.local_addr().map_err(listen)?.as_pathname().map(Path::to_owned);
    listener.set_nonblocking(true).map_err(listen)?;
    let listener = UnixListener::from_std(listener).map_err(listen)?;
    Ok((listener, path.unwrap_or_else(|| expected.to_owned())))
}

/// Binds a socket; one that a dead process left behind is replaced.
pub(crate) fn bind(path: &Path, mode: u32) -> Result<UnixListener, Error> {
    let listen = |source| Error::Listen { path: path.to_owned(), source };
    if is_socket(path) {
        match StdStream::connect(path) {
            Ok(_) => return Err(Error::InUse { path: path.to_owned() }),
            Err(_) => slipway_host::fs::remove(path).map_err(listen)?,
        }
    }
    let listener = UnixListener::bind(path).map_err(listen)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(listen)?;
    Ok(listener)
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket())
}

/// Refuses to start beside a switch that is in charge: two would overwrite each other's table.
pub(crate) async fn refuse_second(control: &Path) -> Result<(), Error> {
    match Client::new(control).patience(Duration::ZERO).ping().await {
        Ok(_) => Err(Error::InUse { path: control.to_owned() }),
        Err(_) => Ok(()),
    }
}

/// Binds this process's own control socket, and removes those of dead processes.
pub(crate) fn bind_control(public: &Path) -> Result<(UnixListener, PathBuf), Error> {
    let listen = |source| Error::Listen { path: public.to_owned(), source };
    let (Some(folder), Some(name)) = (public.parent(), public.file_name()) else {
        return Err(listen(io::Error::from(io::ErrorKind::InvalidInput)));
    };
    let prefix = format!("{}.", name.to_string_lossy());
    for entry in fs::read_dir(folder).map_err(listen)?.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(&prefix);
        if ours && is_socket(&entry.path()) && StdStream::connect(entry.path()).is_err() {
            slipway_host::fs::remove(&entry.path()).map_err(listen)?;
        }
    }
    // Never a name that was used before: who knows a process by it must not find another one.
    let (pid, now) = (std::process::id(), Clock::system().now_micros() & 0xffff_ffff);
    let private = folder.join(format!("{prefix}{pid}-{now:08x}"));
    Ok((bind(&private, 0o600)?, private))
}

/// Makes the public name lead to `private`.
pub(crate) fn point(public: &Path, private: &Path) -> Result<(), Error> {
    let listen = |source| Error::Listen { path: public.to_owned(), source };
    let target = private.file_name().unwrap_or_default();
    let temporary = private.with_added_extension("link");
    slipway_host::fs::remove(&temporary).map_err(listen)?;
    symlink(target, &temporary).map_err(listen)?;
    slipway_host::fs::rename(&temporary, public).map_err(listen)
}

/// Removes this process's control socket, and the public name if it still leads there.
pub(crate) fn unpoint(public: &Path, private: &Path) {
    if leads_to(public, private) {
        drop(slipway_host::fs::remove(public));
    }
    drop(slipway_host::fs::remove(private));
}

fn leads_to(public: &Path, private: &Path) -> bool {
    fs::read_link(public).is_ok_and(|it| Some(it.as_os_str()) == private.file_name())
}

/// Starts the next version with the data socket as its standard input.
#[expect(
    clippy::disallowed_methods,
    reason = "the successor inherits a socket and outlives this process"
)]
pub(crate) fn start_successor(
    config: &Config,
    listener: &UnixListener,
    private: &Path,
) -> Result<Child, Error> {
    let failed = |problem: String| Error::Successor { problem };
    let mut line = config.successor.clone();
    if line.is_empty() {
        line = env::args_os().collect();
    }
    let mut words = line.into_iter();
    let program = words.next().ok_or_else(|| failed("no program is named".to_owned()))?;
    let socket = listener.as_fd().try_clone_to_owned().map_err(|it| failed(it.to_string()))?;
    Command::new(program)
        .args(words)
        .env(PREDECESSOR, private)
        // Named the process that it watches: not the successor.
        .env_remove("WATCHDOG_PID")
        .stdin(Stdio::from(socket))
        .spawn()
        .map_err(|it| failed(it.to_string()))
}

/// Waits until the successor has taken the public name. One that does not is ended.
pub(crate) async fn await_successor(
    mut child: Child,
    public: &Path,
    private: &Path,
) -> Result<u32, Error> {
    let pid = child.id().unwrap_or_default();
    let deadline = Instant::now() + TAKEOVER_LIMIT;
    let problem = loop {
        if !leads_to(public, private) {
            info!(pid, "the successor has taken over");
            return Ok(pid);
        }
        match child.try_wait() {
            Ok(Some(status)) => break format!("it ended with {status}"),
            Ok(None) if Instant::now() < deadline => sleep(LOOK).await,
            Ok(None) => break format!("it was not ready within {TAKEOVER_LIMIT:?}"),
            Err(error) => break error.to_string(),
        }
    };
    if let Err(error) = child.kill().await {
        warn!(%error, "could not end the successor");
    }
    Err(Error::Successor { problem })
}
