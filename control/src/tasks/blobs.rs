//! Removes archives that no open deployment needs.

use std::time::Duration;

use slipway_store::Store;
use tracing::info;

use super::Task;

/// Age below which an archive is spared: it may be about to be referred to.
const AGE: Duration = Duration::from_secs(15 * 60);

/// The loop.
#[derive(Debug)]
pub struct Sweep {
    /// The store.
    pub store: Store,
}

impl Task for Sweep {
    const NAME: &'static str = "archives";
    const EVERY: Duration = Duration::from_secs(5 * 60);

    async fn pass(&mut self) -> Result<(), impl std::fmt::Display> {
        let needed = self.store.system().needed_blobs().await?;
        let removed = self.store.blobs().sweep(needed, self.store.clock().now(), AGE).await?;
        if removed != 0 {
            info!(removed, "removed archives that nothing needs");
        }
        Ok::<_, slipway_store::Error>(())
    }
}
