//! What the servers are and how they stand.

use slipway_proto::control::v1 as wire;

use super::Shell;
use crate::cli::{
    Error,
    connect::Client,
    output::{Paint, json, table::Table, text::harmless, when},
    verb::words,
};

/// Runs `ls`.
pub(super) async fn all(client: &Client, shell: &Shell<'_>) -> Result<(), Error> {
    let request = wire::ListServersRequest {};
    let servers = client.servers().list_servers(request).await?.into_inner().servers;
    if shell.output.json() {
        return shell.output.document(&json::list("Server", &servers));
    }
    let now = shell.output.clock().now();
    let mut table = Table::new(["SERVER", "STATE", "ADDRESS", "AGENT", "APPS", "SEEN"]);
    for it in &servers {
        let stale = if it.stale { " (stale)" } else { "" };
        table.row([
            it.name.as_str().into(),
            words::cell(words::server(it.state())),
            words::or_dash(&it.address).into(),
            format!("{}{stale}", words::or_dash(&it.agent_version)).into(),
            words::or_dash(&it.apps.join(", ")).into(),
            when::relative(it.last_seen_at.as_ref(), now).into(),
        ]);
    }
    for it in servers.iter().filter(|it| !it.problems.is_empty()) {
        let problems = harmless(&it.problems.join("; "), false);
        shell.output.note(format!("{}: {problems}", it.name));
    }
    shell.output.table(&table, "no servers yet; `slipway server add` records the first")
}

/// Runs `inspect`.
pub(super) async fn one(client: &Client, server: String, shell: &Shell<'_>) -> Result<(), Error> {
    let request = wire::GetServerRequest { server };
    let server = client.servers().get_server(request).await?.into_inner().server;
    let server = server.unwrap_or_default();
    let output = shell.output;
    if output.json() {
        return output.document(&json::message("Server", &server));
    }
    let now = output.clock().now();
    let (state, paint) = words::server(server.state());
    let facts = [
        ("server", server.name.clone()),
        ("id", server.server_id.clone()),
        ("state", output.paint(paint, state)),
        ("reason", server.reason.clone()),
        ("address", server.address.clone()),
        ("agent", format!("{} {}", server.agent_version, server.agent_id)),
        ("stale", server.stale_hint.clone()),
        ("region", server.region.clone()),
        ("image", server.image.clone()),
        ("added", when::relative(server.created_at.as_ref(), now)),
        ("seen", when::relative(server.last_seen_at.as_ref(), now)),
        ("apps", server.apps.join(", ")),
        ("problems", harmless(&server.problems.join("; "), false)),
    ];
    for (name, value) in facts.iter().filter(|(_, value)| !value.trim().is_empty()) {
        output.line(format!("{} {value}", output.paint(Paint::Dim, &format!("{name:<9}"))))?;
    }
    Ok(())
}
