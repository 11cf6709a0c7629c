//! The records of all apps: in memory to read, in `apps/<key>/app.json` to last.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prost::Message as _;
use slipway_host::{Chain, failpoint};
use slipway_proto::{
    agent::v1 as wire,
    problem::{Kind, Problem},
    spec::{AppSpec, Source},
    value::{AppKey, Hidden},
};
use tracing::{error, warn};

use super::record::AppRecord;
use crate::deploy::write_failed;

/// Most apps on one server.
const MAX_APPS: usize = 200;
const MAX_FILE: u64 = 1 << 20;

/// The records of all apps. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    records: Mutex<BTreeMap<AppKey, AppRecord>>,
}

impl Store {
    /// Reads all records below `dir`. A damaged one is set aside, so that the others are served.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn open(dir: &Path) -> io::Result<Self> {
        slipway_host::fs::make_dir(dir, 0o700)?;
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let folder = entry?.path();
            let path = folder.join("app.json");
            match read_record(&path) {
                Ok(Some(record)) if folder.ends_with(record.key.to_string()) => {
                    records.insert(record.key.clone(), record);
                }
                Ok(Some(_)) => {
                    warn!(path = %path.display(), "passed over the record of another app");
                }
                Ok(None) => (),
                Err(error) => {
                    error!(path = %path.display(), error = %Chain(&error), "an app's record is damaged");
                    slipway_host::fs::rename(&path, &folder.join("app.json.damaged"))?;
                }
            }
        }
        Ok(Self(Arc::new(Inner { dir: dir.to_owned(), records: Mutex::new(records) })))
    }

    /// The record of one app.
    pub fn get(&self, key: &AppKey) -> Option<AppRecord> {
        self.0.lock().get(key).cloned()
    }

    /// All records, ordered by key.
    pub fn all(&self) -> Vec<AppRecord> {
        self.0.lock().values().cloned().collect()
    }

    /// Changes one record, which is made when there is none. Returns when that is durable.
    ///
    /// # Errors
    /// The disk's, and whatever `change` refuses. Nothing has changed then.
    pub async fn update<T: Send + 'static>(
        &self,
        key: &AppKey,
        change: impl FnOnce(&mut AppRecord) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (inner, key) = (Arc::clone(&self.0), key.clone());
        blocking(move || inner.update(&key, change)).await
    }

    /// Forgets an app and everything in its folder.
    ///
    /// # Errors
    /// The disk's.
    pub async fn remove(&self, key: &AppKey) -> Result<(), Problem> {
        let (inner, key) = (Arc::clone(&self.0), key.clone());
        blocking(move || {
            let mut records = inner.lock();
            failpoint!("agent.app.forget.before");
            slipway_host::fs::remove_all(&inner.dir.join(key.to_string()))
                .map_err(|it| write_failed(&it))?;
            failpoint!("agent.app.forget.after");
            records.remove(&key);
            Ok(())
        })
        .await
    }

    /// Keeps what a release is, secrets included, where only root reads.
    ///
    /// # Errors
    /// The disk's.
    pub async fn put_spec(&self, release: u64, spec: &AppSpec) -> Result<(), Problem> {
        let (folder, path) = self.spec_path(&spec.key, release);
        let bytes = wire::AppSpec::from(spec).encode_to_vec();
        blocking(move || {
            let put = || {
                slipway_host::fs::make_dir(&folder, 0o700)?;
                slipway_host::fs::replace(&path, &bytes, 0o600)
            };
            put().map_err(|it| write_failed(&it))
        })
        .await
    }

    /// What a release is; none when it is not kept.
    ///
    /// # Errors
    /// The disk's, and a file that is not what it was.
    pub async fn spec(&self, key: &AppKey, release: u64) -> Result<Option<AppSpec>, Problem> {
        let (_, path) = self.spec_path(key, release);
        blocking(move || {
            let bytes = slipway_host::fs::read_limited(&path, 4 << 20).map_err(|it| {
                Problem::internal(format!("a specification could not be read: {it}"))
            })?;
            let Some(bytes) = bytes else { return Ok(None) };
            let damaged = |_| Problem::internal("the stored specification of a release is damaged");
            let wire = wire::AppSpec::decode(bytes.as_slice()).map_err(damaged)?;
            AppSpec::try_from(wire).map(Some)
        })
        .await
    }

    /// Drops what a release needed only to come here: the tokens of its source.
    ///
    /// # Errors
    /// The disk's.
    pub async fn seal_spec(&self, release: u64, spec: &AppSpec) -> Result<(), Problem> {
        let mut sealed = spec.clone();
        match &mut sealed.source {
            Source::Git { token, .. } => *token = Hidden::default(),
            Source::Image { login, .. } => *login = None,
            Source::Archive { .. } | Source::Release { .. } => return Ok(()),
        }
        if sealed == *spec { Ok(()) } else { self.put_spec(release, &sealed).await }
    }

    /// Forgets what a release is.
    ///
    /// # Errors
    /// The disk's.
    pub async fn remove_spec(&self, key: &AppKey, release: u64) -> Result<(), Problem> {
        let (folder, _) = self.spec_path(key, release);
        blocking(move || slipway_host::fs::remove_all(&folder).map_err(|it| write_failed(&it)))
            .await
    }

    /// Numbers of the releases of which a specification is kept.
    ///
    /// # Errors
    /// The disk's.
    pub async fn specs(&self, key: &AppKey) -> Result<Vec<u64>, Problem> {
        let folder = self.0.dir.join(key.to_string()).join("releases");
        blocking(move || {
            let Ok(entries) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
            let names = entries.flatten().filter_map(|it| it.file_name().into_string().ok());
            Ok(names.filter_map(|it| it.parse().ok()).collect())
        })
        .await
    }

    fn spec_path(&self, key: &AppKey, release: u64) -> (PathBuf, PathBuf) {
        let folder = self.0.dir.join(key.to_string()).join("releases").join(release.to_string());
        let path = folder.join("spec");
        (folder, path)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppKey, AppRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update<T>(
        &self,
        key: &AppKey,
        change: impl FnOnce(&mut AppRecord) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let mut records = self.lock();
        let known = records.get(key);
        if known.is_none() && MAX_APPS <= records.len() {
            let message = format!("this server has {MAX_APPS} apps; that is the most it takes");
            return Err(Problem::new(Kind::Exhausted, "SW-APP-COUNT", message)
                .hint("remove an app, or use another server"));
        }
        let mut record = known.cloned().unwrap_or_else(|| AppRecord::new(key.clone()));
        let value = change(&mut record)?;
        if known != Some(&record) {
            self.write(&record).map_err(|it| write_failed(&it))?;
            records.insert(key.clone(), record);
        }
        Ok(value)
    }

    fn write(&self, record: &AppRecord) -> io::Result<()> {
        let folder = self.dir.join(record.key.to_string());
        slipway_host::fs::make_dir(&folder, 0o700)?;
        let bytes = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
        failpoint!("agent.app.record.before");
        slipway_host::fs::replace(&folder.join("app.json"), &bytes, 0o600)?;
        failpoint!("agent.app.record.after");
        Ok(())
    }
}

fn read_record(path: &Path) -> io::Result<Option<AppRecord>> {
    let Some(bytes) = slipway_host::fs::read_limited(path, MAX_FILE)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let lost = |_| Problem::from(crate::deploy::Error::Stopping);
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key() -> AppKey {
        "web.staging".parse().unwrap()
    }

    #[tokio::test]
    async fn a_record_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let raise = |it: &mut AppRecord| {
            it.epoch = 7;
            Ok(())
        };
        store.update(&key(), raise).await.unwrap();
        let record = Store::open(dir.path()).unwrap().get(&key()).unwrap();
        assert_eq!(record.epoch, 7);
        store.remove(&key()).await.unwrap();
        store.remove(&key()).await.unwrap();
        assert!(Store::open(dir.path()).unwrap().all().is_empty());
    }

    #[tokio::test]
    async fn a_refused_change_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let refuse = |it: &mut AppRecord| -> Result<(), Problem> {
            it.epoch = 9;
            Err(Problem::internal("no"))
        };
        store.update(&key(), refuse).await.unwrap_err();
        assert!(store.get(&key()).is_none());
    }

    #[tokio::test]
    async fn a_damaged_record_is_set_aside_and_the_others_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let other: AppKey = "api".parse().unwrap();
        store.update(&key(), |_| Ok(())).await.unwrap();
        store.update(&other, |_| Ok(())).await.unwrap();
        fs::write(dir.path().join("web.staging/app.json"), "{").unwrap();
        let keys: Vec<_> =
            Store::open(dir.path()).unwrap().all().into_iter().map(|it| it.key).collect();
        assert_eq!(keys, [other]);
        assert!(dir.path().join("web.staging/app.json.damaged").exists());
    }

    #[tokio::test]
    async fn only_root_reads_a_specification_and_its_token_goes_when_it_is_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let source = Some(wire::Source {
            kind: Some(wire::source::Kind::Git(wire::GitSource {
                url: "https://example.com/a.git".to_owned(),
                token: "hunter2".to_owned(),
                ..Default::default()
            })),
        });
        let secrets = [("S".to_owned(), "hunter3".to_owned())].into();
        let wire = wire::AppSpec { app: "api".to_owned(), source, secrets, ..Default::default() };
        let spec = AppSpec::try_from(wire).unwrap();
        store.put_spec(3, &spec).await.unwrap();
        let path = dir.path().join("api/releases/3/spec");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(store.spec(&spec.key, 3).await.unwrap().unwrap(), spec);
        assert_eq!(store.specs(&spec.key).await.unwrap(), [3]);
        store.seal_spec(3, &spec).await.unwrap();
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        assert!(!text.contains("hunter2") && text.contains("hunter3"));
    }
}
