//! An archive on its way from the caller into the blob store, while the rollout waits for it.
//!
//! The two sides meet in [`Uploads`]: the surface holds an [`Upload`], which it feeds; the rollout
//! takes the [`Incoming`] of its operation. Whichever goes away is noticed by the other. A rollout
//! that finds no [`Incoming`] was restarted in the meantime, and its caller's bytes with it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use slipway_host::Chain;
use slipway_proto::{
    control::v1::SourceEnd,
    problem::{Kind, Problem},
};
use slipway_store::{Blob, Blobs, Digest, OperationId, blob::Writer};
use tokio::sync::{oneshot, watch};
use tracing::warn;

/// Largest archive.
pub(super) const LIMIT: u64 = 1 << 30;
/// Largest chunk.
const CHUNK: usize = 256 << 10;

/// The uploads of this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Uploads(Arc<Mutex<HashMap<OperationId, Incoming>>>);

impl Uploads {
    /// Begins an upload for an operation.
    pub(super) async fn begin(
        &self,
        blobs: &Blobs,
        operation: OperationId,
    ) -> Result<Upload, Problem> {
        let writer = blobs.writer(LIMIT).await.map_err(|error| refuse(&error))?;
        let (result, outcome) = oneshot::channel();
        let (received, progress) = watch::channel(0);
        let incoming = Incoming { outcome, progress };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(operation, incoming);
        Ok(Upload { writer, result, received })
    }

    /// Takes what arrives for an operation, once.
    pub(super) fn take(&self, operation: OperationId) -> Option<Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&operation)
    }
}

/// The rollout's side.
#[derive(Debug)]
pub(super) struct Incoming {
    /// The archive, or why there is none. Dropped: the caller went away.
    pub(super) outcome: oneshot::Receiver<Result<Blob, Problem>>,
    /// Bytes so far.
    pub(super) progress: watch::Receiver<u64>,
}

/// The caller's side. Dropped before [`Upload::end`], it is an archive cut short.
#[derive(Debug)]
pub struct Upload {
    writer: Writer,
    result: oneshot::Sender<Result<Blob, Problem>>,
    received: watch::Sender<u64>,
}

impl Upload {
    /// Adds a chunk. Waits while the disk is behind. None: the upload has ended, for a reason that
    /// the deployment's events tell.
    pub async fn chunk(mut self, chunk: Bytes) -> Option<Self> {
        if self.result.is_closed() {
            return None;
        }
        if CHUNK < chunk.len() {
            let message = format!("a chunk of {} B is longer than 256 KiB", chunk.len());
            self.fail(Problem::invalid("SW-UPLOAD-CHUNK", "chunk", message));
            return None;
        }
        let length = u64::try_from(chunk.len()).unwrap_or_default();
        if let Err(error) = self.writer.write(chunk).await {
            let problem = refuse(&error);
            self.fail(problem);
            return None;
        }
        self.received.send_modify(|it| *it += length);
        Some(self)
    }

    /// Completes the archive, if it is what the caller meant to send.
    pub async fn end(self, end: SourceEnd) {
        let Self { writer, result, received } = self;
        let arrived = *received.borrow();
        let outcome = complete(writer, &end, arrived).await;
        // A rollout that waits no more has told why.
        drop(result.send(outcome));
    }

    fn fail(self, problem: Problem) {
        drop(self.result.send(Err(problem)));
    }
}

async fn complete(writer: Writer, end: &SourceEnd, received: u64) -> Result<Blob, Problem> {
    if end.size_bytes == 0 || received < end.size_bytes {
        return Err(incomplete(format!("{received} of {} B have arrived", end.size_bytes)));
    }
    let Ok(digest) = Digest::try_from(end.sha256.as_ref()) else {
        let message = "the SHA-256 of the archive is not 32 bytes long";
        return Err(Problem::invalid("SW-ARCHIVE-DIGEST", "source", message));
    };
    let expected = Blob { digest, size: end.size_bytes };
    writer.commit(Some(expected)).await.map_err(|error| refuse(&error))
}

/// The archive did not arrive whole.
pub(super) fn incomplete(message: impl Into<String>) -> Problem {
    Problem::new(Kind::Invalid, "SW-UPLOAD-INCOMPLETE", message)
        .field("source")
        .hint("deploy again; nothing was changed")
}

fn refuse(error: &slipway_store::Error) -> Problem {
    let problem = error.problem();
    if problem.kind == Kind::Internal {
        warn!(error = %Chain(error), "could not keep an archive");
    }
    problem
}
