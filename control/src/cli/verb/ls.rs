//! `slipway ls`: apps, and where they answer.

use slipway_proto::control::v1 as wire;

use super::{Shell, words};
use crate::cli::{
    Error,
    output::{json, table::Table, when},
};

/// List apps.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only apps with this tag
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
}

/// Runs the verb.
pub(super) async fn run(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let client = shell.connect()?;
    let mut apps = client.apps().list_apps(wire::ListAppsRequest {}).await?.into_inner().apps;
    if let Some(tag) = &args.tag {
        apps.retain(|it| it.tags.contains(tag));
    }
    if shell.output.json() {
        return shell.output.document(&json::list("App", &apps));
    }
    let now = shell.output.clock().now();
    let mut table = Table::new(["APP", "STATE", "RELEASE", "SERVERS", "URL", "DEPLOYED"]);
    for app in &apps {
        table.row([
            words::app_name(&app.app, &app.environment).into(),
            words::cell(words::app(app)),
            words::release(app.release).into(),
            app.servers.join(", ").into(),
            words::or_dash(app.urls.first().map_or("", |it| it)).into(),
            when::relative(app.deployed_at.as_ref(), now).into(),
        ]);
    }
    shell.output.table(&table, "no apps yet; `slipway deploy` in the folder of one makes the first")
}
