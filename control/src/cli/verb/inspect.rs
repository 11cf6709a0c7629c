//! `slipway inspect`: everything about one app.

use slipway_proto::control::v1 as wire;

use super::{Shell, words};
use crate::cli::{
    Error,
    args::AppArgs,
    output::{Paint, json, text::harmless, when},
};

/// Show everything about an app.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which app.
    #[command(flatten)]
    pub app: AppArgs,
}

/// Runs the verb.
pub(super) async fn run(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let client = shell.connect()?;
    let request = wire::GetAppRequest { target: Some(args.app.target()) };
    let answer = client.apps().get_app(request).await?.into_inner();
    if shell.output.json() {
        return shell.output.document(&json::message("GetAppResponse", &answer));
    }
    let app = answer.app.unwrap_or_default();
    let now = shell.output.clock().now();
    let (state, paint) = words::app(&app);
    let facts = [
        ("app", words::app_name(&app.app, &app.environment)),
        ("state", shell.output.paint(paint, state)),
        ("release", words::release(app.release)),
        ("deployed", when::relative(app.deployed_at.as_ref(), now)),
        ("tags", words::or_dash(&app.tags.join(", "))),
        ("answers at", words::or_dash(&app.urls.join(", "))),
    ];
    for (name, value) in facts {
        shell
            .output
            .line(format!("{} {value}", shell.output.paint(Paint::Dim, &format!("{name:<11}"))))?;
    }
    answer.servers.iter().try_for_each(|it| server(it, shell))
}

fn server(on_server: &wire::AppOnServer, shell: &Shell<'_>) -> Result<(), Error> {
    let name = harmless(&on_server.server, false);
    shell.output.line(format!("\non {}", shell.output.paint(Paint::Strong, &name)))?;
    let Some(app) = &on_server.app else {
        let error = harmless(&on_server.error, false);
        return shell.output.line(format!("  {}", shell.output.paint(Paint::Bad, &error)));
    };
    for container in &app.containers {
        let serving = if container.release == app.release { "serving" } else { "kept" };
        shell.output.line(format!(
            "  {} {} {} at {} ({} in flight)",
            container.name,
            harmless(&container.state, false),
            serving,
            words::or_dash(&container.address),
            container.in_flight,
        ))?;
    }
    for release in &app.releases {
        let image: String = release.image_id.chars().take(19).collect();
        shell.output.line(format!("  release {} {image}", release.release))?;
    }
    if !app.deploy_id.is_empty() {
        shell.output.line(format!("  being deployed: {}", app.deploy_id))?;
    }
    Ok(())
}
