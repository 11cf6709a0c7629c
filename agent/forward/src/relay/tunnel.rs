//! A connection that changed its protocol: bytes both ways until one side ends.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tracing::debug;

use crate::generation::{Pass, Upgraded};

/// Carries bytes between a client and a container, until one of them ends or the generation is cut.
pub(crate) async fn tunnel(
    client: OnUpgrade,
    container: OnUpgrade,
    counted: Upgraded,
    pass: Arc<Pass>,
) {
    let carry = async {
        let (client, container) = tokio::try_join!(client, container)?;
        let (mut client, mut container) = (TokioIo::new(client), TokioIo::new(container));
        if let Err(error) = copy_bidirectional(&mut client, &mut container).await {
            // A client that vanishes is nothing to report.
            debug!(%error, "an upgraded connection broke");
        }
        Ok::<_, hyper::Error>(())
    };
    if let Some(Err(error)) = pass.generation.cut.run_until_cancelled(carry).await {
        debug!(%error, "an upgrade did not complete");
    }
    drop(counted);
}
