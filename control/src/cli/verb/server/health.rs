//! What an agent says of its machine right now.

use slipway_proto::control::v1 as wire;

use super::Shell;
use crate::cli::{
    Error,
    connect::Client,
    output::{
        Paint, json,
        table::{Cell, Table},
        text::harmless,
        when,
    },
};

/// Runs `health`; fails when a server is not healthy.
pub(super) async fn run(
    client: &Client,
    server: Option<String>,
    shell: &Shell<'_>,
) -> Result<(), Error> {
    let names = if let Some(server) = server {
        vec![server]
    } else {
        let answer = client.servers().list_servers(wire::ListServersRequest {}).await?;
        answer.into_inner().servers.into_iter().map(|it| it.name).collect()
    };
    let mut answers = Vec::new();
    for server in names {
        let request = wire::CheckHealthRequest { server };
        answers.push(client.servers().check_health(request).await?.into_inner());
    }
    if shell.output.json() {
        shell.output.document(&json::list("CheckHealthResponse", &answers))?;
    } else {
        print(&answers, shell)?;
    }
    let sick = answers.iter().filter(|it| !it.health.as_ref().is_some_and(|it| it.healthy)).count();
    match sick {
        0 => Ok(()),
        1 => Err(Error::Servers("one server is not healthy".to_owned())),
        sick => Err(Error::Servers(format!("{sick} servers are not healthy"))),
    }
}

fn print(answers: &[wire::CheckHealthResponse], shell: &Shell<'_>) -> Result<(), Error> {
    let mut table = Table::new([
        "SERVER",
        "HEALTH",
        "LOAD",
        "MEMORY FREE",
        "DISK FREE",
        "CONTAINERS",
        "AGENT",
        "CALL",
    ]);
    for it in answers {
        let name = it.server.as_ref().map_or("-", |it| it.name.as_str());
        let call = it.round_trip.as_ref().map(|it| when::elapsed(when::from_wire(it)));
        let version = it.version.as_ref().map_or_else(|| "-".to_owned(), |it| it.version.clone());
        let Some(health) = &it.health else {
            shell.output.note(format!("{name}: {}", harmless(&it.error, false)));
            let dash = || Cell::from("-");
            let state = Cell::painted(Paint::Bad, "no answer");
            table.row([name.into(), state, dash(), dash(), dash(), dash(), version.into(), dash()]);
            continue;
        };
        for problem in &health.problems {
            shell.output.note(format!("{name}: {}", harmless(problem, false)));
        }
        let (paint, word) =
            if health.healthy { (Paint::Good, "healthy") } else { (Paint::Bad, "problems") };
        let state = Cell::painted(paint, word);
        table.row([
            name.into(),
            state,
            format!("{:.2} on {}", health.load1, health.cpus).into(),
            free(health.memory_available_bytes, health.memory_total_bytes).into(),
            free(health.disk_free_bytes, health.disk_total_bytes).into(),
            health.running_containers.to_string().into(),
            version.into(),
            call.unwrap_or_default().into(),
        ]);
    }
    shell.output.table(&table, "no servers yet; `slipway server add` records the first")
}

fn free(free: u64, total: u64) -> String {
    format!("{} of {}", indicatif::BinaryBytes(free), indicatif::BinaryBytes(total))
}
