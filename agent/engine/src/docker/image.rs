//! Images that are here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models;
use http::Method;

use super::wire::{Ask, Wire};
use crate::{
    error::{Error, Object, Result},
    image::{Image, ImageConfig, ImageId},
    label::Filter,
};

const LIMIT: Duration = Duration::from_mins(2);

/// A reference within a path. Docker's router takes its slashes; other odd signs are escaped.
fn path(reference: &str, tail: &str) -> Result<String> {
    let plain = |it: char| it.is_ascii_alphanumeric() || "._-/:@".contains(it);
    if reference.is_empty() || !reference.chars().all(plain) || reference.contains("..") {
        return Err(Error::reference(reference, "is not an image reference"));
    }
    Ok(format!("/images/{reference}{tail}"))
}

pub(super) async fn inspect(wire: &Wire, reference: &str) -> Result<Image> {
    let ask = Ask::new("describe an image", Method::GET, path(reference, "/json")?);
    let reply = wire.call(ask).await?;
    if reply.status == 404 {
        return Err(Error::missing(Object::Image, reference));
    }
    let it: models::ImageInspect = reply.json()?;
    let labels = it.config.as_ref().and_then(|it| it.labels.clone()).unwrap_or_default();
    Ok(Image {
        id: it.id.unwrap_or_default().parse()?,
        tags: tags(it.repo_tags.unwrap_or_default()),
        digests: it.repo_digests.unwrap_or_default(),
        size_bytes: it.size.and_then(|it| u64::try_from(it).ok()).unwrap_or_default(),
        created_at: it.created.map_or(UNIX_EPOCH, SystemTime::from),
        labels: labels.into_iter().collect(),
        config: config(it.config.unwrap_or_default(), it.architecture.unwrap_or_default()),
    })
}

fn config(it: models::ImageConfig, architecture: String) -> ImageConfig {
    let ports = it.exposed_ports.unwrap_or_default();
    let port = |text: &String| {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        port.parse().ok().filter(|_| protocol == "tcp")
    };
    let mut tcp_ports: Vec<u16> = ports.iter().filter_map(port).collect();
    tcp_ports.sort_unstable();
    let variable = |it: String| match it.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (it, String::new()),
    };
    // `NONE` turns off what a base image brought.
    let check = it.healthcheck.and_then(|it| it.test).unwrap_or_default();
    ImageConfig {
        tcp_ports,
        user: it.user.unwrap_or_default(),
        entrypoint: it.entrypoint.unwrap_or_default(),
        command: it.cmd.unwrap_or_default(),
        workdir: it.working_dir.unwrap_or_default(),
        env: it.env.unwrap_or_default().into_iter().map(variable).collect(),
        volumes: it.volumes.unwrap_or_default(),
        healthcheck: check.first().is_some_and(|it| it != "NONE"),
        architecture,
    }
}

/// Without the word that Docker has for "none".
fn tags(mut tags: Vec<String>) -> Vec<String> {
    tags.retain(|it| it != "<none>:<none>");
    tags
}

pub(super) async fn tag(wire: &Wire, image: &ImageId, tag: &str) -> Result<()> {
    let (name, tag) = split(tag);
    let ask = Ask::new("tag an image", Method::POST, path(image.as_str(), "/tag")?)
        .query([("repo", name), ("tag", tag.unwrap_or("latest"))]);
    let reply = wire.call(ask).await?;
    match reply.status {
        404 => Err(Error::missing(Object::Image, image.as_str())),
        400 => Err(Error::reference(name, "is not a name for an image")),
        _ => reply.ok(),
    }
}

/// Name and tag. A colon before a slash belongs to a port.
pub(super) fn split(reference: &str) -> (&str, Option<&str>) {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (reference, None),
    }
}

pub(super) async fn remove(wire: &Wire, reference: &str) -> Result<()> {
    let ask = Ask::new("remove an image", Method::DELETE, path(reference, "")?).limit(LIMIT);
    let reply = wire.call(ask).await?;
    match reply.status {
        404 => Ok(()),
        409 => Err(Error::InUse { what: Object::Image, name: reference.to_owned() }),
        _ => reply.ok(),
    }
}

pub(super) async fn list(wire: &Wire, filter: &Filter) -> Result<Vec<Image>> {
    let ask = Ask::new("list images", Method::GET, "/images/json")
        .query([("filters", super::container::filters(filter))]);
    let all: Vec<models::ImageSummary> = wire.call(ask).await?.json()?;
    let mut images = Vec::with_capacity(all.len());
    for it in all {
        let created = Duration::from_secs(u64::try_from(it.created).unwrap_or_default());
        images.push(Image {
            id: it.id.parse()?,
            tags: tags(it.repo_tags),
            digests: it.repo_digests.into_iter().filter(|it| it != "<none>@<none>").collect(),
            size_bytes: u64::try_from(it.size).unwrap_or_default(),
            created_at: UNIX_EPOCH + created,
            labels: it.labels.into_iter().collect(),
            config: ImageConfig::default(),
        });
    }
    images.sort_by_key(|it| std::cmp::Reverse(it.created_at));
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_not_a_tag() {
        assert_eq!(split("nginx"), ("nginx", None));
        assert_eq!(split("nginx:1.27"), ("nginx", Some("1.27")));
        assert_eq!(split("localhost:5000/web"), ("localhost:5000/web", None));
        assert_eq!(split("localhost:5000/web:2"), ("localhost:5000/web", Some("2")));
    }

    #[test]
    fn a_reference_cannot_become_another_path() {
        assert_eq!(path("a/b:1", "/json").unwrap(), "/images/a/b:1/json");
        for bad in ["", "../containers/x", "a b", "a?force=1", "a%2e"] {
            assert!(path(bad, "").is_err(), "{bad}");
        }
    }
}
