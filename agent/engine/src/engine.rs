//! What the agent asks of Docker.

use std::{path::PathBuf, time::Duration, time::SystemTime};

use tokio::sync::mpsc;

use crate::{
    build::{BuildEvent, BuildRequest, Context},
    container::{Container, ContainerSpec, ContainerSummary, Restart},
    error::Result,
    event::Events,
    image::{Credentials, Image, ImageId, LayerProgress, PulledImage},
    label::Filter,
    logs::{LogLine, LogQuery, Logs},
    network::{Network, NetworkSpec},
    volume::Volume,
};

/// What the agent asks of Docker.
///
/// Calls are single attempts with a deadline of their own; [`Error::retry`](crate::Error::retry)
/// says whether another can help. `create`, `ensure_…`, `start`, `stop`, `kill` and `remove_…` may
/// be repeated: what is already so is success. Containers, networks and volumes are named by name
/// or by Docker's id. Dropping a future stops the waiting; of `build` and `pull` also the work.
pub trait Engine: Send + Sync + 'static {
    /// Whether Docker answers.
    fn ping(&self) -> impl Future<Output = Result<()>> + Send;

    /// What Docker says about itself.
    fn info(&self) -> impl Future<Output = Result<Info>> + Send;

    /// Builds an image from a tar.
    ///
    /// Waits for room in `events`; a listener that has gone does not hurt. A build that fails,
    /// takes too long or is dropped leaves neither containers nor a tag.
    fn build(
        &self,
        request: &BuildRequest,
        context: Context,
        events: mpsc::Sender<BuildEvent>,
    ) -> impl Future<Output = Result<ImageId>> + Send;

    /// Pulls an image, with a report per layer. A reference without tag or digest means `latest`.
    fn pull(
        &self,
        reference: &str,
        credentials: Option<&Credentials>,
        events: mpsc::Sender<LayerProgress>,
    ) -> impl Future<Output = Result<PulledImage>> + Send;

    /// Describes an image, by id or reference. [`Error::Missing`](crate::Error::Missing) when it
    /// is not on this machine.
    fn image(&self, image: &str) -> impl Future<Output = Result<Image>> + Send;

    /// Gives an image another name, which moves when it was another image's.
    fn tag(&self, image: &ImageId, tag: &str) -> impl Future<Output = Result<()>> + Send;

    /// Removes a name, or an image with its last name; never by force.
    /// [`Error::InUse`](crate::Error::InUse) while a container needs it.
    fn remove_image(&self, image: &str) -> impl Future<Output = Result<()>> + Send;

    /// Lists images by their labels, newest first.
    fn images(&self, filter: &Filter) -> impl Future<Output = Result<Vec<Image>>> + Send;

    /// Makes an app's network, or finds it. [`Error::Taken`](crate::Error::Taken) when it has
    /// other addresses; [`Error::AddressTaken`](crate::Error::AddressTaken) when another network
    /// has these.
    fn ensure_network(&self, spec: &NetworkSpec) -> impl Future<Output = Result<Network>> + Send;

    /// Lists all networks, also those that are not ours, so that no subnet is given twice.
    fn networks(&self) -> impl Future<Output = Result<Vec<Network>>> + Send;

    /// Removes a network. [`Error::InUse`](crate::Error::InUse) while containers run on it.
    fn remove_network(&self, name: &str) -> impl Future<Output = Result<()>> + Send;

    /// Makes a named volume, or finds it.
    fn ensure_volume(&self, volume: &Volume) -> impl Future<Output = Result<()>> + Send;

    /// Lists volumes by their labels.
    fn volumes(&self, filter: &Filter) -> impl Future<Output = Result<Vec<Volume>>> + Send;

    /// Removes a volume with what is in it. [`Error::InUse`](crate::Error::InUse) while a
    /// container has it.
    fn remove_volume(&self, name: &str) -> impl Future<Output = Result<()>> + Send;

    /// Makes a container and returns its id. A container of that name made from the same spec is
    /// returned as it is, running or not; [`Error::Taken`](crate::Error::Taken) for another.
    fn create(&self, spec: &ContainerSpec) -> impl Future<Output = Result<String>> + Send;

    /// Starts a container. Success when it runs already.
    fn start(&self, container: &str) -> impl Future<Output = Result<()>> + Send;

    /// Sends the stop signal, waits `grace`, kills, and waits for the end. Success when it does
    /// not run or does not exist.
    fn stop(&self, container: &str, grace: Duration) -> impl Future<Output = Result<()>> + Send;

    /// Kills a container. Success when it does not run or does not exist.
    fn kill(&self, container: &str) -> impl Future<Output = Result<()>> + Send;

    /// Kills and removes a container with its unnamed volumes. Success when it does not exist.
    fn remove(&self, container: &str) -> impl Future<Output = Result<()>> + Send;

    /// Changes what happens when a container ends.
    fn set_restart(
        &self,
        container: &str,
        restart: Restart,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Describes a container.
    fn inspect(&self, container: &str) -> impl Future<Output = Result<Container>> + Send;

    /// Lists containers by their labels, stopped ones as well, ordered by name.
    fn containers(
        &self,
        filter: &Filter,
    ) -> impl Future<Output = Result<Vec<ContainerSummary>>> + Send;

    /// Waits until a container does not run, and returns its exit code. No deadline.
    fn wait(&self, container: &str) -> impl Future<Output = Result<i32>> + Send;

    /// Streams a container's output. Lines come at the reader's pace.
    fn logs(&self, container: &str, query: &LogQuery) -> impl Future<Output = Result<Logs>> + Send;

    /// The last lines of a container, oldest first.
    fn last_lines(
        &self,
        container: &str,
        count: u32,
    ) -> impl Future<Output = Result<Vec<LogLine>>> + Send;

    /// Follows what happens to our containers, from `since` or from now. When the stream ends, for
    /// whatever reason, the caller asks again with the time of the last event.
    fn events(&self, since: Option<SystemTime>) -> impl Future<Output = Result<Events>> + Send;
}

/// What Docker says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Info {
    /// Version of the daemon.
    pub version: String,
    /// Version of its interface that we speak.
    pub api: String,
    /// Processor: `amd64`, `arm64`.
    pub architecture: String,
    /// CPUs that it sees.
    pub cpus: u32,
    /// Memory that it sees, in bytes.
    pub memory_bytes: u64,
    /// Where it keeps images, volumes and output.
    pub root: PathBuf,
    /// How layers are stored.
    pub storage_driver: String,
    /// Where output goes when nothing else is said.
    pub log_driver: String,
    /// Version of the kernel's control groups: 1 or 2.
    pub cgroup: u32,
    /// Whether containers outlive a restart of the daemon.
    pub live_restore: bool,
    /// What the daemon warns about.
    pub warnings: Vec<String>,
}
