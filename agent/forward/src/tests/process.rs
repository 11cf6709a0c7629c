//! The switch as a process: signals, an inherited socket, a successor.

use std::{
    os::{fd::AsFd as _, unix::net::UnixListener},
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Request;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::harness::{App, ask, echo, websocket};
use crate::{Client, Config, Route, Switch as _};

const LONG: Duration = Duration::from_secs(20);

/// Starts `examples/forward`, which cargo builds beside the tests.
#[expect(clippy::disallowed_methods, reason = "it is given a socket")]
fn start(dir: &Path, stdin: Stdio) -> Child {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("examples/forward");
    Command::new(program).arg(dir).stdin(stdin).kill_on_drop(true).spawn().unwrap()
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// Ends what a failed test would leave: successors are nobody's children.
struct Sweep(Client);

impl Drop for Sweep {
    fn drop(&mut self) {
        let folder = self.0.socket().parent().unwrap().to_string_lossy().into_owned();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            let pid = entry.file_name().to_string_lossy().parse();
            if line.contains("examples/forward")
                && line.contains(&folder)
                && let Ok(pid) = pid
            {
                // It may be gone already.
                kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default();
            }
        }
    }
}

async fn ended(pid: u32) {
    let gone = async {
        // A child that nobody has waited for yet is a zombie, which is gone as well.
        while std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|it| !it.contains(") Z "))
        {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, gone).await.expect("it did not end");
}

#[tokio::test]
async fn an_upgrade_and_a_restart_under_load_fail_no_request() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path(), dir.path());
    let client = Client::new(&config.control).patience(LONG);
    let _sweep = Sweep(client.clone());
    // As systemd holds it: the socket outlives every process that serves it.
    let socket = UnixListener::bind(&config.listen).unwrap();
    let handed = || Stdio::from(socket.as_fd().try_clone_to_owned().unwrap());
    let mut first = start(dir.path(), handed());
    let app = App::start("app").await;
    client.set("web", &Route::new(1, [app.address])).await.unwrap();

    let mut clients = JoinSet::new();
    let asked = Arc::new(AtomicU64::new(0));
    for nth in 0..8 {
        let (listen, asked) = (config.listen.clone(), Arc::clone(&asked));
        clients.spawn(async move {
            loop {
                let (status, body) = match nth % 4 {
                    0 => ask(&listen, Request::get("/slow"), "").await,
                    1 => ask(&listen, Request::post("/echo"), "body").await,
                    _ => ask(&listen, Request::get("/"), "").await,
                };
                assert_eq!(status, 200, "{body}");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let progress = async |clients: &mut JoinSet<()>| {
        let before = asked.load(Ordering::Relaxed);
        while asked.load(Ordering::Relaxed) < before + 50 {
            assert!(clients.try_join_next().is_none(), "a client gave up");
            sleep(Duration::from_millis(5)).await;
        }
    };

    let mut websocket = websocket(&config.listen).await;
    let mut pid = client.ping().await.unwrap();
    assert_eq!(Some(pid), first.id());
    for _ in 0..3 {
        progress(&mut clients).await;
        signal(pid, Signal::SIGUSR2);
        let old = pid;
        while pid == old {
            sleep(Duration::from_millis(10)).await;
            pid = client.ping().await.unwrap();
        }
        echo(&mut websocket).await;
    }
    // It stays with the process that accepted it, and counts all along the line of successors.
    client.set("web", &Route::new(2, [app.address])).await.unwrap();
    assert_eq!(client.drained("web", 1, Duration::from_millis(400)).await.unwrap(), 1);
    drop(websocket);
    assert_eq!(client.drained("web", 1, LONG).await.unwrap(), 0);
    assert!(first.wait().await.unwrap().success());

    // A restart: what arrives in between waits in the socket.
    progress(&mut clients).await;
    signal(pid, Signal::SIGTERM);
    ended(pid).await;
    let mut last = start(dir.path(), handed());
    progress(&mut clients).await;
    assert_eq!(client.status().await.unwrap().current("web").unwrap().generation, 2);
    clients.shutdown().await;
    signal(last.id().unwrap(), Signal::SIGTERM);
    assert!(last.wait().await.unwrap().success());
}
