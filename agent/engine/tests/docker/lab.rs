//! A corner of the real Docker that cleans up after itself.

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use slipway_engine::{
    Docker, Engine as _, Error,
    build::{BuildEvent, BuildRequest, Context},
    container::{ContainerSpec, Limits, Restart},
    docker::SOCKET,
    image::ImageId,
    label::{self, Filter, Labels},
    network::{Attachment, NetworkSpec, Subnet},
};
use slipway_host::clock::Clock;
use tokio::sync::mpsc;

/// Statically linked, so that it runs in an empty image.
const BUSYBOX: &str = "/bin/busybox";

/// One test's corner: a network, an image with a shell, and whatever the test makes.
pub(crate) struct Lab {
    pub(crate) docker: Docker,
    /// The app's key, and the first part of all names.
    pub(crate) key: String,
    pub(crate) subnet: Subnet,
    /// An image with a shell.
    pub(crate) image: ImageId,
    pub(crate) base: String,
    hosts: AtomicU32,
}

impl Lab {
    pub(crate) async fn open(name: &str) -> Self {
        let docker = docker();
        let key = format!("enginetest-{name}-{}", std::process::id());
        let base = format!("slipway-{key}/base:1");
        let mut lab = Self {
            docker,
            key,
            subnet: "127.0.0.0/30".parse().unwrap(),
            image: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
            base,
            hosts: AtomicU32::new(0),
        };
        lab.subnet = lab.network().await;
        let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\n\
            RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
        let files =
            [("Dockerfile", dockerfile.into()), ("busybox", std::fs::read(BUSYBOX).unwrap())];
        let request = BuildRequest::new(lab.base.clone(), lab.labels());
        lab.image = lab.build(&request, &files).await.0.unwrap();
        lab
    }

    /// Makes the lab's network where there is room for it.
    async fn network(&self) -> Subnet {
        let pool: Subnet = "10.222.0.0/16".parse().unwrap();
        // Tests run at once; each begins elsewhere.
        let start = usize::try_from(std::process::id()).unwrap() * 7 % 1024;
        for subnet in pool.split(26).skip(start).chain(pool.split(26).take(start)) {
            let spec = NetworkSpec { name: self.name(""), subnet, labels: self.labels() };
            match self.docker.ensure_network(&spec).await {
                Ok(_) => return subnet,
                Err(Error::AddressTaken { .. }) => (),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("no room for a network");
    }

    pub(crate) fn name(&self, tail: &str) -> String {
        format!("slipway-{}{}{tail}", self.key, if tail.is_empty() { "" } else { "-" })
    }

    pub(crate) fn labels(&self) -> Labels {
        BTreeMap::from([(label::APP.to_owned(), self.key.clone())])
    }

    pub(crate) fn ours(&self) -> Filter {
        Filter::app(self.key.clone())
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        let next = self.hosts.fetch_add(1, Ordering::Relaxed);
        self.subnet.hosts().nth(usize::try_from(next).unwrap()).unwrap()
    }

    /// A container that runs a shell script.
    pub(crate) fn spec(&self, name: &str, script: &str) -> ContainerSpec {
        ContainerSpec {
            name: self.name(name),
            image: self.image.clone(),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: BTreeMap::new(),
            labels: self.labels(),
            network: Attachment {
                network: self.name(""),
                address: self.address(),
                aliases: vec![name.to_owned()],
            },
            mounts: Vec::new(),
            limits: Limits { memory_bytes: 64 << 20, ..Limits::default() },
            restart: Restart::Never,
            stop_grace: Duration::from_secs(1),
        }
    }

    /// Makes and starts it; returns its name.
    pub(crate) async fn run(&self, spec: &ContainerSpec) -> String {
        self.docker.create(spec).await.unwrap();
        self.docker.start(&spec.name).await.unwrap();
        spec.name.clone()
    }

    /// Builds from these files; returns what was said as well.
    pub(crate) async fn build(
        &self,
        request: &BuildRequest,
        files: &[(&str, Vec<u8>)],
    ) -> (slipway_engine::Result<ImageId>, Vec<BuildEvent>) {
        let (events, mut heard) = mpsc::channel(16);
        let build = self.docker.build(request, context(files), events);
        let listen = async {
            let mut all = Vec::new();
            while let Some(event) = heard.recv().await {
                all.push(event);
            }
            all
        };
        tokio::join!(build, listen)
    }

    /// A request for this tail of a tag.
    pub(crate) fn request(&self, tail: &str) -> BuildRequest {
        BuildRequest::new(format!("slipway-{}/{tail}:1", self.key), self.labels())
    }

    /// A Dockerfile on the lab's image.
    pub(crate) fn dockerfile(&self, rest: &str) -> [(&'static str, Vec<u8>); 1] {
        [("Dockerfile", format!("FROM {}\n{rest}\n", self.base).into())]
    }
}

/// Runs on a thread of its own, because a test's runtime does not outlive a panic.
impl Drop for Lab {
    fn drop(&mut self) {
        let (filter, network) = (self.ours(), self.name(""));
        let sweep = async move {
            let docker = docker();
            for it in docker.containers(&filter).await.unwrap() {
                docker.remove(&it.id).await.unwrap();
            }
            for it in docker.volumes(&filter).await.unwrap() {
                docker.remove_volume(&it.name).await.unwrap();
            }
            docker.remove_network(&network).await.unwrap();
            // Names first; an image goes with its last one.
            for it in docker.images(&filter).await.unwrap() {
                for name in it.tags.into_iter().chain(it.digests).chain([it.id.to_string()]) {
                    drop(docker.remove_image(&name).await);
                }
            }
        };
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
        let swept = std::thread::spawn(move || runtime().unwrap().block_on(sweep)).join();
        assert!(swept.is_ok() || std::thread::panicking(), "could not clean up");
    }
}

pub(crate) fn docker() -> Docker {
    Docker::new(SOCKET, Clock::system())
}

/// A tar of these files, in small pieces.
pub(crate) fn context(files: &[(&str, Vec<u8>)]) -> Context {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len()).unwrap());
        header.set_mode(0o755);
        tar.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    let tar = Bytes::from(tar.into_inner().unwrap());
    let pieces: Vec<io::Result<Bytes>> =
        tar.chunks(64 << 10).map(|it| Ok(tar.slice_ref(it))).collect();
    stream::iter(pieces).boxed()
}

/// Asks until it is so, for up to 20 s.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    for _ in 0..400 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never came true: {what}");
}
