//! Where it is measured: a Docker network, an image made of this very program, programs on the host.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use slipway_host::exec::Program;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

const LIMIT: Duration = Duration::from_secs(60);
const IMAGE: &str = "slipway-bench-switch:latest";
const NETWORK: &str = "slipway-bench-switch";
/// Clear of the pool that apps get theirs from.
const SUBNET: &str = "10.213.254.0/24";
const PORT: u16 = 8080;

/// One container.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    /// Its first process, seen from the host.
    pub(super) pid: u32,
}

/// The network and the image.
pub(super) struct Place {
    pub(super) dir: tempfile::TempDir,
    next: AtomicU8,
}

impl Place {
    pub(super) async fn prepare() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        // nginx's workers are another user.
        slipway_host::fs::make_dir(dir.path(), 0o755)?;
        let place = Self { dir, next: AtomicU8::new(0) };
        place.clear().await;
        import(place.dir.path()).await?;
        docker(&["network", "create", "--subnet", SUBNET, NETWORK]).await?;
        Ok(place)
    }

    /// Starts a container and waits until it answers. Names sort in the order of creation.
    pub(super) async fn container(&self) -> anyhow::Result<Container> {
        let nth = self.next.fetch_add(1, Ordering::SeqCst) % 240 + 10;
        let ip = Ipv4Addr::new(10, 213, 254, nth);
        let address = SocketAddr::new(IpAddr::V4(ip), PORT);
        let name = format!("slipway-bench-switch-{nth:03}");
        let (ip, listen) = (ip.to_string(), format!("0.0.0.0:{PORT}"));
        docker(&[
            "run",
            "-d",
            "--name",
            &name,
            "--network",
            NETWORK,
            "--ip",
            &ip,
            "--stop-timeout",
            "10",
            IMAGE,
            "/bench",
            "switch-app",
            "--listen",
            &listen,
            "--name",
            &name,
        ])
        .await?;
        for _ in 0..500 {
            if let Ok(Ok(_)) = timeout(LIMIT, TcpStream::connect(address)).await {
                let pid = docker(&["inspect", "-f", "{{.State.Pid}}", &name]).await?;
                return Ok(Container { name, address, pid: pid.trim().parse()? });
            }
            sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("`{name}` did not answer")
    }

    /// Stops and removes a container.
    pub(super) async fn remove(&self, container: &Container) -> anyhow::Result<()> {
        docker(&["stop", &container.name]).await?;
        docker(&["rm", &container.name]).await?;
        Ok(())
    }

    /// Removes what an earlier run or this one made.
    pub(super) async fn clear(&self) {
        let ours = docker(&["ps", "-aq", "--filter", &format!("network={NETWORK}")]).await;
        for id in ours.unwrap_or_default().split_whitespace() {
            drop(docker(&["rm", "-f", id]).await);
        }
        // These fail when there is none.
        drop(docker(&["network", "rm", NETWORK]).await);
        drop(docker(&["rmi", IMAGE]).await);
    }
}

/// Makes an image of this program and the libraries that it loads.
async fn import(dir: &Path) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let libraries = run("ldd", &[&program.to_string_lossy()]).await?;
    let libraries =
        libraries.lines().filter_map(|it| it.split_whitespace().find(|it| it.starts_with('/')));
    let tar_path = dir.join("image.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&tar_path)?);
    // Docker does not take sparse files.
    tar.sparse(false);
    tar.append_path_with_name(&program, "bench")?;
    for library in libraries {
        let name = library.strip_prefix('/').unwrap_or(library);
        tar.append_path_with_name(std::fs::canonicalize(library)?, name)?;
    }
    tar.into_inner()?.sync_all()?;
    docker(&["import", &tar_path.to_string_lossy(), IMAGE]).await?;
    std::fs::remove_file(&tar_path).context("image.tar")
}

async fn docker(args: &[&str]) -> anyhow::Result<String> {
    run("docker", args).await
}

/// Runs a program that must succeed, and returns what it prints.
pub(super) async fn run(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let output = Program::new(program).args(args).run(LIMIT).await?;
    ensure!(output.ok(), "{program} {args:?}: {}{}", output.stdout, output.stderr);
    Ok(output.stdout)
}

/// A free TCP port of this machine.
pub(super) fn free() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A folder for one candidate's round.
pub(super) fn folder(place: &Place, name: &str) -> anyhow::Result<PathBuf> {
    let dir = place.dir.path().join(name);
    slipway_host::fs::remove_all(&dir)?;
    slipway_host::fs::make_dir(&dir, 0o755)?;
    Ok(dir)
}
