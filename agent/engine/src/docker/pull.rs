//! Pulling images.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use http::{HeaderName, Method};
use serde::Deserialize;
use tokio::{sync::mpsc, time::timeout};

use super::{
    Docker, image,
    wire::{Ask, Lines, refused},
};
use crate::{
    error::{Error, Result},
    image::{Credentials, LayerPhase, LayerProgress, PulledImage},
};

const ACT: &str = "pull an image";
/// The longest time without a word. While bytes come in, Docker speaks several times a second.
const IDLE: Duration = Duration::from_mins(2);

/// One message of a pull, or of the pulling part of a build.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message {
    pub(super) stream: Option<String>,
    pub(super) status: Option<String>,
    pub(super) id: Option<String>,
    pub(super) progress_detail: Option<Detail>,
    pub(super) error: Option<String>,
    pub(super) error_detail: Option<ErrorDetail>,
    pub(super) aux: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Detail {
    current: Option<u64>,
    total: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorDetail {
    pub(super) code: Option<i32>,
    pub(super) message: Option<String>,
}

impl Message {
    /// What it says about a layer.
    pub(super) fn layer(&self) -> Option<LayerProgress> {
        let phase = phase(self.status.as_deref()?)?;
        let detail = self.progress_detail.as_ref();
        Some(LayerProgress {
            layer: self.id.clone()?,
            phase,
            current_bytes: detail.and_then(|it| it.current).unwrap_or_default(),
            total_bytes: detail.and_then(|it| it.total).unwrap_or_default(),
        })
    }

    /// What went wrong.
    pub(super) fn failure(&self) -> Option<String> {
        let detail = self.error_detail.as_ref().and_then(|it| it.message.clone());
        detail.or_else(|| self.error.clone())
    }
}

fn phase(status: &str) -> Option<LayerPhase> {
    Some(match status {
        "Pulling fs layer" | "Waiting" => LayerPhase::Waiting,
        "Downloading" => LayerPhase::Downloading,
        "Verifying Checksum" => LayerPhase::Verifying,
        "Download complete" => LayerPhase::Downloaded,
        "Extracting" => LayerPhase::Extracting,
        "Already exists" => LayerPhase::Present,
        "Pull complete" => LayerPhase::Complete,
        _ => return None,
    })
}

pub(super) async fn run(
    docker: &Docker,
    reference: &str,
    credentials: Option<&Credentials>,
    events: mpsc::Sender<LayerProgress>,
) -> Result<PulledImage> {
    let mut digest = None;
    let mut lines = open(docker, reference, credentials).await?;
    loop {
        let next = timeout(IDLE, lines.next()).await;
        let next = next.map_err(|_| Error::Timeout { act: ACT, limit: IDLE })??;
        let Some(message) = next else { break };
        if let Some(words) = message.failure() {
            return Err(failure(reference, 500, words));
        }
        if let Some(it) = message.status.as_deref().and_then(|it| it.strip_prefix("Digest: ")) {
            digest = Some(it.to_owned());
        }
        if let Some(progress) = message.layer() {
            // A listener that has gone does not hurt.
            drop(events.send(progress).await);
        }
    }
    let image = image::inspect(&docker.wire, reference).await?;
    let name = name(reference);
    let digest = match digest {
        Some(it) => format!("{name}@{it}"),
        None => image.digests.into_iter().next().unwrap_or_default(),
    };
    Ok(PulledImage { id: image.id, digest })
}

async fn open(
    docker: &Docker,
    reference: &str,
    credentials: Option<&Credentials>,
) -> Result<Lines<Message>> {
    let mut query = vec![("fromImage", name(reference))];
    match reference.split_once('@') {
        // A digest goes where a tag would; a tag beside it says nothing more.
        Some((_, digest)) => query.push(("tag", digest)),
        None => query.push(("tag", image::split(reference).1.unwrap_or("latest"))),
    }
    let mut ask = Ask::new(ACT, Method::POST, "/images/create").limit(IDLE).query(query);
    if let Some(credentials) = credentials {
        let name = HeaderName::from_static("x-registry-auth");
        ask = ask.header(name, header(credentials));
    }
    docker.wire.stream(ask).await.map_err(|error| match error {
        Error::Refused { status, message, .. } => failure(reference, status, message),
        other => other,
    })
}

fn header(credentials: &Credentials) -> String {
    let Credentials { username, password } = credentials;
    let text = serde_json::json!({ "username": username, "password": password.expose() });
    URL_SAFE.encode(text.to_string())
}

/// The reference without tag and digest.
fn name(reference: &str) -> &str {
    image::split(reference.split_once('@').map_or(reference, |it| it.0)).0
}

/// What Docker's words about a registry mean. They come as text only, partly from the registry.
fn failure(reference: &str, status: u16, message: String) -> Error {
    let low = message.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|it| low.contains(it));
    let reference = reference.to_owned();
    if says(&["no space left on device"]) {
        return refused(ACT, status, message);
    }
    if says(&["invalid reference", "invalid repository name", "repository name must be"]) {
        return Error::reference(&reference, "is not an image reference");
    }
    if says(&["no matching manifest", "does not match the specified platform"]) {
        return Error::reference(&reference, "has no version for this server's processor");
    }
    if says(&["unauthorized", "authentication required", "no basic auth", "denied", "forbidden"]) {
        return Error::RegistryAuth { reference };
    }
    if says(&["manifest unknown", "not found", "name unknown", "no such image"]) {
        return Error::NotAtRegistry { reference };
    }
    if says(&[
        "dial tcp",
        "no such host",
        "timeout",
        "connection re",
        "tls",
        "x509",
        "eof",
        "http",
        "server misbehaving",
        "toomanyrequests",
        "awaiting headers",
        "unavailable",
    ]) {
        return Error::Registry { reference, message };
    }
    refused(ACT, status, message)
}

#[cfg(test)]
mod tests {
    use slipway_host::Secret;

    use super::*;

    #[test]
    fn what_registries_say_is_understood() {
        for (words, code) in [
            ("manifest for x:1 not found: manifest unknown: manifest unknown", "SW-IMAGE-MISSING"),
            (
                "pull access denied for x, repository does not exist or may require 'docker login'",
                "SW-IMAGE-AUTH",
            ),
            (
                "Get http://127.0.0.1:5000/v2/x/manifests/1: no basic auth credentials",
                "SW-IMAGE-AUTH",
            ),
            ("unauthorized: authentication required", "SW-IMAGE-AUTH"),
            (
                "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                "SW-IMAGE-REGISTRY",
            ),
            (
                "Get \"https://r.test/v2/\": dial tcp: lookup r.test: no such host",
                "SW-IMAGE-REGISTRY",
            ),
            ("toomanyrequests: You have reached your pull rate limit", "SW-IMAGE-REGISTRY"),
            ("no matching manifest for linux/amd64 in the manifest list entries", "SW-IMAGE"),
            ("invalid reference format", "SW-IMAGE"),
            ("failed to register layer: write /x: no space left on device", "SW-DISK-FULL"),
            ("the moon is full", "SW-DOCKER-REFUSED"),
        ] {
            assert_eq!(failure("x:1", 500, words.to_owned()).code(), code, "{words}");
        }
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        assert_eq!(name("r.test:5000/a/b:1@sha256:00"), "r.test:5000/a/b");
        assert_eq!(name("nginx:1.27"), "nginx");
    }

    #[test]
    fn credentials_go_into_one_header() {
        let password = Secret::new("p?>".to_owned());
        let header = header(&Credentials { username: "me".to_owned(), password });
        let text = URL_SAFE.decode(header).unwrap();
        assert_eq!(text, br#"{"password":"p?>","username":"me"}"#);
    }
}
