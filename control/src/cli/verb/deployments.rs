//! `slipway deployments`: list, show and cancel.

use slipway_proto::control::v1 as wire;

use super::{Shell, words};
use crate::cli::{
    Error,
    connect::Client,
    output::{Paint, json, table::Table, text::harmless, when},
};

/// List, show and cancel deployments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What to do [default: ls].
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do with deployments.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// List deployments, newest first
    Ls {
        /// Only of this app
        #[arg(value_name = "APP")]
        app: Option<String>,
        /// At most this many
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: u32,
    },
    /// Show one deployment
    Show {
        /// Id of the deployment, or the beginning of it
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Stop a deployment and put everything back
    Cancel {
        /// Id of the deployment, or the beginning of it
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// Runs the verb.
pub(super) async fn run(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let client = shell.connect()?;
    match args.command.unwrap_or(Command::Ls { app: None, limit: 20 }) {
        Command::Ls { app, limit } => list(&client, app.unwrap_or_default(), limit, shell).await,
        Command::Show { id } => {
            let deployment = get(&client, id).await?;
            show(&deployment, shell)
        }
        Command::Cancel { id } => {
            let deployment_id = get(&client, id).await?.deployment_id;
            let request = wire::CancelDeploymentRequest { deployment_id };
            let answer = client.deployments().cancel_deployment(request).await?.into_inner();
            show(&answer.deployment.unwrap_or_default(), shell)
        }
    }
}

async fn get(client: &Client, deployment_id: String) -> Result<wire::Deployment, Error> {
    let request = wire::GetDeploymentRequest { deployment_id };
    let answer = client.deployments().get_deployment(request).await?.into_inner();
    Ok(answer.deployment.unwrap_or_default())
}

async fn list(client: &Client, app: String, limit: u32, shell: &Shell<'_>) -> Result<(), Error> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    while found.len() < limit {
        let left = limit.saturating_sub(found.len()).min(200);
        let request = wire::ListDeploymentsRequest {
            app: app.clone(),
            page_size: u32::try_from(left).unwrap_or(200),
            page_token,
        };
        let page = client.deployments().list_deployments(request).await?.into_inner();
        found.extend(page.deployments);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    found.truncate(limit);
    if shell.output.json() {
        return shell.output.document(&json::list("Deployment", &found));
    }
    let now = shell.output.clock().now();
    let mut table = Table::new(["ID", "APP", "RELEASE", "STATE", "SOURCE", "STARTED"]);
    for it in &found {
        table.row([
            it.deployment_id.as_str().into(),
            words::app_name(&it.app, &it.environment).into(),
            words::release(it.release).into(),
            words::cell(words::deployment(it.state())),
            format!("{} {}", it.source, it.source_detail).into(),
            when::relative(it.created_at.as_ref(), now).into(),
        ]);
    }
    shell.output.table(&table, "no deployments yet")
}

fn show(it: &wire::Deployment, shell: &Shell<'_>) -> Result<(), Error> {
    let output = shell.output;
    if output.json() {
        return output.document(&json::message("Deployment", it));
    }
    let now = output.clock().now();
    let (state, paint) = words::deployment(it.state());
    let facts = [
        ("id", it.deployment_id.clone()),
        ("app", words::app_name(&it.app, &it.environment)),
        ("release", words::release(it.release)),
        ("state", output.paint(paint, state)),
        ("source", harmless(&format!("{} {}", it.source, it.source_detail), false)),
        ("started", when::relative(it.created_at.as_ref(), now)),
        ("ended", when::relative(it.ended_at.as_ref(), now)),
        ("events", it.last_seq.to_string()),
    ];
    for (name, value) in facts {
        output.line(format!("{} {value}", output.paint(Paint::Dim, &format!("{name:<8}"))))?;
    }
    for server in &it.servers {
        let word = if server.success { "serves it" } else { "does not serve it" };
        output.line(format!("on {}: {word} {}", server.name, server.urls.join(" ")))?;
    }
    if let Some(error) = &it.error {
        output.line(format!("{}: {}", error.code, harmless(&error.message, false)))?;
        for line in &error.last_lines {
            output.line(format!("  | {}", harmless(line, true)))?;
        }
        if !error.hint.is_empty() {
            output.line(format!("what to do: {}", harmless(&error.hint, false)))?;
        }
    }
    Ok(())
}
