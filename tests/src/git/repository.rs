//! A repository with commits made from folders.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use slipway_host::exec::Program;

const LIMIT: Duration = Duration::from_secs(60);

/// A bare repository.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
}

impl Repository {
    /// Makes one, with `main` as its default branch.
    pub(super) async fn init(path: PathBuf) -> Result<Self> {
        let made = Self { path };
        let init = Program::new("git").args(["init", "--quiet", "--bare", "--initial-branch=main"]);
        run(init.arg(&made.path)).await?;
        made.git(["config", "http.receivepack", "false"]).await?;
        // Commits may be asked for by their id.
        made.git(["config", "uploadpack.allowAnySHA1InWant", "true"]).await?;
        Ok(made)
    }

    /// Commits what is in `folder` to `branch`, and tells the commit's id.
    pub async fn commit(&self, folder: &Path, branch: &str, message: &str) -> Result<String> {
        let index = tempfile::tempdir().context("make a folder")?;
        let git = |args: &[&str]| {
            self.program()
                .arg(format!("--work-tree={}", folder.display()))
                .args(args)
                .var("GIT_INDEX_FILE", index.path().join("index"))
                .var("GIT_AUTHOR_NAME", "Slipway")
                .var("GIT_AUTHOR_EMAIL", "demo@slipway.dev")
                .var("GIT_COMMITTER_NAME", "Slipway")
                .var("GIT_COMMITTER_EMAIL", "demo@slipway.dev")
        };
        run(git(&["add", "--all", "--force", "."])).await?;
        let tree = run(git(&["write-tree"])).await?;
        let name = format!("refs/heads/{branch}");
        let parent = self.program().args(["rev-parse", "--verify", "--quiet", &name]);
        let parent = parent.run(LIMIT).await.context("run git")?;
        let mut commit = vec!["commit-tree", tree.trim(), "-m", message];
        if parent.ok() {
            commit.extend(["-p", parent.stdout.trim()]);
        }
        let id = run(git(&commit)).await?.trim().to_owned();
        self.git(["update-ref", &name, &id]).await?;
        Ok(id)
    }

    /// Gives a commit a tag.
    pub async fn tag(&self, name: &str, commit: &str) -> Result<()> {
        self.git(["update-ref", &format!("refs/tags/{name}"), commit]).await
    }

    fn program(&self) -> Program {
        Program::new("git").arg(format!("--git-dir={}", self.path.display()))
    }

    async fn git<const N: usize>(&self, args: [&str; N]) -> Result<()> {
        run(self.program().args(args)).await.map(drop)
    }
}

async fn run(program: Program) -> Result<String> {
    let output = program.run(LIMIT).await.context("run git")?;
    if !output.ok() {
        bail!("git failed: {}", output.stderr);
    }
    Ok(output.stdout)
}
