//! Base images from Debian's packages, without a registry: what is made once is kept as a tar in a
//! cache folder. An image of the name that is already there is left alone.

mod root;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use bollard::Docker;
use slipway_host::fs::Lock;

use self::root::Recipe;
use crate::docker;

/// Name of the image with busybox.
pub const BUSYBOX: &str = "busybox:latest";
/// Name of the image with Python: a stand-in with the Python of this machine's distribution.
pub const PYTHON: &str = "python:3.12-slim";

/// Time for downloading and unpacking packages.
const LIMIT: Duration = Duration::from_secs(600);
const LABEL: &str = "LABEL dev.slipway.fixture=base";
const PATH: &str = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes the images that are missing. `cache` keeps their file systems.
pub async fn ensure(docker: &Docker, cache: &Path) -> Result<()> {
    let have = docker::has_image(docker, BUSYBOX).await && docker::has_image(docker, PYTHON).await;
    if have {
        return Ok(());
    }
    std::fs::create_dir_all(cache).with_context(|| format!("make {}", cache.display()))?;
    let _lock = take(&cache.join("lock")).await?;
    one(docker, cache, BUSYBOX, &root::BUSYBOX, "busybox.tar", r#"CMD ["sh"]"#).await?;
    one(docker, cache, PYTHON, &root::PYTHON, "python.tar", r#"CMD ["python3"]"#).await
}

/// The usual place of the cache: `target/cache` of this workspace.
pub fn cache() -> PathBuf {
    crate::workspace().join("target/cache")
}

async fn one(
    docker: &Docker,
    cache: &Path,
    name: &str,
    recipe: &Recipe,
    file: &str,
    command: &str,
) -> Result<()> {
    if docker::has_image(docker, name).await {
        return Ok(());
    }
    let tar = cache.join(file);
    root::write(recipe, &tar).await?;
    docker::import(docker, &tar, name, &[LABEL, PATH, command]).await
}

/// One process at a time, of all that share the cache.
async fn take(path: &Path) -> Result<Lock> {
    let start = tokio::time::Instant::now();
    loop {
        if let Some(lock) = Lock::take(path).context("lock the cache")? {
            return Ok(lock);
        }
        if start.elapsed() > LIMIT {
            bail!("another process keeps {}", path.display());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
