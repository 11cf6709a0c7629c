//! From an archive, a repository or a registry to an image: glue over the crates that know how.
//!
//! * [`disk`]: whether there is room.
//! * [`checkout`]: a repository, fetched and packed, becomes an archive like an uploaded one.
//! * [`recipe`]: which Dockerfile builds an archive: the one sent along, the one in it, or a
//!   generated one.
//! * [`context`]: the archive as a build context, streamed to Docker.
//!
//! All of it blocks and runs on blocking threads; an archive is never held in memory.

pub mod checkout;
pub mod context;
pub mod disk;
pub mod recipe;

use slipway_proto::problem::Problem;

/// Runs blocking work on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let lost = |error: tokio::task::JoinError| {
        tracing::error!(%error, "a blocking task was lost");
        Problem::internal("a part of the agent failed; see its log")
    };
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}
