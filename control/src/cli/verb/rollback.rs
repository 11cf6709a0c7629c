//! `slipway rollback`: a deployment whose source is a kept release.

use slipway_proto::control::v1 as wire;

use super::{Shell, deploy, words};
use crate::cli::{
    Error,
    follow::{Follow, Interrupt, show},
    output::json,
};

/// Go back to an earlier release, with its image, configuration and environment.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Name of the app
    #[arg(value_name = "APP")]
    pub app: String,
    /// Number of the release [default: the one before the serving one]
    #[arg(value_name = "RELEASE", default_value_t = 0, hide_default_value = true)]
    pub release: u64,
    /// Environment [default: production]
    #[arg(short = 'd', long, value_name = "NAME")]
    pub environment: Option<String>,
    /// Only on this server; may be repeated
    #[arg(short, long = "server", value_name = "SERVER")]
    pub servers: Vec<String>,
    /// Only check that every server could do it
    #[arg(long)]
    pub check: bool,
}

/// Runs the verb.
pub(super) async fn run(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let client = shell.connect()?;
    let target = crate::cli::args::AppArgs {
        app: args.app.clone(),
        environment: args.environment,
        servers: args.servers,
    }
    .target();
    let request =
        wire::RollbackRequest { target: Some(target), release: args.release, check: args.check };
    let answer = client.apps().rollback(request).await?.into_inner();
    if args.check {
        if shell.output.json() {
            return shell.output.document(&json::message("RollbackResponse", &answer));
        }
        let release = words::release(answer.release);
        return shell.output.line(format!("`{}` can go back to release {release}", args.app));
    }
    let mut show = show(shell.output);
    let id = answer.deployment_id;
    let mut follow = Follow::new(&client, shell.output, Interrupt::Cancels, id.clone(), 0);
    let done = follow.finish(show.as_mut()).await?;
    deploy::finish(shell, &args.app, id, done)
}
