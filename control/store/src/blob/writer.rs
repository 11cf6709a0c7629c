//! Writing a blob.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use slipway_host::{failpoint, fs as files};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{Blob, Blobs, Digest};
use crate::error::Error;

/// Chunks between the network and the disk.
const WAITING: usize = 16;

enum Message {
    Chunk(Bytes),
    Commit(Option<Blob>),
}

/// A blob that is being written. Dropped without [`Writer::commit`], it leaves nothing.
#[derive(Debug)]
pub struct Writer {
    messages: mpsc::Sender<Message>,
    thread: JoinHandle<Result<Option<Blob>, Error>>,
}

impl Writer {
    pub(super) async fn begin(blobs: Blobs, limit: u64) -> Result<Self, Error> {
        let draft = blobs.blocking("begin", Draft::begin).await?;
        let (messages, received) = mpsc::channel(WAITING);
        let thread = tokio::task::spawn_blocking(move || draft.run(&blobs, limit, received));
        Ok(Self { messages, thread })
    }

    /// Adds bytes. Waits while the disk is behind. An error here is told by [`Writer::commit`] as
    /// well, at the latest.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), Error> {
        if self.messages.send(Message::Chunk(chunk)).await.is_err() {
            return Err(self.failure().await);
        }
        Ok(())
    }

    /// Completes the blob, once it is durable. With `expected`, only if it is that.
    pub async fn commit(mut self, expected: Option<Blob>) -> Result<Blob, Error> {
        if self.messages.send(Message::Commit(expected)).await.is_err() {
            return Err(self.failure().await);
        }
        match (&mut self.thread).await {
            Ok(Ok(Some(blob))) => Ok(blob),
            Ok(Ok(None)) => Err(lost(io::Error::other("it was given up"))),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(lost(io::Error::other(error))),
        }
    }

    /// Gives it up, and waits until nothing of it is left.
    pub async fn abort(self) {
        let Self { messages, thread } = self;
        drop(messages);
        // However it ended, its file is gone.
        drop(thread.await);
    }

    /// Why the thread has ended early.
    async fn failure(&mut self) -> Error {
        match (&mut self.thread).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) => lost(io::Error::other("it was given up")),
            Err(error) => lost(io::Error::other(error)),
        }
    }
}

fn lost(source: io::Error) -> Error {
    Error::Blob { action: "write", source }
}

/// The file beside, and what is known of its content.
struct Draft {
    path: PathBuf,
    file: File,
    /// Tells a starting store that this file has a living writer.
    _lock: files::Lock,
    hash: Sha256,
    size: u64,
}

impl Draft {
    fn begin(blobs: &Blobs) -> io::Result<Self> {
        let path = blobs.temporary().join(uuid::Uuid::now_v7().to_string());
        let lock = files::Lock::take(&path)?
            .ok_or_else(|| io::Error::other("a new file has another writer"))?;
        let file = File::options().write(true).open(&path)?;
        Ok(Self { path, file, _lock: lock, hash: Sha256::new(), size: 0 })
    }

    fn run(
        mut self,
        blobs: &Blobs,
        limit: u64,
        mut messages: mpsc::Receiver<Message>,
    ) -> Result<Option<Blob>, Error> {
        while let Some(message) = messages.blocking_recv() {
            match message {
                Message::Chunk(chunk) => {
                    self.size += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                    if limit < self.size {
                        return Err(Error::BlobTooLong { limit });
                    }
                    self.hash.update(&chunk);
                    self.file.write_all(&chunk).map_err(lost)?;
                }
                Message::Commit(expected) => return self.commit(blobs, expected).map(Some),
            }
        }
        Ok(None)
    }

    fn commit(&mut self, blobs: &Blobs, expected: Option<Blob>) -> Result<Blob, Error> {
        let digest = Digest::new(self.hash.finalize_reset().into());
        let blob = Blob { digest, size: self.size };
        if let Some(expected) = expected
            && expected != blob
        {
            return Err(Error::BlobMismatch { got: describe(blob), expected: describe(expected) });
        }
        self.publish(&blobs.path(digest))
            .map_err(|source| Error::Blob { action: "complete", source })?;
        Ok(blob)
    }

    fn publish(&self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        failpoint!("blob.publish.before");
        if let Some(folder) = path.parent()
            && !folder.exists()
        {
            fs::create_dir_all(folder)?;
            folder.parent().map_or(Ok(()), files::sync_dir)?;
        }
        files::rename(&self.path, path)?;
        failpoint!("blob.publish.after");
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Published, it is not there any more; what cannot be removed is swept at the next start.
        drop(files::remove(&self.path));
    }
}

fn describe(blob: Blob) -> String {
    format!("{} B with SHA-256 {}", blob.size, blob.digest)
}
