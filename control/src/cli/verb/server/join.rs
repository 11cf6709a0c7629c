//! A machine that comes, and one that goes.

use std::time::Duration;

use slipway_proto::control::v1 as wire;

use super::Shell;
use crate::cli::{Error, connect::Client, output::json};

/// Runs `add`.
pub(super) async fn add(
    client: &Client,
    name: String,
    ttl: Option<Duration>,
    shell: &Shell<'_>,
) -> Result<(), Error> {
    let ttl = ttl.map(prost_types::Duration::try_from).transpose();
    let ttl = ttl.map_err(|_| Error::Usage("`--ttl` is too long".to_owned()))?;
    let request = wire::AddServerRequest { name, ttl };
    let answer = client.servers().add_server(request).await?.into_inner();
    if shell.output.json() {
        return shell.output.document(&json::message("AddServerResponse", &answer));
    }
    let server = answer.server.unwrap_or_default();
    shell.output.note(format!(
        "`{}` is recorded; write the token below into a file there, and run as root:\n  \
         slipway-agent enroll --control HOST:7443 --token-file FILE\n  systemctl start slipway-agent\n\
         the token opens the door once, and is shown only now:",
        server.name
    ));
    shell.output.line(answer.join_token)
}

/// Runs `rm`.
pub(super) async fn remove(
    client: &Client,
    server: String,
    force: bool,
    shell: &Shell<'_>,
) -> Result<(), Error> {
    shell.output.confirm(&format!("Forget `{server}` and revoke its certificates?"))?;
    let request = wire::RemoveServerRequest { server: server.clone(), force };
    client.servers().remove_server(request).await?;
    shell.output.note(format!("`{server}` is forgotten; what runs there goes on running"));
    Ok(())
}
