//! `slipway releases`: what an app can go back to.

use slipway_proto::control::v1 as wire;

use super::{Shell, words};
use crate::cli::{
    Error,
    args::AppArgs,
    output::{
        Paint, json,
        table::{Cell, Table},
        when,
    },
};

/// List the releases of an app.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which app.
    #[command(flatten)]
    pub app: AppArgs,
}

/// Runs the verb.
pub(super) async fn run(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let client = shell.connect()?;
    let request = wire::ListReleasesRequest { target: Some(args.app.target()) };
    let releases = client.apps().list_releases(request).await?.into_inner().releases;
    if shell.output.json() {
        return shell.output.document(&json::list("Release", &releases));
    }
    let now = shell.output.clock().now();
    let mut table = Table::new(["RELEASE", "STATE", "SOURCE", "IMAGE", "DEPLOYED"]);
    for it in &releases {
        let state = match (it.serving, it.kept) {
            (true, _) => Cell::painted(Paint::Good, "serving"),
            (false, true) => "kept".into(),
            (false, false) => Cell::painted(Paint::Dim, "gone"),
        };
        let image: String = it.image_id.trim_start_matches("sha256:").chars().take(12).collect();
        table.row([
            words::release(it.release).into(),
            state,
            format!("{} {}", it.source, it.source_detail).into(),
            words::or_dash(&image).into(),
            when::relative(it.committed_at.as_ref(), now).into(),
        ]);
    }
    shell.output.table(&table, "no releases yet")
}
