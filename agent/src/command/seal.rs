//! Makes a machine fit to be a snapshot: nothing on it says who it was.

use std::path::Path;

use slipway_engine::{Docker, Engine as _, container::Status};
use slipway_host::{Chain, clock::Clock, fs};
use slipway_proto::problem::{Kind, Problem};

use crate::{config::Config, world::Names};

/// Whether running apps stand in the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Force {
    /// They do.
    No,
    /// They do not.
    Yes,
}

/// Wipes identity, journal, records and secrets, and tells in one line what it did. The agent must
/// not run.
///
/// # Errors
/// The agent runs, apps run and it is not forced, or something cannot be removed.
pub async fn seal(config: &Config, force: Force) -> Result<String, Problem> {
    fs::make_dir(&config.state_dir, 0o711).map_err(|it| broken(&config.state_dir, &it))?;
    let lock = fs::Lock::take(&config.state_dir.join("lock"));
    let lock = lock.map_err(|it| broken(&config.state_dir, &it))?;
    let Some(_lock) = lock else {
        let message = "the agent runs; a sealed machine must not be used any more";
        return Err(Problem::new(Kind::Conflict, "SW-SEAL-RUNNING", message)
            .hint("`systemctl stop slipway-agent` first"));
    };
    if force == Force::No {
        let running = running(config).await?;
        if 0 < running {
            let message = format!("{running} containers of apps run on this machine");
            return Err(Problem::new(Kind::Conflict, "SW-SEAL-APPS", message)
                .hint("remove the apps first, or use `--force`"));
        }
    }
    // Secrets first: whatever is cut short, they are gone.
    for name in ["pki", "apps", "deploys"] {
        wipe(&config.state_dir.join(name))?;
    }
    for name in ["network.json", "forward.json"] {
        let path = config.state_dir.join(name);
        fs::remove(&path).map_err(|it| broken(&path, &it))?;
    }
    fs::remove(&config.forward.state).map_err(|it| broken(&config.forward.state, &it))?;
    fs::remove(&config.join_file).map_err(|it| broken(&config.join_file, &it))?;
    wipe(&config.nginx.dir)?;
    fs::sync_dir(&config.state_dir).map_err(|it| broken(&config.state_dir, &it))?;
    Ok("sealed: identity, journal, records and secrets are gone".to_owned())
}

async fn running(config: &Config) -> Result<usize, Problem> {
    let docker = Docker::new(config.docker_socket.clone(), Clock::system());
    let ours = Names::new(config.name_prefix.clone()).ours();
    let listed = docker.containers(&ours).await.map_err(|error| {
        let message = format!("cannot tell whether apps run: {}", Chain(&error));
        Problem::new(Kind::Unavailable, "SW-DOCKER-UNREACHABLE", message)
            .hint("start Docker, or use `--force`")
    })?;
    Ok(listed.iter().filter(|it| it.status == Status::Running).count())
}

fn wipe(path: &Path) -> Result<(), Problem> {
    fs::remove_all(path).map_err(|it| broken(path, &it))
}

fn broken(path: &Path, error: &std::io::Error) -> Problem {
    Problem::internal(format!("`{}`: {error}", path.display()))
}
