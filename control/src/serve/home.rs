//! The state folder: who may use it, and the name of the replica that it belongs to.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use slipway_host::fs::{Lock, make_dir, read_limited, replace};
use tokio::time::Instant;
use uuid::Uuid;

use super::Error;

/// Time between two tries to take the folder.
const AGAIN: Duration = Duration::from_millis(50);

/// The state folder, held by this process alone.
#[derive(Debug)]
pub(crate) struct Home {
    _lock: Lock,
    /// Stable id of this replica: it owns operations under this name, also after a restart.
    pub(crate) replica: String,
}

impl Home {
    /// Makes the folder if need be, and takes it. A process that was killed a moment ago may still
    /// have it, hence the `patience`.
    pub(crate) async fn take(dir: &Path, patience: Duration) -> Result<Self, Error> {
        let failed = |path: PathBuf| move |source: io::Error| Error::Home { path, source };
        make_dir(dir, 0o700).map_err(failed(dir.to_owned()))?;
        let path = dir.join("lock");
        let until = Instant::now() + patience;
        let lock = loop {
            match Lock::take(&path).map_err(failed(path.clone()))? {
                Some(lock) => break lock,
                None if until <= Instant::now() => {
                    return Err(Error::Taken { path: dir.to_owned() });
                }
                None => tokio::time::sleep(AGAIN).await,
            }
        };
        let path = dir.join("replica-id");
        let replica = replica(&path).map_err(failed(path.clone()))?;
        Ok(Self { _lock: lock, replica })
    }
}

/// Reads the replica's id, or makes it.
fn replica(path: &Path) -> io::Result<String> {
    if let Some(bytes) = read_limited(path, 64)? {
        let text = String::from_utf8_lossy(&bytes);
        return Uuid::parse_str(text.trim())
            .map(|it| it.to_string())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
    }
    let id = Uuid::new_v4().to_string();
    replace(path, id.as_bytes(), 0o600)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    #[tokio::test]
    async fn one_process_has_the_folder_and_the_replica_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("state");
        let home = Home::take(&dir, AT_ONCE).await.unwrap();
        assert!(matches!(Home::take(&dir, AT_ONCE).await, Err(Error::Taken { .. })));
        let replica = home.replica.clone();
        drop(home);
        assert_eq!(Home::take(&dir, AT_ONCE).await.unwrap().replica, replica);
    }

    #[tokio::test]
    async fn a_folder_that_a_dying_process_lets_go_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let dying = Home::take(dir.path(), AT_ONCE).await.unwrap();
        let next = Home::take(dir.path(), Duration::from_secs(20));
        let (next, ()) = tokio::join!(next, async {
            tokio::task::yield_now().await;
            drop(dying);
        });
        next.unwrap();
    }

    #[tokio::test]
    async fn a_broken_name_is_not_replaced_in_silence() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("replica-id"), "garbage").unwrap();
        assert!(matches!(Home::take(dir.path(), AT_ONCE).await, Err(Error::Home { .. })));
    }
}
