//! `slipway` and HTTP, as the steps use them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use slipway_host::exec::{Output, Program};
use tokio::time::Instant;

use super::Tell;

const LIMIT: Duration = Duration::from_secs(600);

/// Where the story plays.
#[derive(Debug)]
pub struct Stage {
    /// Everything that the demo makes is below it.
    pub dir: PathBuf,
    /// The voice.
    pub tell: Tell,
    bin: PathBuf,
}

impl Stage {
    /// Makes the folder and finds the programs.
    pub fn open(dir: &Path, tell: Tell) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        let dir = dir.canonicalize().with_context(|| format!("find {}", dir.display()))?;
        let own = std::env::current_exe().context("find this program")?;
        let bin = own.parent().context("this program is nowhere")?.to_owned();
        ensure!(bin.join("slipway").is_file(), "there is no `slipway` in {}", bin.display());
        Ok(Self { dir, tell, bin })
    }

    /// Runs `slipway`, and expects it to succeed.
    pub async fn slipway(&self, args: &[&str]) -> Result<Output> {
        let output = self.try_slipway(args).await?;
        if !output.ok() {
            bail!("`slipway {}` failed:\n{}{}", args.join(" "), output.stdout, output.stderr);
        }
        Ok(output)
    }

    /// Shows the command, runs it, and shows the last of what it said.
    pub async fn show(&self, args: &[&str]) -> Result<Output> {
        self.tell.command(args);
        let output = self.slipway(args).await?;
        Ok(output)
    }

    /// Runs `slipway`, however it ends.
    pub async fn try_slipway(&self, args: &[&str]) -> Result<Output> {
        let mut program = Program::new(self.bin.join("slipway")).args(args);
        for (name, value) in self.vars() {
            program = program.var(name, value);
        }
        program.run(LIMIT).await.context("run slipway")
    }

    /// The variables under which a viewer can go on with the commands.
    pub fn vars(&self) -> [(&'static str, PathBuf); 5] {
        let dir = || self.dir.clone();
        [
            ("XDG_DATA_HOME", dir()),
            ("XDG_CONFIG_HOME", dir()),
            ("XDG_CACHE_HOME", dir()),
            ("SLIPWAY_URL", PathBuf::new()),
            ("SLIPWAY_TOKEN", PathBuf::new()),
        ]
    }

    /// The folder of the programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Where the app of this URL listens.
    pub fn address(url: &str) -> Result<SocketAddr> {
        let host = url.trim().trim_start_matches("http://").trim_end_matches('/');
        host.parse().with_context(|| format!("`{url}` has no address and port"))
    }

    /// Asks a URL until it answers with this text, for a moment; and says so.
    pub async fn expect(&self, url: &str, path: &str, text: &str) -> Result<()> {
        let client = crate::http_client()?;
        let start = Instant::now();
        let url = format!("{}{path}", url.trim().trim_end_matches('/'));
        let got = client.get(&url).timeout(Duration::from_secs(10)).send().await;
        let response = got.with_context(|| format!("ask for {url}"))?;
        let status = response.status();
        let body = response.text().await.context("read the answer")?;
        ensure!(status.is_success() && body.contains(text), "{url} answered {status}: {body}");
        let took = start.elapsed().as_millis();
        self.tell.good(&format!("GET {url} → {status}, `{text}`, {took} ms"));
        Ok(())
    }
}
