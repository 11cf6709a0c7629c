//! Sources, in a folder, named by their SHA-256: `<data>/blobs/ab/abcd…`. A blob is there whole or
//! not at all, and never changes.
//!
//! A [`Writer`] is a thread of its own that hashes and writes while the network delivers; a bounded
//! channel in front of it makes a slow disk slow the sender down.

mod writer;

use std::{
    collections::HashSet,
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use slipway_host::fs as files;
pub use writer::Writer;

use crate::error::{Error, What};

/// Name of a blob: its SHA-256.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// A digest from its bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self)
    }
}

/// 64 lower-case hex digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Digest {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// A complete blob.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// The folder of blobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blobs {
    root: Arc<Path>,
}

impl Blobs {
    /// Opens the folder, makes it if need be, and removes what interrupted writers left.
    pub async fn open(root: &Path) -> Result<Self, Error> {
        let blobs = Self { root: root.into() };
        blobs.blocking("open the folder of", Self::prepare).await?;
        Ok(blobs)
    }

    fn prepare(&self) -> io::Result<()> {
        files::make_dir(&self.root, 0o700)?;
        let temporary = self.temporary();
        files::make_dir(&temporary, 0o700)?;
        for entry in fs::read_dir(temporary)? {
            let path = entry?.path();
            // A writer holds a lock on its file; one whose process is gone holds none.
            if let Some(lock) = files::Lock::take(&path)? {
                files::remove(lock.path())?;
            }
        }
        Ok(())
    }

    /// Begins a blob of at most `limit` bytes.
    pub async fn writer(&self, limit: u64) -> Result<Writer, Error> {
        Writer::begin(self.clone(), limit).await
    }

    /// Opens a blob for reading.
    pub async fn open_blob(&self, digest: Digest) -> Result<(tokio::fs::File, Blob), Error> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing { what: What::Blob },
            _ => Error::Blob { action: "read", source },
        };
        let file = tokio::fs::File::open(self.path(digest)).await.map_err(failed)?;
        let size = file.metadata().await.map_err(failed)?.len();
        Ok((file, Blob { digest, size }))
    }

    /// Where a blob is, for readers that take a path.
    pub fn path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        let folder: String = name.chars().take(2).collect();
        self.root.join(folder).join(name)
    }

    /// Removes a blob. Success when it is already gone.
    pub async fn remove(&self, digest: Digest) -> Result<(), Error> {
        self.blocking("remove", move |blobs| files::remove(&blobs.path(digest))).await
    }

    /// Removes blobs that nobody refers to and that are older than `age`; returns how many. The
    /// age spares those that were just written and are about to be referred to.
    pub async fn sweep(
        &self,
        referenced: HashSet<Digest>,
        now: SystemTime,
        age: Duration,
    ) -> Result<usize, Error> {
        self.blocking("sweep", move |blobs| {
            let mut removed = 0;
            for folder in fs::read_dir(&blobs.root)? {
                let folder = folder?.path();
                if folder == blobs.temporary() || !folder.is_dir() {
                    continue;
                }
                for entry in fs::read_dir(folder)? {
                    let entry = entry?;
                    let digest = entry.file_name().to_str().and_then(|it| it.parse().ok());
                    let old = now.duration_since(entry.metadata()?.modified()?).unwrap_or_default();
                    if digest.is_some_and(|it| !referenced.contains(&it)) && age < old {
                        files::remove(&entry.path())?;
                        removed += 1;
                    }
                }
            }
            Ok(removed)
        })
        .await
    }

    fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// File systems block; so does this, on a thread that may.
    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let blobs = self.clone();
        tokio::task::spawn_blocking(move || work(&blobs))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| Error::Blob { action, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn write(blobs: &Blobs, bytes: &'static [u8]) -> Blob {
        let mut writer = blobs.writer(1 << 20).await.unwrap();
        writer.write(bytes::Bytes::from_static(bytes)).await.unwrap();
        writer.commit(None).await.unwrap()
    }

    fn leftovers(root: &Path) -> usize {
        fs::read_dir(root.join("tmp")).unwrap().count()
    }

    #[tokio::test]
    async fn a_blob_is_named_by_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).await.unwrap();
        let blob = write(&blobs, b"abc").await;
        assert_eq!(blob.size, 3);
        assert_eq!(
            blob.digest.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(fs::read(blobs.path(blob.digest)).unwrap(), b"abc");
        assert_eq!(write(&blobs, b"abc").await, blob, "the same content is the same blob");
        assert_eq!(leftovers(dir.path()), 0);
    }

    #[tokio::test]
    async fn what_a_killed_writer_left_is_swept_and_a_living_one_is_spared() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).await.unwrap();
        fs::write(dir.path().join("tmp/half"), b"ab").unwrap();
        let mut writer = blobs.writer(1 << 20).await.unwrap();
        writer.write(bytes::Bytes::from_static(b"abc")).await.unwrap();

        Blobs::open(dir.path()).await.unwrap();
        assert!(!dir.path().join("tmp/half").exists());
        let blob = writer.commit(None).await.unwrap();
        assert_eq!(blobs.open_blob(blob.digest).await.unwrap().1.size, 3);
    }

    #[tokio::test]
    async fn a_dropped_writer_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).await.unwrap();
        let mut writer = blobs.writer(1 << 20).await.unwrap();
        writer.write(bytes::Bytes::from_static(b"abc")).await.unwrap();
        writer.abort().await;
        assert_eq!(leftovers(dir.path()), 0);
    }

    #[tokio::test]
    async fn too_much_and_something_else_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).await.unwrap();

        let mut writer = blobs.writer(2).await.unwrap();
        let error = match writer.write(bytes::Bytes::from_static(b"abc")).await {
            Err(error) => error,
            Ok(()) => writer.commit(None).await.unwrap_err(),
        };
        assert!(matches!(error, Error::BlobTooLong { limit: 2 }), "{error}");

        let mut writer = blobs.writer(9).await.unwrap();
        writer.write(bytes::Bytes::from_static(b"abc")).await.unwrap();
        let other = Blob { digest: Digest::new([7; 32]), size: 3 };
        let error = writer.commit(Some(other)).await.unwrap_err();
        assert!(matches!(error, Error::BlobMismatch { .. }), "{error}");

        let mut writer = blobs.writer(9).await.unwrap();
        writer.write(bytes::Bytes::from_static(b"ab")).await.unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let cut = Blob { digest: abc.parse().unwrap(), size: 3 };
        let error = writer.commit(Some(cut)).await.unwrap_err();
        assert!(matches!(error, Error::BlobMismatch { .. }), "{error}");
        assert_eq!(leftovers(dir.path()), 0);
    }

    #[tokio::test]
    async fn only_old_blobs_that_nobody_refers_to_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).await.unwrap();
        let (kept, loose) = (write(&blobs, b"kept").await, write(&blobs, b"loose").await);
        let referenced = HashSet::from([kept.digest]);
        let modified = fs::metadata(blobs.path(loose.digest)).unwrap().modified().unwrap();
        let hour = Duration::from_secs(3600);

        assert_eq!(blobs.sweep(referenced.clone(), modified, hour).await.unwrap(), 0);
        assert_eq!(blobs.sweep(referenced, modified + 2 * hour, hour).await.unwrap(), 1);
        assert!(blobs.open_blob(kept.digest).await.is_ok());
        let gone = blobs.open_blob(loose.digest).await.unwrap_err();
        assert!(matches!(gone, Error::Missing { what: What::Blob }));
    }
}
