use std::{path::PathBuf, time::Duration};

use futures::StreamExt as _;
use slipway_engine::{Docker, Engine as _, docker::SOCKET};
use slipway_host::clock::Clock;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::timeout,
};

/// A door to the daemon that can be shut and opened, as a restart of the daemon does.
struct Door {
    path: PathBuf,
    tasks: JoinSet<()>,
}

impl Door {
    fn open(&mut self) {
        let listener = UnixListener::bind(&self.path).unwrap();
        self.tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                open.spawn(async move {
                    let mut far = UnixStream::connect(SOCKET).await.unwrap();
                    // Either side may go at any time.
                    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                });
            }
        });
    }

    async fn shut(&mut self) {
        self.tasks.shutdown().await;
        std::fs::remove_file(&self.path).unwrap();
    }
}

#[tokio::test]
async fn a_daemon_that_comes_back_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker.sock");
    let docker = Docker::new(&path, Clock::system());
    let mut door = Door { path, tasks: JoinSet::new() };
    assert_eq!(docker.ping().await.unwrap_err().code(), "SW-DOCKER-UNREACHABLE");
    door.open();
    docker.ping().await.unwrap();
    docker.networks().await.unwrap();
    let mut events = docker.events(None).await.unwrap();
    door.shut().await;
    let last = timeout(Duration::from_secs(10), events.next()).await.unwrap();
    assert!(last.is_none_or(|it| it.is_err()));
    assert_eq!(docker.networks().await.unwrap_err().code(), "SW-DOCKER-UNREACHABLE");
    door.open();
    // A restart between two calls is not noticed at all.
    for _ in 0..3 {
        docker.networks().await.unwrap();
        door.shut().await;
        door.open();
        docker.networks().await.unwrap();
    }
}
