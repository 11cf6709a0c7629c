//! One layer of settings.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::ValueEnum as _;
use serde::Deserialize;
use slipway_host::Secret;

use super::{Error, LogFormat};

/// The flags of `slipway serve`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Flags {
    /// Configuration file [default: /etc/slipway/control.toml if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The settings.
    #[command(flatten)]
    pub layer: Layer,
}

/// One layer: whatever it does not say is said by the one below.
#[derive(clap::Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Layer {
    /// Folder of everything that lasts [default: /var/lib/slipway]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Store: `sqlite://PATH` or `postgres://…` [default: `slipway.db` in the state folder]
    #[arg(long, value_name = "URL", value_parser = secret)]
    #[serde(deserialize_with = "secret_text")]
    pub database_url: Option<Secret<String>>,
    /// HTTP address: health, metrics [default: 127.0.0.1:7080]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<SocketAddr>,
    /// Certificates of the HTTP listener, PEM
    #[arg(long, value_name = "FILE")]
    pub http_tls_cert: Option<PathBuf>,
    /// Key of the HTTP listener, PEM
    #[arg(long, value_name = "FILE")]
    pub http_tls_key: Option<PathBuf>,
    /// A proxy of yours speaks TLS before the HTTP listener
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub http_behind_proxy: Option<bool>,
    /// gRPC address for agents and clients [default: 0.0.0.0:7443]
    #[arg(long, value_name = "ADDR")]
    pub grpc: Option<SocketAddr>,
    /// What agents and clients dial, `https://HOST:PORT`
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// File of the master key, 32 bytes [default: made in the state folder]
    #[arg(long, value_name = "FILE")]
    pub master_key_file: Option<PathBuf>,
    /// Base URL of DigitalOcean's API [default: `https://api.digitalocean.com`]
    #[arg(long, value_name = "URL")]
    pub do_api_url: Option<String>,
    /// Time in which a new server has to phone home [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    #[serde(deserialize_with = "duration_text")]
    pub enroll_timeout: Option<Duration>,
    /// Write the first user's token to this file, 0600, if no user exists
    #[arg(long, value_name = "FILE")]
    pub bootstrap_token_file: Option<PathBuf>,
    /// What is logged, such as `info` or `info,slipway_control=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Where logs go [default: auto]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// File of the first DigitalOcean token; in the environment `DO_API_TOKEN_FILE`.
    #[arg(skip)]
    pub do_token_file: Option<PathBuf>,
    /// File of the first git token; in the environment `GITHUB_TOKEN_FILE`.
    #[arg(skip)]
    pub git_token_file: Option<PathBuf>,
    /// Region of new droplets.
    #[arg(skip)]
    pub droplet_region: Option<String>,
    /// Size of new droplets.
    #[arg(skip)]
    pub droplet_size: Option<String>,
    /// Image of new droplets.
    #[arg(skip)]
    pub droplet_image: Option<String>,
    /// SSH keys of new droplets.
    #[arg(skip)]
    pub droplet_ssh_key_ids: Option<Vec<u64>>,
    /// The first DigitalOcean token itself: environment only.
    #[arg(skip)]
    #[serde(skip)]
    pub do_token: Option<Secret<String>>,
    /// The first git token itself: environment only.
    #[arg(skip)]
    #[serde(skip)]
    pub git_token: Option<Secret<String>>,
}

impl Layer {
    /// Reads a layer from variables. `get` is the process environment, or a test's map.
    ///
    /// # Errors
    /// [`Error::Variable`].
    pub fn from_vars(get: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let get = |name: &str| get(name).filter(|it| !it.is_empty());
        Ok(Self {
            data_dir: parse(&get, "SLIPWAY_DATA_DIR")?,
            database_url: get("SLIPWAY_DATABASE_URL").map(Secret::new),
            http: parse(&get, "SLIPWAY_HTTP")?,
            http_tls_cert: parse(&get, "SLIPWAY_HTTP_TLS_CERT")?,
            http_tls_key: parse(&get, "SLIPWAY_HTTP_TLS_KEY")?,
            http_behind_proxy: parse(&get, "SLIPWAY_HTTP_BEHIND_PROXY")?,
            grpc: parse(&get, "SLIPWAY_GRPC")?,
            public_url: get("SLIPWAY_PUBLIC_URL").or_else(|| get("ENGINE_WS_URL")),
            master_key_file: parse(&get, "SLIPWAY_MASTER_KEY_FILE")?,
            do_api_url: get("SLIPWAY_DO_API_URL"),
            enroll_timeout: get("SLIPWAY_ENROLL_TIMEOUT")
                .map(|it| duration(&it))
                .transpose()
                .map_err(|problem| Error::Variable { name: "SLIPWAY_ENROLL_TIMEOUT", problem })?,
            bootstrap_token_file: parse(&get, "SLIPWAY_BOOTSTRAP_TOKEN_FILE")?,
            log: get("SLIPWAY_LOG"),
            log_format: get("SLIPWAY_LOG_FORMAT")
                .map(|it| LogFormat::from_str(&it, true))
                .transpose()
                .map_err(|problem| Error::Variable { name: "SLIPWAY_LOG_FORMAT", problem })?,
            do_token_file: parse(&get, "DO_API_TOKEN_FILE")?,
            git_token_file: parse(&get, "GITHUB_TOKEN_FILE")?,
            droplet_region: get("DO_DEFAULT_REGION"),
            droplet_size: get("DO_DEFAULT_SIZE"),
            droplet_image: get("DO_DEFAULT_IMAGE"),
            droplet_ssh_key_ids: numbers(&get, "DO_DEFAULT_SSH_KEY_IDS")?,
            do_token: get("DO_API_TOKEN").map(Secret::new),
            git_token: get("GITHUB_TOKEN").map(Secret::new),
        })
    }

    /// Lays `self` over `below`.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(below.data_dir),
            database_url: self.database_url.or(below.database_url),
            http: self.http.or(below.http),
            http_tls_cert: self.http_tls_cert.or(below.http_tls_cert),
            http_tls_key: self.http_tls_key.or(below.http_tls_key),
            http_behind_proxy: self.http_behind_proxy.or(below.http_behind_proxy),
            grpc: self.grpc.or(below.grpc),
            public_url: self.public_url.or(below.public_url),
            master_key_file: self.master_key_file.or(below.master_key_file),
            do_api_url: self.do_api_url.or(below.do_api_url),
            enroll_timeout: self.enroll_timeout.or(below.enroll_timeout),
            bootstrap_token_file: self.bootstrap_token_file.or(below.bootstrap_token_file),
            log: self.log.or(below.log),
            log_format: self.log_format.or(below.log_format),
            do_token_file: self.do_token_file.or(below.do_token_file),
            git_token_file: self.git_token_file.or(below.git_token_file),
            droplet_region: self.droplet_region.or(below.droplet_region),
            droplet_size: self.droplet_size.or(below.droplet_size),
            droplet_image: self.droplet_image.or(below.droplet_image),
            droplet_ssh_key_ids: self.droplet_ssh_key_ids.or(below.droplet_ssh_key_ids),
            do_token: self.do_token.or(below.do_token),
            git_token: self.git_token.or(below.git_token),
        }
    }
}

fn parse<T: FromStr>(
    get: &impl Fn(&str) -> Option<String>,
    name: &'static str,
) -> Result<Option<T>, Error>
where
    T::Err: std::fmt::Display,
{
    let parse = |it: String| it.parse::<T>().map_err(|error| error.to_string());
    get(name).map(parse).transpose().map_err(|problem| Error::Variable { name, problem })
}

fn numbers(
    get: &impl Fn(&str) -> Option<String>,
    name: &'static str,
) -> Result<Option<Vec<u64>>, Error> {
    let Some(text) = get(name) else { return Ok(None) };
    let parse = |it: &str| it.trim().parse().map_err(|_| format!("`{}` is no number", it.trim()));
    let numbers = text.split(',').map(parse).collect::<Result<_, _>>();
    numbers.map(Some).map_err(|problem| Error::Variable { name, problem })
}

/// Reads `90s`, `10m`, `2h` or `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` is no time; write `90s`, `10m` or `2h`"))?;
    let seconds = |factor: u64| {
        number
            .checked_mul(factor)
            .map(Duration::from_secs)
            .ok_or_else(|| format!("`{text}` is too long"))
    };
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(86_400),
        _ => Err(format!("`{text}` needs a unit: `90s`, `10m` or `2h`")),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the form that clap asks for")]
fn secret(text: &str) -> Result<Secret<String>, String> {
    Ok(Secret::new(text.to_owned()))
}

fn secret_text<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Secret<String>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

fn duration_text<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|it| duration(&it)).transpose().map_err(serde::de::Error::custom)
}
