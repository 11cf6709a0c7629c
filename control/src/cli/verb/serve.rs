//! `slipway serve`: the control plane itself.

use slipway_host::Chain;

use crate::{
    cli::Error,
    config::{self, Flags},
    serve,
};

/// Run the control plane.
///
/// Each setting is a flag, a variable (`SLIPWAY_HTTP` for `--http`) or a line of the configuration file,
/// in this order.
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// The settings.
    #[command(flatten)]
    pub flags: Flags,
}

/// Runs the verb.
pub(super) async fn run(args: Args) -> Result<(), Error> {
    let config = config::load(args.flags)
        .map_err(|error| Error::config(Chain(&error).to_string(), "slipway serve --help"))?;
    serve::run(config).await.map_err(|error| {
        let message = Chain(&error).to_string();
        match error.exit_code() {
            config::EXIT_CONFIG => Error::config(message, ""),
            _ => Error::local(message, ""),
        }
    })
}
