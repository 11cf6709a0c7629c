//! The state folder: who may use it, and the name of the replica that it belongs to.

use std::{
    io,
    path::{Path, PathBuf},
};

use slipway_host::fs::{Lock, make_dir, read_limited, replace};
use uuid::Uuid;

use super::Error;

/// The state folder, held by this process alone.
#[derive(Debug)]
pub(crate) struct Home {
    _lock: Lock,
    /// Stable id of this replica: it owns operations under this name, also after a restart.
    pub(crate) replica: String,
}

impl Home {
    /// Makes the folder if need be, and takes it.
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        let failed = |path: PathBuf| move |source: io::Error| Error::Home { path, source };
        make_dir(dir, 0o700).map_err(failed(dir.to_owned()))?;
        let path = dir.join("lock");
        let lock = Lock::take(&path)
            .map_err(failed(path))?
            .ok_or_else(|| Error::Taken { path: dir.to_owned() })?;
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

    #[test]
    fn one_process_has_the_folder_and_the_replica_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("state");
        let home = Home::take(&dir).unwrap();
        assert!(matches!(Home::take(&dir), Err(Error::Taken { .. })));
        let replica = home.replica.clone();
        drop(home);
        assert_eq!(Home::take(&dir).unwrap().replica, replica);
    }

    #[test]
    fn a_broken_name_is_not_replaced_in_silence() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("replica-id"), "garbage").unwrap();
        assert!(matches!(Home::take(dir.path()), Err(Error::Home { .. })));
    }
}
