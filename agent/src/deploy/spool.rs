//! The uploaded archive on its way to the disk: resumable at any byte, never in memory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use slipway_proto::problem::{Kind, Problem};

use super::Error;

/// Where an archive comes in.
#[derive(Clone, Debug)]
pub(super) struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    size: u64,
    sha256: [u8; 32],
    state: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    file: File,
    have: u64,
    /// Of the bytes so far.
    hash: Sha256,
}

impl Spool {
    /// Opens the file, and goes on where an earlier run has stopped. Blocks.
    pub(super) fn open(path: &Path, size: u64, sha256: [u8; 32]) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        if size < file.metadata()?.len() {
            file.set_len(size)?;
        }
        let (mut hash, mut have) = (Sha256::new(), 0_u64);
        let mut block = vec![0; 256 << 10];
        loop {
            let n = file.read(&mut block)?;
            if n == 0 {
                break;
            }
            hash.update(block.get(..n).unwrap_or_default());
            have = have.saturating_add(u64::try_from(n).unwrap_or(0));
        }
        let state = Mutex::new(Written { file, have, hash });
        Ok(Self(Arc::new(Inner { size, sha256, state })))
    }

    /// From which byte on the archive is still missing.
    pub(super) fn offset(&self) -> u64 {
        self.0.lock().have
    }

    /// Takes a chunk; passes over what is here already. Returns how much is here.
    pub(super) async fn write(&self, offset: u64, data: Bytes) -> Result<u64, Error> {
        let inner = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || inner.write(offset, &data)).await;
        written.map_err(|_| Error::Stopping)?
    }

    /// Checks that the archive is whole and the one that was announced, and makes it durable.
    pub(super) async fn finish(&self) -> Result<(), Problem> {
        let inner = Arc::clone(&self.0);
        let finished = tokio::task::spawn_blocking(move || inner.finish()).await;
        finished.map_err(|_| Problem::from(Error::Stopping))?
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Written> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<u64, Error> {
        let mut state = self.lock();
        if state.have < offset {
            return Err(Error::Gap { offset, have: state.have });
        }
        let known = usize::try_from(state.have - offset).unwrap_or(usize::MAX);
        let fresh = data.get(known..).unwrap_or_default();
        let end = state.have.saturating_add(u64::try_from(fresh.len()).unwrap_or(u64::MAX));
        if self.size < end {
            let message = format!("the archive is longer than the {} bytes announced", self.size);
            return Err(Error::Refused(Problem::invalid("SW-ARCHIVE-SIZE", "source", message)));
        }
        let at = state.have;
        state.file.write_all_at(fresh, at).map_err(|error| Error::Refused(write_failed(&error)))?;
        state.hash.update(fresh);
        state.have = end;
        Ok(end)
    }

    fn finish(&self) -> Result<(), Problem> {
        let state = self.lock();
        if state.have != self.size {
            let message = format!("{} of {} bytes of the archive came", state.have, self.size);
            return Err(
                Problem::invalid("SW-UPLOAD-INCOMPLETE", "source", message).hint("upload it again")
            );
        }
        if <[u8; 32]>::from(state.hash.clone().finalize()) != self.sha256 {
            let message = "the archive is not the one that was announced: its SHA-256 differs";
            return Err(Problem::invalid("SW-ARCHIVE-DIGEST", "source", message)
                .hint("upload it again; it was damaged on the way"));
        }
        state.file.sync_all().map_err(|error| write_failed(&error))
    }
}

/// What to say of a file that could not be written.
pub(crate) fn write_failed(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Problem::new(Kind::Exhausted, "SW-DISK-FULL", "the disk of the server is full")
                .hint("remove old releases, or give the server a larger disk")
        }
        io::ErrorKind::ReadOnlyFilesystem => Problem::new(
            Kind::Unavailable,
            "SW-STATE-READONLY",
            "the disk of the server can only be read",
        )
        .hint("look at the kernel's log on the server"),
        kind => Problem::internal(format!("the agent's state could not be written: {kind}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    async fn fill(spool: &Spool, bytes: &[u8], from: usize, to: usize) {
        for (n, chunk) in bytes[from..to].chunks(7).enumerate() {
            let offset = u64::try_from(from + n * 7).unwrap();
            spool.write(offset, Bytes::copy_from_slice(chunk)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_gap_is_refused_and_a_repetition_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = b"0123456789abcdef";
        let spool = Spool::open(&dir.path().join("source"), 16, digest(bytes)).unwrap();
        let gap = spool.write(1, Bytes::from_static(b"1")).await.unwrap_err();
        assert!(matches!(gap, Error::Gap { offset: 1, have: 0 }));
        assert_eq!(spool.write(0, Bytes::from_static(b"0123")).await.unwrap(), 4);
        assert_eq!(spool.write(0, Bytes::from_static(b"xx")).await.unwrap(), 4);
        assert_eq!(spool.write(2, Bytes::copy_from_slice(&bytes[2..])).await.unwrap(), 16);
        spool.finish().await.unwrap();
    }

    #[tokio::test]
    async fn an_archive_that_is_not_the_announced_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("source");
        let spool = Spool::open(&path, 4, digest(b"good")).unwrap();
        assert_eq!(spool.finish().await.unwrap_err().code, "SW-UPLOAD-INCOMPLETE");
        spool.write(0, Bytes::from_static(b"evil")).await.unwrap();
        assert_eq!(spool.finish().await.unwrap_err().code, "SW-ARCHIVE-DIGEST");
        let long = spool.write(4, Bytes::from_static(b"!")).await.unwrap_err();
        assert_eq!(Problem::from(long).code, "SW-ARCHIVE-SIZE");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn an_upload_resumes_at_any_byte(bytes in prop::collection::vec(any::<u8>(), 2..400), cut in 0.0..1.0_f64) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("source");
            let size = u64::try_from(bytes.len()).unwrap();
            #[expect(clippy::as_conversions, clippy::cast_possible_truncation, clippy::cast_sign_loss,
                clippy::cast_precision_loss, reason = "a position chosen at random")]
            let cut = (bytes.len() as f64 * cut) as usize;
            runtime.block_on(async {
                let spool = Spool::open(&path, size, digest(&bytes)).unwrap();
                fill(&spool, &bytes, 0, cut).await;
                drop(spool);
                let spool = Spool::open(&path, size, digest(&bytes)).unwrap();
                assert_eq!(spool.offset(), u64::try_from(cut).unwrap());
                fill(&spool, &bytes, cut, bytes.len()).await;
                spool.finish().await.unwrap();
            });
            prop_assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }
}
