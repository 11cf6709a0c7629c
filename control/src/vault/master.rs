//! The master key and its file: one line, `slipway-master-key:<version>:<base64 of 32 bytes>`.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use slipway_host::{Secret, fs as files};
use tracing::warn;

use super::{Error, seal::random};

const PREFIX: &str = "slipway-master-key";

/// Longest file that is read.
const LIMIT: u64 = 1024;

/// The key that wraps the users' keys.
#[derive(Clone, Debug)]
pub struct MasterKey {
    version: i64,
    key: Secret<[u8; 32]>,
}

/// Where the master key is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// A file that the operator named. It has to be there.
    Named(PathBuf),
    /// A credential that systemd laid ready. It has to be there.
    Credential(PathBuf),
    /// A file in the state folder. It is made at the first start.
    State(PathBuf),
}

impl Place {
    /// Decides where the master key is: in the file that the operator named; else in systemd's
    /// credential `master-key`, if there is one; else in the state folder.
    pub fn choose(named: Option<&Path>, credentials: Option<&Path>, data_dir: &Path) -> Self {
        if let Some(path) = named {
            return Self::Named(path.to_owned());
        }
        match credentials.map(|it| it.join("master-key")).filter(|it| it.exists()) {
            Some(path) => Self::Credential(path),
            None => Self::State(data_dir.join("master-key")),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Named(path) | Self::Credential(path) | Self::State(path) => path,
        }
    }
}

impl MasterKey {
    /// Reads the master key; at the first start, when nothing is sealed yet, makes one in the state
    /// folder.
    pub fn load(place: &Place, anything_sealed: bool) -> Result<Self, Error> {
        let path = place.path();
        if let Some(key) = Self::read(place)? {
            return Ok(key);
        }
        match place {
            Place::Named(_) | Place::Credential(_) => {
                Err(Error::NoMasterKey { path: path.to_owned() })
            }
            Place::State(_) if anything_sealed => {
                Err(Error::MasterKeyLost { path: path.to_owned() })
            }
            Place::State(_) => {
                let key = Self::generate(1)?;
                files::replace(path, key.line().expose().as_bytes(), 0o400)
                    .map_err(|source| key_file("make", path, source))?;
                warn!(
                    path = %path.display(),
                    "made a master key; move it out of the state folder, for example to a systemd \
                    credential, and keep a copy: without it nothing that is sealed can be opened"
                );
                Ok(key)
            }
        }
    }

    /// A new key.
    pub fn generate(version: i64) -> Result<Self, Error> {
        Ok(Self { version, key: random()? })
    }

    fn read(place: &Place) -> Result<Option<Self>, Error> {
        let path = place.path();
        let failed = |source| key_file("read", path, source);
        let Some(bytes) = files::read_limited(path, LIMIT).map_err(failed)? else {
            return Ok(None);
        };
        let text =
            Secret::new(String::from_utf8(bytes).map_err(|_| Error::MasterKeyForm {
                path: path.to_owned(),
                reason: "is not text",
            })?);
        // systemd grants its credentials by access lists, which show as permissions of the group.
        if !matches!(place, Place::Credential(_)) {
            let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(Error::MasterKeyOpen { path: path.to_owned() });
            }
        }
        Self::parse(text.expose())
            .map(Some)
            .map_err(|reason| Error::MasterKeyForm { path: path.to_owned(), reason })
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.trim_end().splitn(3, ':');
        if parts.next() != Some(PREFIX) {
            return Err("does not begin with `slipway-master-key:`");
        }
        let version = parts.next().and_then(|it| it.parse().ok()).ok_or("has no version")?;
        let bytes = parts.next().and_then(|it| BASE64_STANDARD.decode(it).ok());
        let bytes = Secret::new(bytes.ok_or("has no key in base64")?);
        let key =
            bytes.expose().as_slice().try_into().map_err(|_| "has a key of another length")?;
        Ok(Self { version, key: Secret::new(key) })
    }

    fn line(&self) -> Secret<String> {
        let key = Secret::new(BASE64_STANDARD.encode(self.key.expose()));
        Secret::new(format!("{PREFIX}:{}:{}\n", self.version, key.expose()))
    }

    /// Its version; grows with each new one.
    pub fn version(&self) -> i64 {
        self.version
    }

    pub(super) fn key(&self) -> &Secret<[u8; 32]> {
        &self.key
    }
}

fn key_file(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::MasterKeyFile { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_makes_a_key_and_the_next_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::choose(None, None, dir.path());
        let made = MasterKey::load(&place, false).unwrap();
        let mode = fs::metadata(place.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o400);
        let read = MasterKey::load(&place, true).unwrap();
        assert_eq!(read.key().expose(), made.key().expose());
        assert_eq!(read.version(), 1);
    }

    #[test]
    fn a_lost_key_is_not_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::choose(None, None, dir.path());
        let error = MasterKey::load(&place, true).unwrap_err();
        assert!(matches!(error, Error::MasterKeyLost { .. }) && error.is_configuration());
        assert!(!place.path().exists());
    }

    #[test]
    fn a_named_key_has_to_be_there_closed_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let place = Place::choose(Some(&path), None, dir.path());
        let missing = MasterKey::load(&place, false).unwrap_err();
        assert!(matches!(missing, Error::NoMasterKey { .. }));

        let line = MasterKey::generate(1).unwrap().line();
        files::replace(&path, line.expose().as_bytes(), 0o440).unwrap();
        let open = MasterKey::load(&place, false).unwrap_err();
        assert!(matches!(open, Error::MasterKeyOpen { .. }));

        for wrong in ["", "hunter2", "slipway-master-key:x:", "slipway-master-key:1:YWJj"] {
            files::replace(&path, wrong.as_bytes(), 0o400).unwrap();
            let error = MasterKey::load(&place, false).unwrap_err();
            assert!(matches!(error, Error::MasterKeyForm { .. }), "{wrong}: {error}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn a_credential_of_systemd_comes_before_the_state_folder() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = dir.path().join("credentials");
        fs::create_dir(&credentials).unwrap();
        let none = Place::choose(None, Some(&credentials), dir.path());
        assert_eq!(none, Place::State(dir.path().join("master-key")));

        let line = MasterKey::generate(7).unwrap().line();
        files::replace(&credentials.join("master-key"), line.expose().as_bytes(), 0o440).unwrap();
        let place = Place::choose(None, Some(&credentials), dir.path());
        assert_eq!(MasterKey::load(&place, true).unwrap().version(), 7);
    }

    #[test]
    fn a_master_key_does_not_print_itself() {
        let key = MasterKey::generate(1).unwrap();
        assert_eq!(format!("{key:?}"), "MasterKey { version: 1, key: [redacted] }");
    }
}
