//! From the layers to a complete, checked configuration.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use slipway_proto::value::Outbound;

use super::{Config, Forward, JOIN_FILE, Layer, Nginx, NginxMode};

/// Bits of the network of one app.
const APP_NETWORK_BITS: u8 = 26;

/// Wrong configuration: what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file that was named does not exist.
    #[error("there is no configuration file `{path}`")]
    Missing {
        /// Its path.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("could not read `{path}`")]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file says something wrong.
    #[error("`{path}`, {problem}")]
    File {
        /// Its path.
        path: PathBuf,
        /// Line, and what is wrong there.
        problem: String,
    },
    /// A variable says something wrong.
    #[error("variable `{name}`: {problem}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A setting is wrong.
    #[error("setting `{name}`: {problem}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl Layer {
    /// Fills what is still open with the defaults and checks the whole.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn finish(self) -> Result<Config, Error> {
        let path = |name: &'static str, given: Option<PathBuf>, default: PathBuf| {
            absolute(name, given.unwrap_or(default))
        };
        let state_dir = path("state-dir", self.state_dir, "/var/lib/slipway-agent".into())?;
        let runtime_dir = path("runtime-dir", self.runtime_dir, "/run/slipway".into())?;
        let (http_port, app_ports) = (self.http_port.unwrap_or(80), ports(self.app_ports)?);
        if http_port == 0 || app_ports.contains(&http_port) {
            return Err(setting("http-port", "must be 1 to 65535 and not among app-ports"));
        }
        let at = |name: &str| runtime_dir.join(name);
        Ok(Config {
            listen: self.listen.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 9999))),
            advertise: self.advertise.map(advertised).transpose()?,
            address: self.address.map(host).transpose()?,
            docker_socket: path(
                "docker-socket",
                self.docker_socket,
                "/var/run/docker.sock".into(),
            )?,
            join_file: path("join-file", self.join_file, JOIN_FILE.into())?,
            nginx: Nginx {
                mode: self.nginx_mode.unwrap_or(NginxMode::System),
                program: path("nginx-program", self.nginx_program, "/usr/sbin/nginx".into())?,
                dir: path("nginx-dir", self.nginx_dir, state_dir.join("nginx"))?,
                http_port,
                app_ports,
            },
            forward: Forward {
                listen: path("forward-listen", self.forward_listen, at("forward.sock"))?,
                control: path("forward-control", self.forward_control, at("forward-control.sock"))?,
                state: state_dir.join("forward.json"),
                grace: Duration::from_secs(30),
            },
            network_pool: self.network_pool.as_deref().unwrap_or("10.213.0.0/16").parse()?,
            name_prefix: prefix(self.name_prefix)?,
            reach: Outbound {
                allow_http: self.allow_http.unwrap_or(false),
                allow_private: self.allow_private.unwrap_or(false),
            },
            bases: self.bases,
            min_free_bytes: self.min_free_mib.unwrap_or(2_048).saturating_mul(1 << 20),
            grace: Duration::from_secs(self.grace_secs.unwrap_or(30)),
            state_dir,
            runtime_dir,
        })
    }
}

/// Networks of apps are carved from this: an IPv4 network of at most 20 bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pool {
    /// First address.
    pub network: Ipv4Addr,
    /// Bits of the network, 8 to 24.
    pub bits: u8,
}

impl FromStr for Pool {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| setting("network-pool", why);
        let (network, bits) =
            text.split_once('/').ok_or_else(|| wrong("must be written as 10.213.0.0/16"))?;
        let network: Ipv4Addr = network.parse().map_err(|_| wrong("is no IPv4 network"))?;
        let bits: u8 = bits.parse().map_err(|_| wrong("is no IPv4 network"))?;
        if !(8..=APP_NETWORK_BITS - 2).contains(&bits) {
            return Err(wrong("must have 8 to 24 bits of network: each app takes a /26 of it"));
        }
        if network.to_bits() & (u32::MAX >> bits) != 0 {
            return Err(wrong("has bits set beyond its network"));
        }
        if !network.is_private() {
            return Err(wrong("must be private (RFC 1918)"));
        }
        Ok(Self { network, bits })
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

fn absolute(name: &'static str, path: PathBuf) -> Result<PathBuf, Error> {
    let climbs = Path::new(&path).components().any(|it| it.as_os_str() == "..");
    if path.is_absolute() && !climbs {
        Ok(path)
    } else {
        Err(setting(name, "must be an absolute path without `..`"))
    }
}

fn ports(text: Option<String>) -> Result<RangeInclusive<u16>, Error> {
    let wrong = || setting("app-ports", "must be written as 20000-20999, within 1024 to 65535");
    let Some(text) = text else { return Ok(20_000..=20_999) };
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let (Ok(from), Ok(to)) = (from.trim().parse(), to.trim().parse()) else {
        return Err(wrong());
    };
    if from < 1_024 || to < from { Err(wrong()) } else { Ok(from..=to) }
}

fn prefix(text: Option<String>) -> Result<String, Error> {
    let text = text.unwrap_or_else(|| "slipway".to_owned());
    let plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    if (1..=32).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text)
    } else {
        Err(setting("name-prefix", "must be 1 to 32 of a-z and 0-9"))
    }
}

fn advertised(text: String) -> Result<String, Error> {
    let wrong = || setting("advertise", "must be HOST:PORT");
    let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port_good = port.parse::<u16>().is_ok_and(|it| it > 0);
    if port_good && is_host(name) { Ok(text) } else { Err(wrong()) }
}

fn host(text: String) -> Result<String, Error> {
    if is_host(&text) {
        Ok(text)
    } else {
        Err(setting("address", "must be a host name or address"))
    }
}

fn is_host(text: &str) -> bool {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b".-:[]".contains(&it);
    (1..=253).contains(&text.len()) && text.bytes().all(plain)
}

fn setting(name: &'static str, problem: impl Into<String>) -> Error {
    Error::Setting { name, problem: problem.into() }
}
