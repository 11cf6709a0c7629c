//! Takes away what apps left in Docker: only what carries our label and our prefix.

use serde::Deserialize;
use serde_json::json;

use crate::cli::Error;

const SOCKET: &str = "/var/run/docker.sock";
const LABEL: &str = "dev.slipway.app";

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
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
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

    fn begins_with(&self, prefix: &str) -> bool {
        let prefix = format!("{prefix}-");
        let slash = format!("{}/", prefix.trim_end_matches('-'));
        let tags = self.repo_tags.iter().flatten();
        self.names
            .iter()
            .chain(tags)
            .chain([&self.name])
            .map(|it| it.trim_start_matches('/'))
            .any(|it| it.starts_with(&prefix) || it.starts_with(&slash))
    }
}

/// Removes everything whose name begins with `prefix`.
pub(super) async fn run(prefix: &str) -> Result<(), Error> {
    let broken = |error: reqwest::Error| {
        Error::local(
            format!("Docker did not do it: {}", slipway_host::Chain(&error)),
            "see `docker ps -a --filter label=dev.slipway.app`",
        )
    };
    let client = reqwest::Client::builder().unix_socket(SOCKET).build().map_err(broken)?;
    let filters = json!({"label": [LABEL]}).to_string();
    for kind in KINDS {
        let url = format!("http://docker/{}", kind.list);
        let request = client.get(url).query(&[("filters", filters.as_str())]);
        let listing: Listing =
            request.send().await.map_err(broken)?.json().await.map_err(broken)?;
        let things = match listing {
            Listing::Things(it) => it,
            Listing::Volumes { volumes } => volumes.unwrap_or_default(),
        };
        for thing in things.iter().filter(|it| it.begins_with(prefix)) {
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

    fn thing(json: serde_json::Value) -> Thing {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn only_names_of_the_prefix_count() {
        let ours = thing(json!({"Id": "1", "Names": ["/slipway-web-web-1-1"]}));
        assert!(ours.begins_with("slipway"));
        assert!(!ours.begins_with("slip"));
        let other = thing(json!({"Id": "2", "Names": ["/slipwayish"]}));
        assert!(!other.begins_with("slipway"));
        let image = thing(json!({"Id": "3", "RepoTags": ["slipway/web:3"]}));
        assert!(image.begins_with("slipway"));
    }

    #[test]
    fn volumes_come_in_an_envelope() {
        let listing: Listing =
            serde_json::from_value(json!({"Volumes": [{"Name": "slipway-a"}], "Warnings": null}))
                .unwrap();
        assert!(matches!(listing, Listing::Volumes { volumes: Some(it) } if it.len() == 1));
    }
}
