//! `slipway events`: the numbered events of one deployment.

use slipway_proto::control::v1 as wire;

use super::Shell;
use crate::cli::{
    Error,
    follow::{Follow, Interrupt, Keys, line, show},
    output::json,
};

/// Show the events of a deployment.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Id of the deployment, or the beginning of it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Keep following until it ends; exits 1 if it fails
    #[arg(short, long)]
    pub follow: bool,
    /// Only events after this one
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub after: u64,
}

/// Runs the verb.
pub(super) async fn run(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let client = shell.connect()?;
    let request = wire::GetDeploymentRequest { deployment_id: args.id };
    let deployment = client.deployments().get_deployment(request).await?.into_inner().deployment;
    let deployment_id = deployment.unwrap_or_default().deployment_id;
    if !args.follow {
        return print(&client, deployment_id, args.after, shell).await;
    }
    let mut show = show(shell.output);
    let mut follow =
        Follow::new(&client, shell.output, Interrupt::Leaves, deployment_id.clone(), args.after);
    let done = match follow.finish(show.as_mut()).await {
        Err(Error::Left) => return Ok(()),
        other => other?,
    };
    if done.success { Ok(()) } else { Err(Error::Deployment { deployment_id, done }) }
}

async fn print(
    client: &crate::cli::connect::Client,
    deployment_id: String,
    after_seq: u64,
    shell: &Shell<'_>,
) -> Result<(), Error> {
    let request = wire::WatchRequest { deployment_id, after_seq, no_follow: true };
    let mut stream = client.deployments().watch(request).await?.into_inner();
    let mut keys = Keys::new();
    loop {
        let message = tokio::select! {
            message = stream.message() => message?,
            () = keys.pressed() => return Ok(()),
        };
        let Some(message) = message else { return Ok(()) };
        let Some(event) = message.event else { continue };
        if shell.output.json() {
            shell.output.object(&json::event(&event))?;
        } else if let Some(text) = line(&event) {
            shell.output.line(format!("{:>4} {text}", event.seq))?;
        }
    }
}
