//! What tests do with an archive: scan it, rewrite it, list what came out.

use std::{fs, io::Read as _, path::Path, time::Duration};

use slipway_archive::{Context, Error, Limits, Summary, scan, write_context};
use tempfile::TempDir;

/// An archive on disk.
pub(crate) struct Stored {
    pub(crate) dir: TempDir,
}

impl Stored {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("archive"), bytes).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("archive")
    }

    pub(crate) fn scan(&self) -> Result<Summary, Error> {
        scan(&self.path(), &Limits::default())
    }

    pub(crate) fn context(&self, context: &Context<'_>) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        write_context(&self.path(), &Limits::default(), context, &mut out)?;
        Ok(out)
    }
}

/// One line an entry: `755 0:0 folder a`, `644 0:0 file a/b 5`, `link a -> b`, `same a = b`.
pub(crate) fn list(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let name = name.trim_end_matches('/').to_owned();
        let target = entry.link_name().unwrap().map(|it| it.display().to_string());
        let header = entry.header();
        let owner = (header.uid().unwrap(), header.gid().unwrap());
        assert_eq!(owner, (0, 0), "{name}");
        let mode = header.mode().unwrap();
        let kind = header.entry_type();
        let mut body = Vec::new();
        entry.read_to_end(&mut body).unwrap();
        match kind {
            tar::EntryType::Directory => format!("{mode:o} folder {name}"),
            tar::EntryType::Regular => format!("{mode:o} file {name} {}", body.len()),
            tar::EntryType::Symlink => format!("link {name} -> {}", target.unwrap()),
            tar::EntryType::Link => format!("same {name} = {}", target.unwrap()),
            other => panic!("{name} came out as {other:?}"),
        }
    });
    entries.collect()
}

/// The most memory that this process has used so far.
pub(crate) fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Runs `work` and sees that it took less than `limit` of a processor, whoever else is using it.
#[track_caller]
pub(crate) fn within<T>(limit: Duration, what: &str, work: impl FnOnce() -> T) -> T {
    let start = on_processor();
    let result = work();
    let elapsed = on_processor().checked_sub(start).unwrap();
    assert!(elapsed < limit, "{what} took {elapsed:?}");
    result
}

/// How long this thread has been running.
fn on_processor() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// A scan of the file at `path`.
pub(crate) fn verdict(path: &Path) -> String {
    match scan(path, &Limits::default()) {
        Ok(_) => "accept".to_owned(),
        Err(error) => error.code().map_or_else(|| error.to_string(), |it| it.as_str().to_owned()),
    }
}
