//! `make demo`: a control plane and this machine as its server; the sample app from code, from git and
//! from an image; a redeployment under load, a failing one, a rollback; every step checked over HTTP.
//!
//! * [`story`]: the steps, in order.
//! * [`stage`]: `slipway` and HTTP, as the steps use them.
//! * [`tell`]: what the viewer reads.

mod stage;
mod story;
mod tell;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

pub use stage::Stage;
pub use tell::Tell;

use crate::{base, docker};

/// Runs the demo; `keep` leaves it all running afterwards.
pub async fn run(dir: PathBuf, keep: bool) -> Result<()> {
    let tell = Tell::new();
    let stage = Stage::open(&dir, tell)?;
    let shown = story::play(&stage).await;
    if keep && shown.is_ok() {
        return Ok(());
    }
    let cleared = down(dir).await;
    shown.and(cleared)
}

/// Takes away all that a demo left.
pub async fn down(dir: PathBuf) -> Result<()> {
    let tell = Tell::new();
    if dir.join("slipway").exists() {
        let stage = Stage::open(&dir, tell)?;
        stage.slipway(&["dev", "down", "--purge", "-y"]).await?;
        if std::fs::metadata(&dir).is_ok() {
            std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        }
    }
    let docker = docker::connect().await?;
    for image in [base::BUSYBOX, base::PYTHON] {
        if docker::is_fixture(&docker, image).await {
            docker::remove_image(&docker, image).await;
        }
    }
    tell.line("The demo's processes, containers, networks and images are gone.");
    Ok(())
}
