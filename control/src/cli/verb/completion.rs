//! `slipway completion`: a script for the shell.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{Cli, Error};

/// Print a completion script, such as `slipway completion bash > /etc/bash_completion.d/slipway`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "slipway", &mut script);
    io::stdout().lock().write_all(&script).map_err(Error::Print)
}
