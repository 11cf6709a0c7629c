//! The settings of `slipway serve`, in layers: flags over environment over file over defaults.
//!
//! * [`layer`]: one layer, all of it optional, and how one lies over another.
//! * [`mod@file`]: the file's layer; an unknown key is refused with its line and the nearest known one.
//! * [`check`]: from the layers to a complete, checked [`Config`].
//!
//! Nothing else in the control plane reads the environment.

mod check;
mod file;
mod layer;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::ValueEnum;
use serde::Deserialize;
use slipway_host::Secret;
use url::Url;

pub use check::Error;
pub use layer::{Flags, Layer};

use crate::vault::Place;

/// What the program exits with when its configuration is wrong.
pub const EXIT_CONFIG: u8 = 78;

/// Where the file is looked for when nobody names one.
pub const DEFAULT_FILE: &str = "/etc/slipway/control.toml";

/// Everything that `slipway serve` can be told, complete and checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of everything that lasts.
    pub data_dir: PathBuf,
    /// Where the store is: `sqlite://…` or `postgres://…`. May hold a password.
    pub database_url: Secret<String>,
    /// The HTTP listener.
    pub http: Http,
    /// Address of the gRPC listener.
    pub grpc: SocketAddr,
    /// What agents and clients dial.
    pub public_url: Option<Url>,
    /// Where the master key is.
    pub master_key: Place,
    /// Base URL of DigitalOcean's API.
    pub do_api_url: Url,
    /// DigitalOcean token of the first user.
    pub do_token: Option<Secret<String>>,
    /// git token of the first user.
    pub git_token: Option<Secret<String>>,
    /// What a droplet is made of unless told otherwise.
    pub droplet: Droplet,
    /// Time in which a new server has to phone home.
    pub enroll_timeout: Duration,
    /// Where the first user's token is written.
    pub bootstrap_token_file: Option<PathBuf>,
    /// What is logged.
    pub log: String,
    /// Where logs go.
    pub log_format: LogFormat,
}

/// Where logs go and how they look.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The journal when the service manager connected stderr to it, else text.
    #[default]
    Auto,
    /// Text on stderr.
    Text,
    /// A JSON object per line on stderr.
    Json,
    /// The journal.
    Journal,
}

/// The HTTP listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Http {
    /// Its address.
    pub listen: SocketAddr,
    /// What protects it.
    pub exposure: Exposure,
}

/// What protects the HTTP listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Exposure {
    /// It is on loopback.
    Loopback,
    /// A proxy of the operator's speaks TLS before it.
    BehindProxy,
    /// It speaks TLS itself.
    Tls {
        /// Certificates, PEM, leaf first.
        cert: PathBuf,
        /// Key, PEM.
        key: PathBuf,
    },
}

/// What a droplet is made of unless told otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Droplet {
    /// Region.
    pub region: String,
    /// Size.
    pub size: String,
    /// Image or snapshot. None: the base snapshot.
    pub image: Option<String>,
    /// SSH keys, by their number at DigitalOcean.
    pub ssh_key_ids: Vec<u64>,
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
    let named = flags.config.clone().or_else(|| var("SLIPWAY_CONFIG").map(PathBuf::from));
    let file = match &named {
        Some(path) => file::read(path)?.ok_or_else(|| Error::Missing { path: path.clone() })?,
        None => file::read(DEFAULT_FILE.as_ref())?.unwrap_or_default(),
    };
    let credentials = var("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    flags.layer.over(env).over(file).finish(credentials.as_deref())
}

#[cfg(test)]
mod tests;
