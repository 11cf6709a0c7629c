//! Takes away what apps left in Docker: only what carries the label of this installation.

use serde::Deserialize;
use serde_json::json;

use crate::cli::Error;

const SOCKET: &str = "/var/run/docker.sock";
const LABEL: &str = "dev.slipway.instance";

/// A kind of thing in Docker, in the order in which they can be removed.
struct Kind {
    list: &'static str,
    remove: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind { list: "containers/json?all=true", remove: "containers/{}?force=true&v=true" },
    Kind { list: "networks?", remove: "networks/{}" },
    Kind { list: "volumes?", remove: "volumes/{}?force=true" },
    Kind { list: "images/json?", remove: "images/{}?force=true" },
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Thing {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", untagged)]
enum Listing {
    Things(Vec<Thing>),
    #[serde(rename_all = "PascalCase")]
    Volumes {
        volumes: Option<Vec<Thing>>,
    },
}

impl Thing {
    /// What Docker calls it when it is to be removed.
    fn handle(&self) -> &str {
        if self.id.is_empty() { &self.name } else { &self.id }
    }
}

/// Removes everything of the installation whose names begin with `prefix`.
pub(super) async fn run(prefix: &str) -> Result<(), Error> {
    // The client insists on a provider, also where it speaks no TLS; a second one is refused.
    drop(rustls::crypto::ring::default_provider().install_default());
    let broken = |error: reqwest::Error| {
        Error::local(
            format!("Docker did not do it: {}", slipway_host::Chain(&error)),
            "see `docker ps -a --filter label=dev.slipway.instance`",
        )
    };
    let client = reqwest::Client::builder().unix_socket(SOCKET).build().map_err(broken)?;
    let filters = json!({"label": [format!("{LABEL}={prefix}")]}).to_string();
    for kind in KINDS {
        let url = format!("http://docker/{}", kind.list);
        let request = client.get(url).query(&[("filters", filters.as_str())]);
        let listing: Listing =
            request.send().await.map_err(broken)?.json().await.map_err(broken)?;
        let things = match listing {
            Listing::Things(it) => it,
            Listing::Volumes { volumes } => volumes.unwrap_or_default(),
        };
        for thing in things {
            let path = kind.remove.replace("{}", thing.handle());
            // Gone, or in use by something that is not ours: either way it is not ours to force.
            client.delete(format!("http://docker/{path}")).send().await.map_err(broken)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_come_in_an_envelope() {
        let listing: Listing =
            serde_json::from_value(json!({"Volumes": [{"Name": "slipway-a"}], "Warnings": null}))
                .unwrap();
        let Listing::Volumes { volumes: Some(volumes) } = listing else { panic!("no volumes") };
        assert_eq!(volumes[0].handle(), "slipway-a");
    }
}
