//! `make demo` and `make demo-down`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use slipway_tests::demo;

/// Shows what Slipway does, on this machine.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays the demo
    Run {
        /// Folder of everything that it makes
        #[arg(long)]
        dir: PathBuf,
        /// Leave it running
        #[arg(long)]
        keep: bool,
    },
    /// Removes what `run --keep` left
    Down {
        /// The same folder
        #[arg(long)]
        dir: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run { dir, keep } => Box::pin(demo::run(dir, keep)).await,
        Command::Down { dir } => demo::down(dir).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            demo::Tell::new().line(&format!("\nThe demo failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
