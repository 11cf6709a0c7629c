//! This machine's Docker, as far as fixtures need it.

use std::{collections::HashMap, path::Path};

use anyhow::{Context as _, Result, bail};
use bollard::{
    Docker,
    auth::DockerCredentials,
    query_parameters::{
        CreateImageOptionsBuilder, ListContainersOptionsBuilder, PushImageOptionsBuilder,
        RemoveImageOptionsBuilder, TagImageOptionsBuilder,
    },
};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::fs::File;
use tokio_util::codec::{BytesCodec, FramedRead};

/// Label of the images that fixtures make.
pub const LABEL: &str = "dev.slipway.fixture";

/// Connects to this machine's Docker and asks whether it is there.
pub async fn connect() -> Result<Docker> {
    let docker = Docker::connect_with_unix_defaults().context("find Docker's socket")?;
    docker.ping().await.context("dockerd does not answer; run `packaging/dev/prepare test`")?;
    docker.negotiate_version().await.context("agree with dockerd on a version")
}

/// Whether an image of this name is here.
pub async fn has_image(docker: &Docker, name: &str) -> bool {
    docker.inspect_image(name).await.is_ok()
}

/// Makes an image of one layer from a tar of a root file system.
pub async fn import(docker: &Docker, tar: &Path, name: &str, changes: &[&str]) -> Result<()> {
    let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(repository)
        .tag(tag)
        .changes(changes.iter().map(|it| (*it).to_owned()).collect())
        .build();
    let file = File::open(tar).await.with_context(|| format!("open {}", tar.display()))?;
    let chunks = FramedRead::with_capacity(file, BytesCodec::new(), 256 << 10);
    let body = bollard::body_try_stream(chunks.map_ok(Bytes::from));
    let steps = docker.create_image(Some(options), Some(body), None);
    steps.try_collect::<Vec<_>>().await.with_context(|| format!("import {name}"))?;
    if !has_image(docker, name).await {
        bail!("Docker took {} but has no image {name}", tar.display());
    }
    Ok(())
}

/// Gives an image another name and pushes it.
pub async fn push(
    docker: &Docker,
    image: &str,
    target: &str,
    login: Option<(&str, &str)>,
) -> Result<()> {
    let (repository, tag) = target.rsplit_once(':').context("a target needs a tag")?;
    let tagged = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
    docker.tag_image(image, Some(tagged)).await.with_context(|| format!("tag {target}"))?;
    let credentials = login.map(|(username, password)| DockerCredentials {
        username: Some(username.to_owned()),
        password: Some(password.to_owned()),
        ..DockerCredentials::default()
    });
    let options = PushImageOptionsBuilder::default().tag(tag).build();
    let mut steps = docker.push_image(repository, Some(options), credentials);
    while let Some(step) = steps.next().await {
        let step = step.with_context(|| format!("push {target}"))?;
        if let Some(error) = step.error_detail {
            bail!("push {target}: {}", error.message.unwrap_or_default());
        }
    }
    Ok(())
}

/// Removes a name of an image, and the image with its last one.
pub async fn remove_image(docker: &Docker, name: &str) {
    let options = RemoveImageOptionsBuilder::default().force(true).build();
    // Gone is what was asked for.
    drop(docker.remove_image(name, Some(options), None).await);
}

/// Whether an image was made by [`crate::base`]. Images that are built on it inherit its label, so
/// only names that are asked for may be judged by it.
pub async fn is_fixture(docker: &Docker, name: &str) -> bool {
    let inspected = docker.inspect_image(name).await.ok();
    let labels = inspected.and_then(|it| it.config).and_then(|it| it.labels);
    labels.is_some_and(|it| it.contains_key(LABEL))
}

/// Names of the containers that carry a label, running or not.
pub async fn containers(docker: &Docker, label: &str) -> Result<Vec<String>> {
    let filters = HashMap::from([("label", vec![label])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let found = docker.list_containers(Some(options)).await.context("list containers")?;
    let names = found.into_iter().filter_map(|it| it.names?.into_iter().next());
    Ok(names.map(|it| it.trim_start_matches('/').to_owned()).collect())
}
