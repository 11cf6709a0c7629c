//! Loops without input: they read, compare, act. A pass is safe to repeat and to cut short, and the
//! next pass is the retry.

pub mod blobs;

use std::{fmt::Display, future::Future, time::Duration};

use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// One loop. A pass takes no input: it reads the store, compares, and acts.
pub trait Task: Send + 'static {
    /// For logs and metrics.
    const NAME: &'static str;
    /// The longest time between passes when nothing pokes it.
    const EVERY: Duration;

    /// One pass.
    fn pass(&mut self) -> impl Future<Output = Result<(), impl Display>> + Send;
}

/// Runs passes until `stop`: at once when poked, otherwise every [`Task::EVERY`].
pub async fn drive<T: Task>(mut task: T, poke: &Notify, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match task.pass().await {
            Ok(()) => debug!(task = T::NAME, "pass done"),
            Err(error) => warn!(task = T::NAME, %error, "pass failed; the next one tries again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timeout(T::EVERY, poke.notified()) => (),
        }
    }
}
