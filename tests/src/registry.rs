//! An image registry on loopback: Debian's `docker-registry`, open or behind a login. dockerd speaks
//! plain HTTP to loopback by itself.

use std::{fmt::Write as _, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{net::TcpStream, time::Instant};

use crate::process::{Process, Start};

/// User of a registry behind a login.
pub const USER: &str = "sailor";
/// Password of that user; it opens nothing but fixtures.
pub const PASSWORD: &str = "ship-shape";
/// bcrypt of it, which is the one form that the registry takes.
const HTPASSWD: &str = "sailor:$2b$05$85S4Fr1ZbeGZlMuiSTa5ZeL5h9Io2kCUKEt1IJdKJYSVa614/PQoy\n";

const PATIENCE: Duration = Duration::from_secs(30);

/// A registry; it stops with its handle.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    _process: Process,
}

impl Registry {
    /// Starts one that keeps its images below `dir`.
    pub async fn start(dir: &Path, login: bool) -> Result<Self> {
        let address = crate::free_address()?;
        Self::start_at(address, dir, login).await
    }

    /// The same at an address of one's choice.
    pub async fn start_at(address: SocketAddr, dir: &Path, login: bool) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        let path = dir.join("registry.yml");
        std::fs::write(&path, config(address, dir, login)?).context("write registry.yml")?;
        let mut process = Start::new("docker-registry")
            .clean()
            .args(["serve".as_ref(), path.as_os_str()])
            .start(&dir.join("registry.log"))?;
        let start = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if !process.runs() || start.elapsed() > PATIENCE {
                bail!("the registry did not start\n{}", process.tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { address, _process: process })
    }

    /// The full name of an image in it.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

fn config(address: SocketAddr, dir: &Path, login: bool) -> Result<String> {
    let mut text = format!(
        "version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: true\n\
         storage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
        dir.join("images").display()
    );
    if login {
        let path = dir.join("htpasswd");
        std::fs::write(&path, HTPASSWD).context("write htpasswd")?;
        write!(text, "auth:\n  htpasswd:\n    realm: fixtures\n    path: {}\n", path.display())
            .context("write the login")?;
    }
    Ok(text)
}
