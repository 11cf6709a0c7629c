//! `slipway dev`: a control plane and this machine as its one server, for trying things. The programs
//! and the protocols are those of a real installation; only addresses and folders differ.
//!
//! * [`place`]: the folder of it all, and its settings.
//! * [`process`]: programs in the background that are known again by pid and start time.
//! * [`up`], [`status`], [`down`]: the verbs.
//! * [`enroll`]: this machine becomes the server `local`, by the same steps as any other.
//! * [`sweep`]: takes away what apps left in Docker.

mod down;
mod enroll;
mod place;
mod process;
mod status;
mod sweep;
mod up;

use std::path::PathBuf;

use super::Shell;
use crate::cli::Error;

/// Try Slipway on this machine.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Start a control plane and an agent here, or what of them does not run
    Up(up::Args),
    /// Stop them; apps go on running unless they are purged
    Down(down::Args),
    /// Tell what runs, and where
    Status(Where),
}

/// Which one, when there are several.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Where {
    /// Folder of everything that lasts [default: `$XDG_DATA_HOME/slipway/dev`]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs the verb.
pub(super) async fn run(command: Command, shell: &Shell<'_>) -> Result<(), Error> {
    match command {
        Command::Up(args) => up::run(args, shell).await,
        Command::Down(args) => down::run(args, shell).await,
        Command::Status(args) => status::run(args, shell),
    }
}
