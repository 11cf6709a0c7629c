//! `slipway version`: of this program, and of the control plane if one is chosen.

use serde_json::json;
use slipway_proto::control::v1 as wire;

use super::Shell;
use crate::cli::{Error, context::Contexts};

/// Print versions.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only of this program
    #[arg(long)]
    pub client: bool,
}

/// Runs the verb.
pub(super) async fn run(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let client = env!("CARGO_PKG_VERSION");
    let chosen = Contexts::load(shell.environment)
        .and_then(|it| it.chosen(shell.environment, shell.context.as_deref()));
    let server = match chosen {
        Ok(_) if !args.client => Some(server(shell).await),
        _ => None,
    };
    if shell.output.json() {
        let server = server.and_then(Result::ok);
        return shell.output.document(&json!({"client": client, "server": server}));
    }
    shell.output.line(format!("slipway {client}"))?;
    match server {
        Some(Ok(version)) => shell.output.line(format!("control plane {version}")),
        Some(Err(error)) => {
            shell.output.note(format!("control plane: {error}"));
            Ok(())
        }
        None => Ok(()),
    }
}

async fn server(shell: &Shell<'_>) -> Result<String, Error> {
    let client = shell.connect()?;
    Ok(client.users().get_me(wire::GetMeRequest {}).await?.into_inner().version)
}
