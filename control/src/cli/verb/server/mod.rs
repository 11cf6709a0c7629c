//! `slipway server`: the machines.
//!
//! * [`list`]: what they are and how they stand.
//! * [`join`]: a machine that comes, and one that goes.
//! * [`health`]: what an agent says of its machine right now.
//! * [`grpcurl`]: how a person calls an agent directly.

mod grpcurl;
mod health;
mod join;
mod list;

use std::time::Duration;

use super::Shell;
use crate::cli::{Error, output::when};

/// Manage servers.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// List servers
    Ls,
    /// Show everything about a server
    Inspect {
        /// Name or id of the server
        #[arg(value_name = "SERVER")]
        server: String,
    },
    /// Record a machine that exists, and print how it joins
    Add {
        /// Name of the server [default: one is made up]
        #[arg(value_name = "NAME", default_value = "")]
        name: String,
        /// How long the join token holds [default: 15m]
        #[arg(long, value_name = "TIME", value_parser = when::parse_length)]
        ttl: Option<Duration>,
    },
    /// Forget a server; what runs there goes on running
    Rm {
        /// Name or id of the server
        #[arg(value_name = "SERVER")]
        server: String,
        /// Even when apps are on it
        #[arg(long)]
        force: bool,
    },
    /// Ask the agent how its machine is
    Health {
        /// Name or id of the server [default: all]
        #[arg(value_name = "SERVER")]
        server: Option<String>,
    },
    /// Print a line with which grpcurl calls the agent directly
    Grpcurl(grpcurl::Args),
}

/// Runs the verb.
pub(super) async fn run(command: Command, shell: &Shell<'_>) -> Result<(), Error> {
    let client = shell.connect()?;
    match command {
        Command::Ls => list::all(&client, shell).await,
        Command::Inspect { server } => list::one(&client, server, shell).await,
        Command::Add { name, ttl } => join::add(&client, name, ttl, shell).await,
        Command::Rm { server, force } => join::remove(&client, server, force, shell).await,
        Command::Health { server } => health::run(&client, server, shell).await,
        Command::Grpcurl(args) => grpcurl::run(&client, args, shell).await,
    }
}
