//! Joins a control plane: at the first boot, or by hand.

use std::path::PathBuf;

use slipway_host::Chain;
use slipway_proto::problem::{Kind, Problem};

use crate::{
    config::Config,
    identity::enroll::{Join, enroll as join},
    server::about,
};

/// Largest token file.
const MAX_TOKEN: u64 = 4 << 10;

/// How to join.
#[derive(clap::Args, Clone, Debug, Default)]
#[group(id = "how")]
pub struct Enroll {
    /// Address and port of the control plane; without it the join file is used.
    #[arg(long, value_name = "HOST:PORT", requires = "token_file")]
    control: Option<String>,
    /// File with the join token. A file, since arguments can be read by everybody.
    #[arg(long, value_name = "FILE", requires = "control")]
    token_file: Option<PathBuf>,
    /// Number of the droplet that this machine is.
    #[arg(long, value_name = "ID", default_value_t = 0)]
    droplet_id: u64,
}

/// Joins, and tells in one line what came of it.
///
/// # Errors
/// There is no token, or the control plane does not take it.
pub async fn enroll(config: &Config, how: Enroll) -> Result<String, Problem> {
    let join_with = match (&how.control, &how.token_file) {
        (Some(control), Some(path)) => {
            let wrong = |why: String| {
                let message = format!("`{}` {why}", path.display());
                Problem::new(Kind::Invalid, "SW-ENROLL-FILE", message)
            };
            let bytes = slipway_host::fs::read_limited(path, MAX_TOKEN)
                .map_err(|error| wrong(format!("cannot be read: {error}")))?
                .ok_or_else(|| wrong("does not exist".to_owned()))?;
            Join::new(control.as_str(), String::from_utf8_lossy(&bytes).trim())?
        }
        _ => Join::read(&config.join_file)?.ok_or_else(|| {
            let message = format!("there is no `{}`", config.join_file.display());
            Problem::new(Kind::NotFound, "SW-ENROLL-FILE", message)
                .hint("give `--control` and `--token-file`")
        })?,
    };
    let saved = join(&config.state_dir, &join_with, &about(config, how.droplet_id)).await;
    let saved = saved
        .map_err(|refused| Problem::new(Kind::Denied, "SW-ENROLL", Chain(&refused).to_string()))?;
    Ok(format!("joined as `{}` (agent {})", saved.server_name, saved.agent_id))
}
