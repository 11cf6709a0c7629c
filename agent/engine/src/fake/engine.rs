//! The fake as an engine.

use std::time::{Duration, SystemTime};

use futures::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::{
    Fake,
    script::Call,
    world::{self, Contained},
};
use crate::{
    build::{BuildEvent, BuildRequest, Context},
    container::{Container, ContainerSpec, ContainerSummary, Restart, Status},
    engine::{Engine, Info},
    error::{Error, Object, Result},
    event::{Events, What},
    image::{Credentials, Image, ImageId, LayerPhase, LayerProgress, PulledImage},
    label::{self, Filter},
    logs::{LogLine, LogQuery, Logs},
    network::{Network, NetworkSpec},
    volume::Volume,
};

impl Engine for Fake {
    async fn ping(&self) -> Result<()> {
        self.enter(Call::Ping, "").await
    }

    async fn info(&self) -> Result<Info> {
        self.enter(Call::Info, "").await?;
        Ok(Info {
            version: "20.10.24".to_owned(),
            api: "1.41".to_owned(),
            architecture: "amd64".to_owned(),
            cpus: 2,
            memory_bytes: 4 << 30,
            root: "/".into(),
            storage_driver: "overlay2".to_owned(),
            log_driver: "json-file".to_owned(),
            cgroup: 2,
            live_restore: true,
            warnings: Vec::new(),
        })
    }

    async fn build(
        &self,
        request: &BuildRequest,
        mut context: Context,
        events: mpsc::Sender<BuildEvent>,
    ) -> Result<ImageId> {
        self.enter(Call::Build, &request.tag).await?;
        let mut hash = Sha256::new();
        hash.update(format!("{} {:?} {}", request.dockerfile, request.labels, request.tag));
        while let Some(piece) = context.next().await {
            hash.update(piece.map_err(|source| Error::Context { source })?);
        }
        let script = self.change(|world| world.builds.pop_front()).unwrap_or_default();
        for line in script.lines {
            // A listener that has gone does not hurt.
            drop(events.send(BuildEvent::Line(line)).await);
        }
        if let Some((message, exit_code)) = script.failure {
            return Err(Error::Build { message, exit_code });
        }
        hash.update(format!("{:?}", script.config));
        let id = world::image_id(&hex::encode(hash.finalize()));
        let mut image = world::image(&request.tag, script.config, self.clock.now());
        image.id = id.clone();
        image.labels = request.labels.clone();
        image.digests.clear();
        self.change(|world| {
            untag(world, &request.tag);
            world.behaviors.insert(id.clone(), script.behavior);
            world.images.insert(id.clone(), image);
        });
        Ok(id)
    }

    async fn pull(
        &self,
        reference: &str,
        credentials: Option<&Credentials>,
        events: mpsc::Sender<LayerProgress>,
    ) -> Result<PulledImage> {
        self.enter(Call::Pull, reference).await?;
        let found = self.lock().registry.get(&world::tagged(reference)).cloned();
        let (image, wanted) =
            found.ok_or_else(|| Error::NotAtRegistry { reference: reference.to_owned() })?;
        if let Some(wanted) = wanted {
            let same = credentials
                .is_some_and(|it| it.username == wanted.username && it.password == wanted.password);
            if !same {
                return Err(Error::RegistryAuth { reference: reference.to_owned() });
            }
        }
        for phase in [LayerPhase::Downloading, LayerPhase::Extracting, LayerPhase::Complete] {
            let total_bytes = image.size_bytes;
            let layer = image.id.short().to_owned();
            let progress = LayerProgress { layer, phase, current_bytes: total_bytes, total_bytes };
            // A listener that has gone does not hurt.
            drop(events.send(progress).await);
        }
        let pulled = PulledImage {
            id: image.id.clone(),
            digest: image.digests.first().cloned().unwrap_or_default(),
        };
        self.change(|world| world.images.insert(image.id.clone(), image));
        Ok(pulled)
    }

    async fn image(&self, image: &str) -> Result<Image> {
        self.enter(Call::Image, image).await?;
        self.find_image(image)
    }

    async fn tag(&self, image: &ImageId, tag: &str) -> Result<()> {
        self.enter(Call::Tag, tag).await?;
        self.change(|world| {
            world.image(image.as_str())?;
            untag(world, tag);
            if let Some(it) = world.images.get_mut(image) {
                it.tags.push(world::tagged(tag));
            }
            Ok(())
        })
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        self.enter(Call::RemoveImage, image).await?;
        self.change(|world| {
            let Ok(id) = world.image(image).map(|it| it.id.clone()) else { return Ok(()) };
            if id.as_str() != image {
                let others = world.image(image).is_ok_and(|it| it.tags.len() > 1);
                if others {
                    untag(world, image);
                    return Ok(());
                }
            }
            if world.containers.values().any(|it| it.spec.image == id) {
                return Err(Error::InUse { what: Object::Image, name: image.to_owned() });
            }
            world.images.remove(&id);
            Ok(())
        })
    }

    async fn images(&self, filter: &Filter) -> Result<Vec<Image>> {
        self.enter(Call::Images, "").await?;
        let mut images: Vec<_> =
            self.lock().images.values().filter(|it| filter.matches(&it.labels)).cloned().collect();
        images.sort_by_key(|it| std::cmp::Reverse(it.created_at));
        Ok(images)
    }

    async fn ensure_network(&self, spec: &NetworkSpec) -> Result<Network> {
        self.enter(Call::EnsureNetwork, &spec.name).await?;
        self.change(|world| {
            if let Some(it) = world.networks.get(&spec.name) {
                if it.subnets == [spec.subnet] {
                    return Ok(it.clone());
                }
                return Err(Error::Taken { what: Object::Network, name: spec.name.clone() });
            }
            let taken = world.networks.values().flat_map(|it| &it.subnets);
            if let Some(other) = taken.copied().find(|it| it.overlaps(spec.subnet)) {
                return Err(Error::AddressTaken {
                    what: Object::Network,
                    name: spec.name.clone(),
                    message: format!("overlaps with {other}"),
                });
            }
            let network = Network {
                id: world.id(),
                name: spec.name.clone(),
                subnets: vec![spec.subnet],
                labels: spec.labels.clone(),
            };
            world.networks.insert(spec.name.clone(), network.clone());
            Ok(network)
        })
    }

    async fn networks(&self) -> Result<Vec<Network>> {
        self.enter(Call::Networks, "").await?;
        Ok(self.lock().networks.values().cloned().collect())
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.enter(Call::RemoveNetwork, name).await?;
        self.change(|world| {
            let mut runs = world.containers.values().filter(|it| it.seen.running());
            if runs.any(|it| it.spec.network.network == name) {
                return Err(Error::InUse { what: Object::Network, name: name.to_owned() });
            }
            world.networks.remove(name);
            Ok(())
        })
    }

    async fn ensure_volume(&self, volume: &Volume) -> Result<()> {
        self.enter(Call::EnsureVolume, &volume.name).await?;
        self.change(|world| {
            world.volumes.entry(volume.name.clone()).or_insert_with(|| volume.clone());
        });
        Ok(())
    }

    async fn volumes(&self, filter: &Filter) -> Result<Vec<Volume>> {
        self.enter(Call::Volumes, "").await?;
        Ok(self.lock().volumes.values().filter(|it| filter.matches(&it.labels)).cloned().collect())
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.enter(Call::RemoveVolume, name).await?;
        self.change(|world| {
            let mut mounts = world.containers.values().flat_map(|it| &it.spec.mounts);
            if mounts.any(|it| it.volume == name) {
                return Err(Error::InUse { what: Object::Volume, name: name.to_owned() });
            }
            world.volumes.remove(name);
            Ok(())
        })
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String> {
        self.enter(Call::Create, &spec.name).await?;
        let at = self.clock.now();
        self.change(|world| {
            if let Ok(it) = world.container(&spec.name) {
                if it.spec.fingerprint() == spec.fingerprint() {
                    return Ok(it.seen.id.clone());
                }
                return Err(Error::Taken { what: Object::Container, name: spec.name.clone() });
            }
            world.image(spec.image.as_str())?;
            let attachment = &spec.network;
            if !world.networks.contains_key(&attachment.network) {
                return Err(Error::missing(Object::Network, &attachment.network));
            }
            let id = world.id();
            world.containers.insert(spec.name.clone(), contained(spec, id.clone(), at));
            world.report(&spec.name, at, What::Created);
            Ok(id)
        })
    }

    async fn start(&self, container: &str) -> Result<()> {
        self.enter(Call::Start, container).await?;
        self.address_free(container)?;
        self.run(container).await
    }

    async fn stop(&self, container: &str, _grace: Duration) -> Result<()> {
        self.enter(Call::Stop, container).await?;
        self.halt(container, 143).await
    }

    async fn kill(&self, container: &str) -> Result<()> {
        self.enter(Call::Kill, container).await?;
        self.halt(container, 137).await
    }

    async fn remove(&self, container: &str) -> Result<()> {
        self.enter(Call::Remove, container).await?;
        self.halt(container, 137).await?;
        let at = self.clock.now();
        self.change(|world| {
            world.report(container, at, What::Removed);
            world.containers.retain(|_, it| it.seen.name != container && it.seen.id != container);
        });
        Ok(())
    }

    async fn set_restart(&self, container: &str, restart: Restart) -> Result<()> {
        self.enter(Call::SetRestart, container).await?;
        self.edit(container, |it| it.restart = restart)
    }

    async fn inspect(&self, container: &str) -> Result<Container> {
        self.enter(Call::Inspect, container).await?;
        self.lock().container(container).map(|it| it.seen.clone())
    }

    async fn containers(&self, filter: &Filter) -> Result<Vec<ContainerSummary>> {
        self.enter(Call::Containers, "").await?;
        let world = self.lock();
        let ours = world.containers.values().filter(|it| filter.matches(&it.seen.labels));
        Ok(ours.map(|it| summary(&it.seen)).collect())
    }

    async fn wait(&self, container: &str) -> Result<i32> {
        self.enter(Call::Wait, container).await?;
        let mut changes = self.changed.subscribe();
        loop {
            let seen = self.lock().container(container)?.seen.clone();
            if let (false, Some(code)) = (seen.running(), seen.exit_code) {
                return Ok(code);
            }
            if changes.changed().await.is_err() {
                return Err(Self::missing(container));
            }
        }
    }

    async fn logs(&self, container: &str, query: &LogQuery) -> Result<Logs> {
        self.enter(Call::Logs, container).await?;
        let all = self.lock().container(container)?.lines.len();
        let from =
            query.tail.map_or(0, |it| all.saturating_sub(usize::try_from(it).unwrap_or(all)));
        let state = (self.clone(), container.to_owned(), *query, from, self.changed.subscribe());
        let boots = self.lock().boots;
        Ok(stream::unfold(state, move |(fake, name, query, from, mut changes)| async move {
            loop {
                let (new, runs) = fake.lines_from(&name, from, boots);
                let seen = from + new.len();
                let wanted: Vec<_> = new.into_iter().filter(|it| meant(it, &query)).collect();
                if !wanted.is_empty() {
                    return Some((Ok(wanted), (fake, name, query, seen, changes)));
                }
                if !query.follow || !runs || changes.changed().await.is_err() {
                    return None;
                }
            }
        })
        .boxed())
    }

    async fn last_lines(&self, container: &str, count: u32) -> Result<Vec<LogLine>> {
        self.enter(Call::LastLines, container).await?;
        let mut world = self.lock();
        let lines = &world.container(container)?.lines;
        let from = lines.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(lines.iter().skip(from).cloned().collect())
    }

    async fn events(&self, since: Option<SystemTime>) -> Result<Events> {
        self.enter(Call::Events, "").await?;
        let (from, boots) = {
            let world = self.lock();
            let old = |at| world.events.iter().take_while(|it| it.at < at).count();
            (since.map_or(world.events.len(), old), world.boots)
        };
        let state = (self.clone(), from, self.changed.subscribe());
        Ok(stream::unfold(state, move |(fake, from, mut changes)| async move {
            loop {
                let (next, alive) = {
                    let world = fake.lock();
                    (world.events.get(from).cloned(), world.boots == boots)
                };
                match next {
                    Some(it) if alive => return Some((Ok(it), (fake, from + 1, changes))),
                    _ if !alive || changes.changed().await.is_err() => return None,
                    _ => (),
                }
            }
        })
        .boxed())
    }
}

impl Fake {
    fn address_free(&self, container: &str) -> Result<()> {
        let mut world = self.lock();
        let it = world.container(container)?;
        let (name, wanted) = (it.seen.name.clone(), it.spec.network.clone());
        let clash = world.containers.values().any(|it| {
            it.seen.running() && it.seen.name != name && it.spec.network.address == wanted.address
        });
        if clash {
            let message = format!("{} is in use", wanted.address);
            return Err(Error::AddressTaken { what: Object::Container, name, message });
        }
        Ok(())
    }

    /// A container's lines from this one on, and whether more can come.
    fn lines_from(&self, container: &str, from: usize, boots: u32) -> (Vec<LogLine>, bool) {
        let mut world = self.lock();
        let alive = world.boots == boots;
        match world.container(container) {
            Ok(it) => (it.lines.iter().skip(from).cloned().collect(), alive && it.seen.running()),
            Err(_) => (Vec::new(), false),
        }
    }
}

fn meant(line: &LogLine, query: &LogQuery) -> bool {
    query.since.is_none_or(|it| it <= line.at) && query.until.is_none_or(|it| line.at < it)
}

fn untag(world: &mut world::World, tag: &str) {
    let tag = world::tagged(tag);
    for image in world.images.values_mut() {
        image.tags.retain(|it| *it != tag);
    }
}

fn contained(spec: &ContainerSpec, id: String, at: SystemTime) -> Contained {
    let mut labels = spec.labels.clone();
    labels.insert(label::SPEC.to_owned(), spec.fingerprint());
    let seen = Container {
        id,
        name: spec.name.clone(),
        image: spec.image.clone(),
        labels,
        status: Status::Created,
        exit_code: None,
        oom_killed: false,
        health: None,
        address: Some(spec.network.address),
        restart_count: 0,
        pid: None,
        error: None,
        created_at: at,
        started_at: None,
        finished_at: None,
    };
    let (restart, spec) = (spec.restart, spec.clone());
    Contained { spec, restart, seen, lines: Vec::new(), task: None, starts: 0 }
}

fn summary(seen: &Container) -> ContainerSummary {
    ContainerSummary {
        id: seen.id.clone(),
        name: seen.name.clone(),
        image: seen.image.clone(),
        labels: seen.labels.clone(),
        status: seen.status,
        address: seen.address,
        created_at: seen.created_at,
    }
}
