//! The settings of `slipway-agent`, in layers: flags over environment over file over defaults.
//!
//! * [`layer`]: one layer, all of it optional, and how one lies over another.
//! * [`check`]: from the layers to a complete, checked [`Config`].
//!
//! Nothing else in the agent reads the environment. Every path and port can be set, so that several
//! agents can live on one machine.

mod check;
mod layer;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

pub use check::{Error, Pool};
pub use layer::{Flags, Layer};

/// What the program exits with when its configuration is wrong (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// Where the file is looked for when nobody names one.
pub const DEFAULT_FILE: &str = "/etc/slipway/agent.toml";

/// Where the control URL and the join token are left for the first boot.
pub const JOIN_FILE: &str = "/etc/slipway/join.json";

/// Everything that `slipway-agent` can be told, complete and checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Identity, journal, apps.
    pub state_dir: PathBuf,
    /// Sockets and process ids.
    pub runtime_dir: PathBuf,
    /// Address of the gRPC listener.
    pub listen: SocketAddr,
    /// Host and port at which the control plane can dial this agent; none: the address that it
    /// sees, and the port of `listen`.
    pub advertise: Option<String>,
    /// What people call this server in URLs; none: found out.
    pub address: Option<String>,
    /// Docker's socket.
    pub docker_socket: PathBuf,
    /// File with the control URL and the join token.
    pub join_file: PathBuf,
    /// nginx.
    pub nginx: Nginx,
    /// The traffic switch.
    pub forward: Forward,
    /// Networks of apps are carved from this.
    pub network_pool: Pool,
    /// How names of containers, networks and images begin.
    pub name_prefix: String,
    /// What users may make this server dial.
    pub reach: slipway_proto::value::Outbound,
    /// Images that generated Dockerfiles start from, by what they are for.
    pub bases: Bases,
    /// Free space below which nothing is built, pulled or received, in bytes.
    pub min_free_bytes: u64,
    /// How long running calls may take once the agent is ending.
    pub grace: Duration,
}

impl Config {
    /// The agent's own socket, for root on this machine.
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir.join("agent.sock")
    }
}

/// nginx.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nginx {
    /// Whose nginx it is.
    pub mode: NginxMode,
    /// The program.
    pub program: PathBuf,
    /// Folder of our configuration.
    pub dir: PathBuf,
    /// Port that serves host names.
    pub http_port: u16,
    /// Ports for apps without host names.
    pub app_ports: RangeInclusive<u16>,
}

/// Whose nginx it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum NginxMode {
    /// The distribution's, which includes our folder.
    System,
    /// One that the agent starts, with a configuration of its own.
    Own,
}

/// The traffic switch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forward {
    /// Socket for nginx.
    pub listen: PathBuf,
    /// Socket for the agent.
    pub control: PathBuf,
    /// Its table.
    pub state: PathBuf,
    /// How long open requests may take once it is ending.
    pub grace: Duration,
}

/// Images that generated Dockerfiles start from; none: the usual one.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Bases {
    /// Go.
    pub go: Option<String>,
    /// Java with its compiler.
    pub java: Option<String>,
    /// Node with npm.
    pub node: Option<String>,
    /// PHP.
    pub php: Option<String>,
    /// Python with pip.
    pub python: Option<String>,
    /// Ruby.
    pub ruby: Option<String>,
    /// Rust.
    pub rust: Option<String>,
    /// What serves static files.
    pub r#static: Option<String>,
}

/// Reads all layers of this process and makes the configuration.
///
/// # Errors
/// [`Error`]; the program exits with [`EXIT_CONFIG`].
pub fn load(flags: Flags) -> Result<Config, Error> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let var = |name: &str| std::env::var(name).ok();
    load_with(flags, var)
}

/// As [`load`], with the environment as a function.
///
/// # Errors
/// [`Error`].
pub fn load_with(flags: Flags, var: impl Fn(&str) -> Option<String>) -> Result<Config, Error> {
    let env = Layer::from_vars(&var)?;
    let named = flags.config.clone().or_else(|| var("SLIPWAY_AGENT_CONFIG").map(PathBuf::from));
    let file = match &named {
        Some(path) => layer::read(path)?.ok_or_else(|| Error::Missing { path: path.clone() })?,
        None => layer::read(Path::new(DEFAULT_FILE))?.unwrap_or_default(),
    };
    flags.layer.over(env).over(file).finish()
}
