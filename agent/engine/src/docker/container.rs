//! Containers.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::models;
use http::Method;

use super::{
    plan,
    wire::{Ask, Reply, Wire, segment},
};
use crate::{
    container::{Container, ContainerSpec, ContainerSummary, Health, Restart, Status},
    error::{Error, Object, Result},
    label::{self, Filter},
    network,
};

const CREATE: Duration = Duration::from_mins(1);
/// Starting waits for the network namespace and may wait for the disk.
const START: Duration = Duration::from_mins(2);
/// Removing waits for the end of the process and for the disk.
const REMOVE: Duration = Duration::from_mins(2);
/// What Docker itself needs on top of the grace.
const STOP_SLACK: Duration = Duration::from_mins(1);

/// A filter as Docker wants it in a query.
pub(super) fn filters(filter: &Filter) -> String {
    serde_json::json!({ "label": filter.terms() }).to_string()
}

fn path(container: &str, tail: &str) -> String {
    format!("/containers/{}{tail}", segment(container))
}

pub(super) async fn create(wire: &Wire, spec: &ContainerSpec) -> Result<String> {
    let body = plan::body(spec)?;
    let ask = Ask::new("make a container", Method::POST, "/containers/create")
        .limit(CREATE)
        .query([("name", &spec.name)])
        .json(&body)?;
    let reply = wire.call(ask).await?;
    match reply.status {
        404 => Err(Error::missing(Object::Image, spec.image.as_str())),
        409 => found(inspect(wire, &spec.name).await?, spec, &reply),
        _ => {
            let made: models::ContainerCreateResponse = reply.json()?;
            for warning in made.warnings {
                tracing::debug!(container = %spec.name, warning, "Docker warned about a container");
            }
            Ok(made.id)
        }
    }
}

/// The container that has the name already, if it is the one that was meant.
fn found(it: Container, spec: &ContainerSpec, reply: &Reply) -> Result<String> {
    if matches!(it.status, Status::Removing | Status::Dead) {
        // It will be gone soon.
        let message = reply.message();
        return Err(Error::Refused { act: "make a container", status: 503, message });
    }
    if it.labels.get(label::SPEC) != Some(&spec.fingerprint()) {
        return Err(Error::Taken { what: Object::Container, name: spec.name.clone() });
    }
    Ok(it.id)
}

pub(super) async fn start(wire: &Wire, container: &str) -> Result<()> {
    let ask = Ask::new("start a container", Method::POST, path(container, "/start")).limit(START);
    let reply = wire.call(ask).await?;
    if matches!(reply.status, 200..=299 | 304) {
        return Ok(());
    }
    let (message, name) = (reply.message(), container.to_owned());
    let says = |part: &str| message.to_ascii_lowercase().contains(part);
    Err(if reply.status == 404 && says("no such container") {
        Error::missing(Object::Container, container)
    } else if says("no space left on device") {
        Error::DiskFull { act: "start a container" }
    } else if says("address already in use") {
        Error::AddressTaken { what: Object::Container, name, message }
    } else if reply.status < 500 || says("runtime create failed") || says("exec format error") {
        Error::Start { name, message }
    } else {
        reply.refused()
    })
}

pub(super) async fn stop(wire: &Wire, container: &str, grace: Duration) -> Result<()> {
    let seconds = grace.as_millis().div_ceil(1000).to_string();
    let ask = Ask::new("stop a container", Method::POST, path(container, "/stop"))
        .limit(grace.saturating_add(STOP_SLACK))
        .query([("t", seconds)]);
    gone_is_fine(wire.call(ask).await?)
}

pub(super) async fn kill(wire: &Wire, container: &str) -> Result<()> {
    let ask = Ask::new("kill a container", Method::POST, path(container, "/kill"))
        .limit(STOP_SLACK)
        .query([("signal", "SIGKILL")]);
    let reply = wire.call(ask).await?;
    match reply.status {
        // It does not run.
        409 => Ok(()),
        _ => gone_is_fine(reply),
    }
}

pub(super) async fn remove(wire: &Wire, container: &str) -> Result<()> {
    let act = "remove a container";
    let again = async {
        loop {
            let ask = Ask::new(act, Method::DELETE, path(container, ""))
                .limit(REMOVE)
                .query([("force", "1"), ("v", "1")]);
            let reply = wire.call(ask).await?;
            // Another removal is under way; ours ends when that one does.
            if reply.status != 409 || !reply.message().contains("already in progress") {
                return gone_is_fine(reply);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let late = |_| Error::Timeout { act, limit: REMOVE };
    tokio::time::timeout(REMOVE, again).await.map_err(late)?
}

fn gone_is_fine(reply: Reply) -> Result<()> {
    match reply.status {
        404 => Ok(()),
        _ => reply.ok(),
    }
}

pub(super) async fn set_restart(wire: &Wire, container: &str, restart: Restart) -> Result<()> {
    let body = models::ContainerUpdateBody {
        restart_policy: Some(plan::restart_policy(restart)),
        ..Default::default()
    };
    let ask = Ask::new("change a container", Method::POST, path(container, "/update"));
    exists(wire.call(ask.json(&body)?).await?, container)?.ok()
}

fn exists(reply: Reply, container: &str) -> Result<Reply> {
    match reply.status {
        404 => Err(Error::missing(Object::Container, container)),
        _ => Ok(reply),
    }
}

/// What Docker says about a container, unread.
pub(super) async fn raw(wire: &Wire, container: &str) -> Result<models::ContainerInspectResponse> {
    let ask = Ask::new("describe a container", Method::GET, path(container, "/json"));
    exists(wire.call(ask).await?, container)?.json()
}

pub(super) async fn inspect(wire: &Wire, container: &str) -> Result<Container> {
    let it = raw(wire, container).await?;
    let state = it.state.unwrap_or_default();
    let status = status(&state.status.map(|it| it.to_string()).unwrap_or_default());
    let started_at = time(state.started_at.as_deref());
    let ended = started_at.is_some() && !matches!(status, Status::Running | Status::Paused);
    let code = state.exit_code.and_then(|it| i32::try_from(it).ok());
    Ok(Container {
        id: it.id.unwrap_or_default(),
        name: it.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        image: it.image.unwrap_or_default().parse()?,
        labels: it.config.and_then(|it| it.labels).unwrap_or_default().into_iter().collect(),
        status,
        exit_code: code.filter(|_| ended),
        oom_killed: state.oom_killed.unwrap_or_default(),
        health: state.health.and_then(|it| it.status).and_then(|it| health(it.as_ref())),
        address: address(it.network_settings.and_then(|it| it.networks)),
        restart_count: it.restart_count.and_then(|it| u32::try_from(it).ok()).unwrap_or_default(),
        pid: state.pid.and_then(|it| u32::try_from(it).ok()).filter(|it| *it != 0),
        error: state.error.filter(|it| !it.is_empty()),
        created_at: it.created.map_or(UNIX_EPOCH, SystemTime::from),
        started_at,
        finished_at: time(state.finished_at.as_deref()),
    })
}

pub(super) async fn list(wire: &Wire, filter: &Filter) -> Result<Vec<ContainerSummary>> {
    let ask = Ask::new("list containers", Method::GET, "/containers/json")
        .query([("all", "1"), ("filters", filters(filter).as_str())]);
    let all: Vec<models::ContainerSummary> = wire.call(ask).await?.json()?;
    let mut containers = Vec::with_capacity(all.len());
    for it in all {
        let name = it.names.unwrap_or_default().into_iter().next().unwrap_or_default();
        let created = it.created.and_then(|it| u64::try_from(it).ok()).unwrap_or_default();
        containers.push(ContainerSummary {
            id: it.id.unwrap_or_default(),
            name: name.trim_start_matches('/').to_owned(),
            image: it.image_id.unwrap_or_default().parse()?,
            labels: it.labels.unwrap_or_default().into_iter().collect(),
            status: status(&it.state.map(|it| it.to_string()).unwrap_or_default()),
            address: address(it.network_settings.and_then(|it| it.networks)),
            created_at: UNIX_EPOCH + Duration::from_secs(created),
        });
    }
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(containers)
}

pub(super) async fn wait(wire: &Wire, container: &str) -> Result<i32> {
    let act = "wait for a container";
    let ask = Ask::new(act, Method::POST, path(container, "/wait"));
    let answer: Result<super::wire::Lines<models::ContainerWaitResponse>> = wire.stream(ask).await;
    let mut answer = match answer {
        Err(Error::Refused { status: 404, .. }) => {
            return Err(Error::missing(Object::Container, container));
        }
        other => other?,
    };
    let Some(ended) = answer.next().await? else {
        return Err(super::wire::away(act, "it closed the connection"));
    };
    Ok(i32::try_from(ended.status_code).unwrap_or(i32::MAX))
}

/// What Docker's word means. A word that is not known yet cannot mean that it runs.
fn status(word: &str) -> Status {
    // "stopping", of newer daemons, still runs.
    if word == "stopping" {
        Status::Running
    } else {
        Status::from_word(word).unwrap_or(Status::Dead)
    }
}

pub(super) fn health(word: &str) -> Option<Health> {
    Some(match word {
        "starting" => Health::Starting,
        "healthy" => Health::Healthy,
        "unhealthy" => Health::Unhealthy,
        _ => return None,
    })
}

/// The address that it has; when it does not run, the one that it will have.
fn address(
    networks: Option<HashMap<String, models::EndpointSettings>>,
) -> Option<std::net::Ipv4Addr> {
    let mut endpoints = networks.unwrap_or_default().into_values();
    let one = |it: models::EndpointSettings| {
        let now = it.ip_address.as_deref().and_then(network::ipv4);
        now.or_else(|| it.ipam_config?.ipv4_address.as_deref().and_then(network::ipv4))
    };
    endpoints.find_map(one)
}

/// A time of Docker's; its zero time is none.
fn time(text: Option<&str>) -> Option<SystemTime> {
    let time = super::logs::time::parse(text?.as_bytes())?;
    (UNIX_EPOCH < time).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_never_ran_has_no_times() {
        assert_eq!(time(Some("0001-01-01T00:00:00Z")), None);
        assert!(time(Some("2026-11-21T12:00:00.5Z")).is_some());
    }

    #[test]
    fn a_word_that_is_not_known_does_not_mean_running() {
        assert_eq!(status("running"), Status::Running);
        assert_eq!(status("levitating"), Status::Dead);
    }
}
