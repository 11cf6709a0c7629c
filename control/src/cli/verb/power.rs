//! `slipway stop`, `start` and `restart`.

use slipway_proto::control::v1 as wire;

use super::{Shell, words};
use crate::cli::{Error, args::AppArgs, output::json};

/// Stop, start or restart an app.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which app.
    #[command(flatten)]
    pub app: AppArgs,
}

/// Runs `stop`.
pub(super) async fn stop(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let client = shell.connect()?;
    let request = wire::StopAppRequest { target: Some(args.app.target()) };
    let servers = client.apps().stop_app(request).await?.into_inner().servers;
    report("stopped", &args.app.app, &servers, shell)
}

/// Runs `start`.
pub(super) async fn start(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let client = shell.connect()?;
    let request = wire::StartAppRequest { target: Some(args.app.target()) };
    let servers = client.apps().start_app(request).await?.into_inner().servers;
    report("started", &args.app.app, &servers, shell)
}

/// Runs `restart`.
pub(super) async fn restart(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let client = shell.connect()?;
    let request = wire::RestartAppRequest { target: Some(args.app.target()) };
    let servers = client.apps().restart_app(request).await?.into_inner().servers;
    report("restarted", &args.app.app, &servers, shell)
}

/// Says on which servers it was done, and fails when on some it was not.
pub(super) fn report(
    done: &str,
    app: &str,
    servers: &[wire::ServerOutcome],
    shell: &Shell<'_>,
) -> Result<(), Error> {
    if shell.output.json() {
        shell.output.document(&json::list("ServerOutcome", servers))?;
    } else {
        for server in servers.iter().filter(|it| it.success) {
            shell.output.note(format!("{done} `{app}` on {}", server.name));
        }
    }
    words::all_servers(&format!("`{app}` could not be {done}: it"), servers)
}
