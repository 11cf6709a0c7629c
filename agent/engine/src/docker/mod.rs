//! The real Docker, over its unix socket.
//!
//! * [`wire`]: requests over a pool of connections, each with a deadline.
//! * [`plan`]: what Docker is told for a container: the pure function that holds the isolation.
//! * [`build`], [`pull`], [`image`], [`network`], [`volume`], [`container`], [`events`]: the calls.
//! * [`logs`]: output, read past the HTTP client, or straight from Docker's files.
//! * [`measure`]: figures about the above, for the benchmark.
//!
//! The client library, bollard, gives us the types of Docker's answers and the sessions of
//! `BuildKit`. Requests go over a wire of our own because the library opens a connection per call,
//! never names the interface version that it was told to use, knows build limits only below 2 GiB,
//! logs whole bodies (variables are secrets), and reads output at less than half of the speed.

mod build;
mod container;
mod events;
mod image;
mod logs;
pub mod measure;
mod network;
mod plan;
mod pull;
mod volume;
mod wire;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration, time::SystemTime};

use bollard::models;
use http::Method;
use slipway_host::clock::Clock;
use tokio::sync::mpsc;

pub use plan::{CAPABILITIES, LOG_FILE_SIZE, LOG_FILES};
use wire::{Ask, Wire};

use crate::{
    build::{BuildEvent, BuildRequest, Context},
    container::{Container, ContainerSpec, ContainerSummary, Restart},
    engine::{Engine, Info},
    error::Result,
    event::Events,
    image::{Credentials, Image, ImageId, LayerProgress, PulledImage},
    label::Filter,
    logs::{LogLine, LogQuery, Logs},
    network::{Network, NetworkSpec},
    volume::Volume,
};

/// Where Docker listens when nothing else is said.
pub const SOCKET: &str = "/var/run/docker.sock";

/// The real Docker. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Docker {
    wire: Arc<Wire>,
    clock: Clock,
}

impl Docker {
    /// The Docker behind this socket. Does not connect yet: a daemon that is away now, or goes away
    /// and comes back, needs nothing done about it.
    pub fn new(socket: impl Into<PathBuf>, clock: Clock) -> Self {
        Self { wire: Arc::new(Wire::new(socket.into())), clock }
    }
}

impl fmt::Debug for Docker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Docker({})", self.wire.socket().display())
    }
}

impl Engine for Docker {
    async fn ping(&self) -> Result<()> {
        let ask = Ask::new("answer", Method::GET, "/_ping").limit(Duration::from_secs(5));
        self.wire.call(ask).await?.ok()
    }

    async fn info(&self) -> Result<Info> {
        let api = self.wire.api().await?.to_string();
        let ask = Ask::new("describe itself", Method::GET, "/info");
        let info: models::SystemInfo = self.wire.call(ask).await?.json()?;
        let number = |it: Option<i64>| it.and_then(|it| u64::try_from(it).ok()).unwrap_or_default();
        let cgroup = match info.cgroup_version {
            Some(models::SystemInfoCgroupVersionEnum::_2) => 2,
            _ => 1,
        };
        Ok(Info {
            version: info.server_version.unwrap_or_default(),
            api,
            architecture: info.architecture.as_deref().map(architecture).unwrap_or_default(),
            cpus: u32::try_from(number(info.ncpu)).unwrap_or(u32::MAX),
            memory_bytes: number(info.mem_total),
            root: info.docker_root_dir.unwrap_or_default().into(),
            storage_driver: info.driver.unwrap_or_default(),
            log_driver: info.logging_driver.unwrap_or_default(),
            cgroup,
            live_restore: info.live_restore_enabled.unwrap_or_default(),
            warnings: info.warnings.unwrap_or_default(),
        })
    }

    async fn build(
        &self,
        request: &BuildRequest,
        context: Context,
        events: mpsc::Sender<BuildEvent>,
    ) -> Result<ImageId> {
        build::run(self, request, context, events).await
    }

    async fn pull(
        &self,
        reference: &str,
        credentials: Option<&Credentials>,
        events: mpsc::Sender<LayerProgress>,
    ) -> Result<PulledImage> {
        pull::run(self, reference, credentials, events).await
    }

    async fn image(&self, image: &str) -> Result<Image> {
        image::inspect(&self.wire, image).await
    }

    async fn tag(&self, image: &ImageId, tag: &str) -> Result<()> {
        image::tag(&self.wire, image, tag).await
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        image::remove(&self.wire, image).await
    }

    async fn images(&self, filter: &Filter) -> Result<Vec<Image>> {
        image::list(&self.wire, filter).await
    }

    async fn ensure_network(&self, spec: &NetworkSpec) -> Result<Network> {
        network::ensure(&self.wire, spec).await
    }

    async fn networks(&self) -> Result<Vec<Network>> {
        network::list(&self.wire).await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        network::remove(&self.wire, name).await
    }

    async fn ensure_volume(&self, volume: &Volume) -> Result<()> {
        volume::ensure(&self.wire, volume).await
    }

    async fn volumes(&self, filter: &Filter) -> Result<Vec<Volume>> {
        volume::list(&self.wire, filter).await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        volume::remove(&self.wire, name).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String> {
        container::create(&self.wire, spec).await
    }

    async fn start(&self, container: &str) -> Result<()> {
        container::start(&self.wire, container).await
    }

    async fn stop(&self, container: &str, grace: Duration) -> Result<()> {
        container::stop(&self.wire, container, grace).await
    }

    async fn kill(&self, container: &str) -> Result<()> {
        container::kill(&self.wire, container).await
    }

    async fn remove(&self, container: &str) -> Result<()> {
        container::remove(&self.wire, container).await
    }

    async fn set_restart(&self, container: &str, restart: Restart) -> Result<()> {
        container::set_restart(&self.wire, container, restart).await
    }

    async fn inspect(&self, container: &str) -> Result<Container> {
        container::inspect(&self.wire, container).await
    }

    async fn containers(&self, filter: &Filter) -> Result<Vec<ContainerSummary>> {
        container::list(&self.wire, filter).await
    }

    async fn wait(&self, container: &str) -> Result<i32> {
        container::wait(&self.wire, container).await
    }

    async fn logs(&self, container: &str, query: &LogQuery) -> Result<Logs> {
        logs::read(&self.wire, container, query).await
    }

    async fn last_lines(&self, container: &str, count: u32) -> Result<Vec<LogLine>> {
        logs::last(&self.wire, container, count).await
    }

    async fn events(&self, since: Option<SystemTime>) -> Result<Events> {
        events::follow(&self.wire, since.unwrap_or_else(|| self.clock.now())).await
    }
}

/// The processor as images name it.
fn architecture(machine: &str) -> String {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
    .to_owned()
}
