//! A whole installation of its own on this machine, started by `slipway dev up` and used through
//! `slipway`, as a person would: a control plane, an agent, a traffic switch, an nginx. It is gone
//! with its handle.
//!
//! * [`Lab`]: start, use, kill, start again.
//! * [`Said`]: what a command printed.
//! * [`App`]: an app as `slipway ls` shows it.

mod kill;
mod said;

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use slipway_host::exec::Program;
use tempfile::TempDir;
use tokio::process::Child;

pub use kill::Part;
pub use said::Said;

use crate::{base, docker, process::Start};

/// The longest that a command may take.
const LIMIT: Duration = Duration::from_secs(300);
/// Ports for apps without a domain, of each lab.
const APP_PORTS: u16 = 40;

/// An installation.
#[derive(Debug)]
pub struct Lab {
    dir: TempDir,
    bin: PathBuf,
    apps_port: u16,
}

/// An app as `slipway ls` shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct App {
    /// Name.
    pub app: String,
    /// Release that serves.
    pub release: u64,
    /// Where it answers.
    pub urls: Vec<String>,
    /// How its last deployment stands.
    pub last_deployment: String,
}

/// Where a program finds an app.
#[derive(Clone, Debug)]
pub struct Place {
    /// Address and port.
    pub address: SocketAddr,
    /// Value of `Host`.
    pub host: String,
}

impl Lab {
    /// Starts one, with base images in place.
    pub async fn start() -> Result<Self> {
        let docker = docker::connect().await?;
        base::ensure(&docker, &base::cache()).await?;
        // Short, because unix sockets will be in it; readable, because nginx's workers reach in.
        let dir =
            tempfile::Builder::new().prefix("sw-").tempdir_in("/tmp").context("make a folder")?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), mode).context("open the folder")?;
        let lab = Self { dir, bin: programs()?, apps_port: crate::free_address()?.port() };
        let (first, second) = (lab.number(), lab.number() / 7);
        let ports = app_ports()?;
        let flags = [
            ("--http-port", crate::free_address()?.port().to_string()),
            ("--grpc-port", crate::free_address()?.port().to_string()),
            ("--agent-port", crate::free_address()?.port().to_string()),
            ("--apps-port", lab.apps_port.to_string()),
            ("--app-ports", format!("{ports}-{}", ports + APP_PORTS - 1)),
            ("--name-prefix", format!("swlab{first}")),
            ("--network-pool", format!("10.{}.{}.0/20", 128 + first % 64, second % 16 * 16)),
            ("--context-name", "lab".to_owned()),
        ];
        let flags = flags.iter().flat_map(|(flag, value)| [*flag, value.as_str()]);
        let args: Vec<&str> = ["dev", "up"].into_iter().chain(flags).collect();
        lab.slipway(&args).await?.done()?;
        Ok(lab)
    }

    /// A number that other labs of this moment hardly have.
    fn number(&self) -> u32 {
        let name = self.dir.path().to_string_lossy().into_owned();
        name.bytes()
            .fold(std::process::id(), |sum, it| sum.wrapping_mul(31).wrapping_add(it.into()))
            % 10_000
    }

    /// Starts what of it does not run, with the settings that it has.
    pub async fn up(&self) -> Result<()> {
        self.slipway(&["dev", "up"]).await?.done()
    }

    /// Folder of its state and logs.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().join("slipway/dev")
    }

    /// A folder for whatever a test needs.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `slipway` with these arguments to its end.
    pub async fn slipway(&self, args: &[&str]) -> Result<Said> {
        self.slipway_with(&[], args).await
    }

    /// The same with variables.
    pub async fn slipway_with(&self, vars: &[(&str, &str)], args: &[&str]) -> Result<Said> {
        let mut program = Program::new(self.bin.join("slipway")).args(args);
        for (name, value) in self.vars().iter().chain(vars) {
            program = program.var(name, value);
        }
        let output = program.run(LIMIT).await.context("run slipway")?;
        Ok(Said::new(args, output))
    }

    /// Starts `slipway` with these arguments; what it prints goes to a file.
    pub fn slipway_in_background(&self, args: &[&str], output: &Path) -> Result<Child> {
        let file = std::fs::File::create(output).context("make a file")?;
        let mut start = Start::new(self.bin.join("slipway")).args(args);
        for (name, value) in self.vars() {
            start = start.var(name, value);
        }
        let errors = file.try_clone().context("copy a file handle")?;
        start.command().stdout(file).stderr(errors).spawn().context("start slipway")
    }

    /// Deploys, and expects it to succeed.
    pub async fn deploy(&self, args: &[&str]) -> Result<Said> {
        let args: Vec<&str> = ["deploy"].iter().chain(args).copied().collect();
        let said = self.slipway(&args).await?;
        ensure!(said.code == 0, "{said}\n{}", self.logs());
        Ok(said)
    }

    /// An app.
    pub async fn app(&self, name: &str) -> Result<App> {
        let said = self.slipway(&["ls", "--json"]).await?;
        said.done()?;
        let apps: Vec<App> = serde_json::from_str(&said.stdout).context("read `ls --json`")?;
        apps.into_iter()
            .find(|it| it.app == name)
            .with_context(|| format!("there is no app {name}"))
    }

    /// Where an app answers.
    pub async fn place(&self, name: &str) -> Result<Place> {
        let app = self.app(name).await?;
        let url = app.urls.first().with_context(|| format!("{name} answers nowhere"))?;
        let url: reqwest::Url = url.parse().with_context(|| format!("read {url}"))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        // A domain is served on the port for names, whatever its public URL leaves out.
        let address = match host.parse() {
            Ok(ip) => SocketAddr::new(ip, port),
            Err(_) => SocketAddr::from(([127, 0, 0, 1], self.apps_port)),
        };
        Ok(Place { address, host: format!("{host}:{port}") })
    }

    /// Asks an app, and gives status and body.
    pub async fn get(&self, place: &Place, path: &str) -> Result<(u16, String)> {
        let client = crate::http_client()?;
        let request = client
            .get(format!("http://{}{path}", place.address))
            .header("host", &place.host)
            .timeout(Duration::from_secs(30));
        let response = request.send().await.with_context(|| format!("ask for {path}"))?;
        let status = response.status().as_u16();
        Ok((status, response.text().await.context("read the answer")?))
    }

    /// Ends of the logs of all programs.
    pub fn logs(&self) -> String {
        let log = |it: &str| crate::process::tail(&self.dir().join(format!("log/{it}.log")), 25);
        ["control", "agent", "proxy"].map(log).join("\n")
    }

    fn vars(&self) -> [(&'static str, &str); 6] {
        let dir = self.dir.path().to_str().unwrap_or("/nonexistent");
        [
            ("XDG_DATA_HOME", dir),
            ("XDG_CONFIG_HOME", dir),
            ("XDG_CACHE_HOME", dir),
            ("SLIPWAY_YES", "1"),
            ("SLIPWAY_URL", ""),
            ("SLIPWAY_TOKEN", ""),
        ]
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "there is no runtime to wait on in a drop")]
        let mut command = std::process::Command::new(self.bin.join("slipway"));
        command.args(["dev", "down", "--purge"]).envs(self.vars());
        match command.output() {
            Ok(output) if output.status.success() => (),
            other => tracing::warn!(?other, "a lab was not taken away"),
        }
    }
}

/// The folder of `slipway` and `slipway-agent`, which the test before us built.
fn programs() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    let folder = own.ancestors().skip(1).find(|it| it.join("slipway").is_file());
    let folder = folder.context("`slipway` is not built; run `cargo build --workspace --bins`")?;
    ensure!(folder.join("slipway-agent").is_file(), "`slipway-agent` is not built");
    Ok(folder.to_owned())
}

/// The first of some ports in a row that nobody has.
fn app_ports() -> Result<u16> {
    let free = |port: u16| TcpListener::bind(("0.0.0.0", port)).is_ok();
    let start = u16::try_from(std::process::id() % 200).unwrap_or(0);
    for step in 0..200 {
        let first = 21_000 + (start + step) % 200 * APP_PORTS;
        if (first..first + APP_PORTS).all(free) {
            return Ok(first);
        }
    }
    bail!("no {APP_PORTS} ports in a row are free")
}
