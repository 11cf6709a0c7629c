//! This machine becomes the server `local`, by the same steps as any other: recorded, given a token
//! for one use, enrolled.

use std::{path::Path, time::Duration};

use serde_json::json;
use slipway_host::{exec::Program, fs};
use slipway_proto::control::v1 as wire;

use super::{
    place::{self, Place, Settings},
    process,
};
use crate::cli::{Error, connect::Client};

/// Name of the server.
pub(super) const SERVER: &str = "local";

const LIMIT: Duration = Duration::from_secs(60);

/// Enrolls unless it is done.
pub(super) async fn ensure(
    client: &Client,
    place: &Place,
    settings: &Settings,
    agent: &Path,
) -> Result<(), Error> {
    let servers =
        client.servers().list_servers(wire::ListServersRequest {}).await?.into_inner().servers;
    let known = servers.iter().find(|it| it.name == SERVER);
    let joined = known.is_some_and(|it| !it.agent_id.is_empty());
    // The agent's own word for it: the identity is in its state folder.
    if joined && has_identity(&place.agent_dir()) {
        return Ok(());
    }
    if has_identity(&place.agent_dir()) {
        // Of a server that the control plane does not know (any more).
        seal(place, agent).await?;
    }
    if known.is_some() {
        // Its token is used up or lost, or its identity is: begin again.
        let request = wire::RemoveServerRequest { server: SERVER.to_owned(), force: true };
        client.servers().remove_server(request).await?;
    }
    let request = wire::AddServerRequest { name: SERVER.to_owned(), ttl: None };
    let answer = client.servers().add_server(request).await?.into_inner();
    let join = json!({"control": settings.grpc.to_string(), "token": answer.join_token});
    place::write(&place.join_file(), &join.to_string())?;
    let joined = run(place, agent, &["enroll"]).await;
    // Whatever happened, a token is not left behind.
    let path = place.join_file();
    fs::remove(&path).map_err(|source| Error::File { action: "remove", path, source })?;
    joined
}

/// Wipes an identity that is good for nothing; apps are not touched.
async fn seal(place: &Place, agent: &Path) -> Result<(), Error> {
    if let Some(mark) = process::find(place, "agent")? {
        mark.stop(LIMIT).await?;
    }
    run(place, agent, &["seal", "--force"]).await
}

async fn run(place: &Place, agent: &Path, args: &[&str]) -> Result<(), Error> {
    let program = Program::new(agent).args(args).arg("--config").arg(place.agent_toml());
    let output = program
        .run(LIMIT)
        .await
        .map_err(|error| Error::local(slipway_host::Chain(&error).to_string(), ""))?;
    if output.ok() {
        return Ok(());
    }
    let said = output.stderr.trim();
    Err(Error::local(format!("`slipway-agent {}` failed: {said}", args.join(" ")), ""))
}

fn has_identity(state_dir: &Path) -> bool {
    std::fs::read_dir(state_dir.join("pki")).is_ok_and(|mut it| it.next().is_some())
}
