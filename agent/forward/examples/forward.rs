//! Runs a traffic switch in a folder, by hand or for a test: `forward FOLDER`.

use std::{path::PathBuf, time::Duration};

use slipway_forward::{Config, Error, run};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let folder: PathBuf = std::env::args_os().nth(1).map_or_else(|| ".".into(), PathBuf::from);
    let mut config = Config::new(&folder, &folder);
    config.grace = Duration::from_secs(10);
    run(config).await
}
