//! What is started in which order, and how it stops.

mod home;

use std::{io, path::PathBuf};

use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Why the control plane did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The state folder cannot be used.
    #[error("could not use `{path}`")]
    Home {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("another control plane runs in `{path}`")]
    Taken {
        /// The folder.
        path: PathBuf,
    },
}

impl Error {
    /// What the program exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Home { .. } | Self::Taken { .. } => 1,
        }
    }
}

/// Runs the control plane until SIGTERM or SIGINT.
///
/// # Errors
/// It did not start.
pub async fn run(config: Config) -> Result<(), Error> {
    let stop = CancellationToken::new();
    run_until(config, stop).await
}

/// Runs the control plane until `stop`.
///
/// # Errors
/// It did not start.
pub async fn run_until(config: Config, stop: CancellationToken) -> Result<(), Error> {
    let _home = home::Home::take(&config.data_dir)?;
    stop.cancelled().await;
    Ok(())
}
