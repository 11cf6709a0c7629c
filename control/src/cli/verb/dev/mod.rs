//! `slipway dev`: a control plane and this machine as its one server.

use super::Shell;
use crate::cli::Error;

/// Try Slipway on this machine.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Tell what runs
    Status,
}

/// Runs the verb.
pub(super) async fn run(_command: Command, _shell: &Shell<'_>) -> Result<(), Error> {
    Err(Error::local("not part of this build", ""))
}
