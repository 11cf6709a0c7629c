//! An archive as a build context: rewritten on one thread, sent to Docker as it comes.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use slipway_archive::Limits;
use slipway_proto::problem::Problem;
use tokio::sync::mpsc;

use super::recipe::Recipe;

/// Size of the pieces.
const PIECE: usize = 256 << 10;
/// Pieces in memory at most.
const PIECES: usize = 4;

/// What went wrong while a context was made, for when Docker only says that it was cut short.
#[derive(Clone, Debug, Default)]
pub struct Verdict(Arc<Mutex<Option<Problem>>>);

impl Verdict {
    /// The reason, if it failed.
    pub fn take(&self) -> Option<Problem> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, problem: Problem) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem);
    }
}

/// Rewrites the archive at `path` as the context of `recipe`. The work is done while the stream is
/// read, and ends with it.
pub fn stream(
    path: &Path,
    limits: &Limits,
    recipe: &Recipe,
) -> (slipway_engine::build::Context, Verdict) {
    let (pieces, out) = mpsc::channel(PIECES);
    let verdict = Verdict::default();
    let job = Job {
        path: path.to_owned(),
        limits: limits.clone(),
        recipe: recipe.clone(),
        verdict: verdict.clone(),
    };
    // Started by the first read, so that a context nobody reads costs nothing.
    let mut start = Some((job, pieces));
    let stream = stream::unfold(out, move |mut out| {
        if let Some((job, pieces)) = start.take() {
            drop(tokio::task::spawn_blocking(move || job.run(pieces)));
        }
        async move { out.recv().await.map(|piece| (piece, out)) }
    });
    (stream.boxed(), verdict)
}

struct Job {
    path: PathBuf,
    limits: Limits,
    recipe: Recipe,
    verdict: Verdict,
}

impl Job {
    fn run(self, pieces: mpsc::Sender<io::Result<Bytes>>) {
        let Recipe { root, dockerfile, text, note: _ } = &self.recipe;
        let text = text.as_ref().map(|it| (dockerfile.as_str(), it.as_bytes()));
        let extra: Vec<(&str, &[u8])> = text.into_iter().collect();
        let context = slipway_archive::Context { root, extra: &extra };
        let mut out = Out { pieces, buffer: BytesMut::with_capacity(PIECE) };
        let written = slipway_archive::write_context(&self.path, &self.limits, &context, &mut out);
        let result = written
            .map_err(Problem::from)
            .and_then(|_| out.flush().map_err(|_| Problem::internal("the builder went away")));
        if let Err(problem) = result {
            // The receiver must be told, or it takes a part for the whole.
            let error = io::Error::other(problem.message.clone());
            self.verdict.put(problem);
            drop(out.pieces.blocking_send(Err(error)));
        }
    }
}

/// Collects what is written into pieces.
struct Out {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if PIECE <= self.buffer.len() {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = self.buffer.split().freeze();
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
