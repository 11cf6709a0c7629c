//! What the fake knows.

use std::{
    collections::{BTreeMap, VecDeque},
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::script::{Behavior, BuildScript, Call, Failure, Latch};
use crate::{
    container::{Container, ContainerSpec, Restart},
    error::{Error, Object, Result},
    event::{Event, What},
    image::{Credentials, Image, ImageConfig, ImageId},
    logs::LogLine,
    network::Network,
    volume::Volume,
};

/// Everything there is.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) images: BTreeMap<ImageId, Image>,
    pub(super) behaviors: BTreeMap<ImageId, Behavior>,
    pub(super) registry: BTreeMap<String, (Image, Option<Credentials>)>,
    pub(super) builds: VecDeque<BuildScript>,
    pub(super) networks: BTreeMap<String, Network>,
    pub(super) volumes: BTreeMap<String, Volume>,
    pub(super) containers: BTreeMap<String, Contained>,
    pub(super) events: Vec<Event>,
    pub(super) failures: Vec<Failure>,
    pub(super) latches: Vec<(Call, Latch)>,
    pub(super) calls: Vec<String>,
    pub(super) down: bool,
    /// How often the daemon went away; streams of an earlier life have ended.
    pub(super) boots: u32,
    next_id: u64,
}

/// A container and what runs in it.
#[derive(Debug)]
pub(super) struct Contained {
    pub(super) spec: ContainerSpec,
    pub(super) restart: Restart,
    pub(super) seen: Container,
    pub(super) lines: Vec<LogLine>,
    /// What plays its program while it runs.
    pub(super) task: Option<Task>,
    /// How often it was started; a program of an earlier start has no say.
    pub(super) starts: u32,
}

/// A task that ends with its owner.
#[derive(Debug)]
pub(super) struct Task(pub(super) JoinHandle<()>);

impl Task {
    /// Ends it, and returns when what it held is free.
    pub(super) async fn end(mut self) {
        self.0.abort();
        // Its outcome is always "aborted" or "done".
        drop((&mut self.0).await);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl World {
    /// A container by name or id.
    pub(super) fn container(&mut self, name: &str) -> Result<&mut Contained> {
        self.containers
            .values_mut()
            .find(|it| it.seen.name == name || it.seen.id == name)
            .ok_or_else(|| Error::missing(Object::Container, name))
    }

    /// An image by id or reference.
    pub(super) fn image(&self, image: &str) -> Result<&Image> {
        let tag = tagged(image);
        self.images
            .values()
            .find(|it| {
                it.id.as_str() == image || it.tags.contains(&tag) || it.digests.contains(&tag)
            })
            .ok_or_else(|| Error::missing(Object::Image, image))
    }

    pub(super) fn report(&mut self, container: &str, at: SystemTime, what: What) {
        if let Ok(it) = self.container(container) {
            let Container { id, name, labels, .. } = it.seen.clone();
            self.events.push(Event { at, id, name, labels, what });
        }
    }

    pub(super) fn id(&mut self) -> String {
        self.next_id += 1;
        hex::encode(Sha256::digest(self.next_id.to_be_bytes()))
    }
}

/// An image of that name, whose id follows from the name and the config.
pub(super) fn image(tag: &str, config: ImageConfig, created_at: SystemTime) -> Image {
    let tag = tagged(tag);
    let digest = hex::encode(Sha256::digest(format!("{tag} {config:?}")));
    let name = tag.split_once('@').map_or_else(|| untagged(&tag), |it| it.0);
    Image {
        id: image_id(&digest),
        digests: vec![format!("{name}@sha256:{digest}")],
        tags: if tag.contains('@') { Vec::new() } else { vec![tag] },
        size_bytes: 1 << 20,
        created_at,
        labels: BTreeMap::new(),
        config,
    }
}

/// The id that these 64 hex digits make.
pub(super) fn image_id(digits: &str) -> ImageId {
    let parsed = format!("sha256:{digits}").parse();
    #[expect(clippy::expect_used, reason = "64 hex digits of a hash, in a fake")]
    parsed.expect("64 hex digits make an image id")
}

/// The reference with `:latest` where nothing is said.
pub(super) fn tagged(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    if last.contains([':', '@']) { reference.to_owned() } else { format!("{reference}:latest") }
}

fn untagged(reference: &str) -> &str {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => reference,
    }
}
