//! `slipway ps`: containers, on their servers.

use slipway_proto::{agent::v1 as agent, control::v1 as wire};

use super::{Shell, words};
use crate::cli::{
    Error,
    connect::Client,
    output::{
        Paint, json,
        table::{Cell, Table},
        when,
    },
};

/// List containers.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only of this app
    #[arg(value_name = "APP")]
    pub app: Option<String>,
    /// Environment of the app [default: production]
    #[arg(short = 'd', long, value_name = "NAME", requires = "app")]
    pub environment: Option<String>,
    /// Only on this server; may be repeated
    #[arg(short, long = "server", value_name = "SERVER")]
    pub servers: Vec<String>,
    /// Also containers of releases that do not serve
    #[arg(short, long)]
    pub all: bool,
}

/// Runs the verb.
pub(super) async fn run(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let client = shell.connect()?;
    let mut answers = Vec::new();
    for target in targets(&args, &client).await? {
        let request = wire::GetAppRequest { target: Some(target) };
        answers.push(client.apps().get_app(request).await?.into_inner());
    }
    if shell.output.json() {
        return shell.output.document(&json::list("GetAppResponse", &answers));
    }
    let mut table =
        Table::new(["CONTAINER", "SERVER", "RELEASE", "STATE", "ADDRESS", "BUSY", "UP"]);
    for on_server in answers.iter().flat_map(|it| &it.servers) {
        if !on_server.error.is_empty() {
            shell.output.note(format!("{}: {}", on_server.server, on_server.error));
        }
        let Some(app) = &on_server.app else { continue };
        let shown = app.containers.iter().filter(|it| args.all || it.release == app.release);
        shown.for_each(|it| row(&mut table, &on_server.server, it));
    }
    shell.output.table(&table, "no containers")
}

async fn targets(args: &Args, client: &Client) -> Result<Vec<wire::AppTarget>, Error> {
    if let Some(app) = &args.app {
        let app = crate::cli::args::AppArgs {
            app: app.clone(),
            environment: args.environment.clone(),
            servers: args.servers.clone(),
        };
        return Ok(vec![app.target()]);
    }
    let apps = client.apps().list_apps(wire::ListAppsRequest {}).await?.into_inner().apps;
    let target = |app: wire::App| wire::AppTarget {
        app: app.app,
        environment: app.environment,
        servers: args.servers.clone(),
    };
    Ok(apps.into_iter().map(target).collect())
}

fn row(table: &mut Table, server: &str, container: &agent::AppContainer) {
    let state = match (container.state.as_str(), container.exit_code) {
        ("running", _) => Cell::painted(Paint::Good, "running"),
        (state, Some(code)) => Cell::painted(Paint::Bad, format!("{state} ({code})")),
        (state, None) => Cell::painted(Paint::Warn, state),
    };
    let up = container.uptime.as_ref().map(|it| when::rough(when::from_wire(it)));
    table.row([
        container.name.as_str().into(),
        server.into(),
        words::release(container.release).into(),
        state,
        words::or_dash(&container.address).into(),
        container.in_flight.to_string().into(),
        up.unwrap_or_else(|| "-".to_owned()).into(),
    ]);
}
