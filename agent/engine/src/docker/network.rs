//! Networks.

use std::time::Duration;

use bollard::models;
use http::Method;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    plan,
    wire::{Ask, Wire, segment},
};
use crate::{
    error::{Error, Object, Result},
    network::{Network, NetworkSpec},
};

const LIMIT: Duration = Duration::from_mins(1);

pub(super) async fn ensure(wire: &Wire, spec: &NetworkSpec) -> Result<Network> {
    if !plan::is_name(&spec.name) {
        return Err(Error::argument("network", &spec.name, "is not a name"));
    }
    if let Some(found) = find(wire, &spec.name).await? {
        return same(found, spec);
    }
    let ask = Ask::new("make a network", Method::POST, "/networks/create").limit(LIMIT);
    let reply = wire.call(ask.json(&wish(spec))?).await?;
    if reply.message().contains("overlaps") {
        let (name, message) = (spec.name.clone(), reply.message());
        return Err(Error::AddressTaken { what: Object::Network, name, message });
    }
    if reply.status != 409 {
        reply.ok()?;
    }
    // Made by us, or (409) by somebody who was faster.
    match find(wire, &spec.name).await? {
        Some(found) => same(found, spec),
        None => Err(Error::missing(Object::Network, &spec.name)),
    }
}

/// What Docker is told. By hand, because `CheckDuplicate`, which interfaces before 1.44 need to
/// refuse a second network of the same name, is no longer in the client's type.
fn wish(spec: &NetworkSpec) -> serde_json::Value {
    json!({
        "Name": spec.name,
        "CheckDuplicate": true,
        "Driver": "bridge",
        "Internal": false,
        "Attachable": false,
        "EnableIPv6": false,
        "IPAM": {
            "Driver": "default",
            "Config": [{
                "Subnet": spec.subnet.to_string(),
                "Gateway": spec.subnet.gateway().to_string(),
            }],
        },
        "Options": {
            "com.docker.network.bridge.name": bridge(&spec.name),
            "com.docker.network.bridge.enable_icc": "true",
        },
        "Labels": spec.labels,
    })
}

/// Name of the bridge: always the same for a network, so that firewall rules can name it, and
/// within the kernel's 15 characters.
fn bridge(network: &str) -> String {
    let digits = hex::encode(Sha256::digest(network));
    format!("sw-{}", digits.get(..12).unwrap_or_default())
}

fn same(found: Network, spec: &NetworkSpec) -> Result<Network> {
    if found.subnets == [spec.subnet] {
        return Ok(found);
    }
    Err(Error::Taken { what: Object::Network, name: spec.name.clone() })
}

async fn find(wire: &Wire, name: &str) -> Result<Option<Network>> {
    let path = format!("/networks/{}", segment(name));
    let reply = wire.call(Ask::new("describe a network", Method::GET, path)).await?;
    if reply.status == 404 {
        return Ok(None);
    }
    let found = network(reply.json()?);
    // Docker also finds by the beginning of an id.
    Ok((found.name == name).then_some(found))
}

pub(super) async fn list(wire: &Wire) -> Result<Vec<Network>> {
    let ask = Ask::new("list networks", Method::GET, "/networks");
    let all: Vec<models::Network> = wire.call(ask).await?.json()?;
    Ok(all.into_iter().map(network).collect())
}

pub(super) async fn remove(wire: &Wire, name: &str) -> Result<()> {
    let path = format!("/networks/{}", segment(name));
    let reply = wire.call(Ask::new("remove a network", Method::DELETE, path).limit(LIMIT)).await?;
    match reply.status {
        404 => Ok(()),
        403 | 409 if reply.message().contains("active endpoints") => {
            Err(Error::InUse { what: Object::Network, name: name.to_owned() })
        }
        _ => reply.ok(),
    }
}

fn network(it: models::Network) -> Network {
    let configs = it.ipam.and_then(|it| it.config).unwrap_or_default();
    Network {
        id: it.id.unwrap_or_default(),
        name: it.name.unwrap_or_default(),
        // What is not IPv4 cannot collide with ours.
        subnets: configs.iter().filter_map(|it| it.subnet.as_deref()?.parse().ok()).collect(),
        labels: it.labels.unwrap_or_default().into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_named_after_its_network_within_15_characters() {
        assert_eq!(bridge("slipway-web"), bridge("slipway-web"));
        assert_ne!(bridge("slipway-web"), bridge("slipway-api"));
        assert_eq!(bridge("slipway-web").len(), 15);
    }
}
