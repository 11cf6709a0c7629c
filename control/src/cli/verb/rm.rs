//! `slipway rm`: removes an app from its servers.

use slipway_proto::control::v1 as wire;

use super::{Shell, power};
use crate::cli::{Error, args::AppArgs};

/// Remove an app: routes, containers, network, kept releases and their images.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which app.
    #[command(flatten)]
    pub app: AppArgs,
    /// Remove its volumes and all that is in them as well
    #[arg(long)]
    pub volumes: bool,
}

/// Runs the verb.
pub(super) async fn run(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let app = &args.app.app;
    let question = if args.volumes {
        format!("Remove `{app}` and all that is in its volumes?")
    } else {
        format!("Remove `{app}`? Its volumes stay.")
    };
    shell.output.confirm(&question)?;
    let client = shell.connect()?;
    let request = wire::RemoveAppRequest { target: Some(args.app.target()), volumes: args.volumes };
    let servers = client.apps().remove_app(request).await?.into_inner().servers;
    power::report("removed", app, &servers, shell)
}
