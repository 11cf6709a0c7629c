//! One layer of settings: whatever it does not say is said by the one below.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Deserialize;

use super::{Bases, Error, NginxMode};

/// Longest file that is read.
const LIMIT: u64 = 1 << 20;

/// Flags of every command that reads the settings.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Flags {
    /// Configuration file [default: /etc/slipway/agent.toml if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The settings.
    #[command(flatten)]
    pub layer: Layer,
}

/// Makes the layer from one list, so that no place forgets a setting.
macro_rules! layer {
    ($($(#[$meta:meta])* $field:ident: $type:ty = $key:literal, $var:literal;)*) => {
        /// One layer.
        #[derive(clap::Args, Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
        pub struct Layer {
            $($(#[$meta])* pub $field: Option<$type>,)*
            /// Images that generated Dockerfiles start from: file only.
            #[arg(skip)]
            pub bases: Bases,
        }

        /// Every key that the file may have.
        pub(super) const KEYS: &[&str] = &[$($key,)* "bases"];

        impl Layer {
            /// Reads a layer from variables. `get` is the process environment, or a test's map.
            ///
            /// # Errors
            /// [`Error::Variable`].
            pub fn from_vars(get: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
                Ok(Self { $($field: parse(&get, $var)?,)* bases: Bases::default() })
            }

            /// Lays `self` over `below`.
            #[must_use]
            pub fn over(self, below: Self) -> Self {
                Self { $($field: self.$field.or(below.$field),)* bases: self.bases.over(below.bases) }
            }
        }
    };
}

layer! {
    /// Folder of identity, journal and apps [default: /var/lib/slipway-agent]
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf = "state-dir", "SLIPWAY_AGENT_STATE_DIR";
    /// Folder of sockets and process ids [default: /run/slipway]
    #[arg(long, value_name = "DIR")]
    runtime_dir: PathBuf = "runtime-dir", "SLIPWAY_AGENT_RUNTIME_DIR";
    /// gRPC address [default: 0.0.0.0:9999]
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr = "listen", "SLIPWAY_AGENT_LISTEN";
    /// Host and port at which the control plane can dial this agent
    #[arg(long, value_name = "HOST:PORT")]
    advertise: String = "advertise", "SLIPWAY_AGENT_ADVERTISE";
    /// What people call this server in URLs
    #[arg(long, value_name = "HOST")]
    address: String = "address", "SLIPWAY_AGENT_ADDRESS";
    /// Docker's socket [default: /var/run/docker.sock]
    #[arg(long, value_name = "PATH")]
    docker_socket: PathBuf = "docker-socket", "SLIPWAY_AGENT_DOCKER_SOCKET";
    /// File with the control URL and the join token [default: /etc/slipway/join.json]
    #[arg(long, value_name = "FILE")]
    join_file: PathBuf = "join-file", "SLIPWAY_AGENT_JOIN_FILE";
    /// Whose nginx it is [default: system]
    #[arg(long, value_name = "MODE")]
    nginx_mode: NginxMode = "nginx-mode", "SLIPWAY_AGENT_NGINX_MODE";
    /// nginx [default: /usr/sbin/nginx]
    #[arg(long, value_name = "PATH")]
    nginx_program: PathBuf = "nginx-program", "SLIPWAY_AGENT_NGINX_PROGRAM";
    /// Folder of our nginx configuration [default: `nginx` in the state folder]
    #[arg(long, value_name = "DIR")]
    nginx_dir: PathBuf = "nginx-dir", "SLIPWAY_AGENT_NGINX_DIR";
    /// Port that serves host names [default: 80]
    #[arg(long, value_name = "PORT")]
    http_port: u16 = "http-port", "SLIPWAY_AGENT_HTTP_PORT";
    /// Ports for apps without host names [default: 20000-20999]
    #[arg(long, value_name = "FROM-TO")]
    app_ports: String = "app-ports", "SLIPWAY_AGENT_APP_PORTS";
    /// Socket of the traffic switch, for nginx [default: `forward.sock` in the runtime folder]
    #[arg(long, value_name = "PATH")]
    forward_listen: PathBuf = "forward-listen", "SLIPWAY_AGENT_FORWARD_LISTEN";
    /// Socket of the traffic switch, for the agent [default: `forward-control.sock` there]
    #[arg(long, value_name = "PATH")]
    forward_control: PathBuf = "forward-control", "SLIPWAY_AGENT_FORWARD_CONTROL";
    /// Networks of apps are carved from this [default: 10.213.0.0/16]
    #[arg(long, value_name = "CIDR")]
    network_pool: String = "network-pool", "SLIPWAY_AGENT_NETWORK_POOL";
    /// How names of containers, networks and images begin [default: slipway]
    #[arg(long, value_name = "WORD")]
    name_prefix: String = "name-prefix", "SLIPWAY_AGENT_NAME_PREFIX";
    /// Clone over plain http as well [default: false]
    #[arg(long, value_name = "BOOL")]
    allow_http: bool = "allow-http", "SLIPWAY_AGENT_ALLOW_HTTP";
    /// Clone and pull from addresses that are not public as well [default: false]
    #[arg(long, value_name = "BOOL")]
    allow_private: bool = "allow-private", "SLIPWAY_AGENT_ALLOW_PRIVATE";
    /// Free MiB below which nothing is built, pulled or received [default: 2048]
    #[arg(long, value_name = "MIB")]
    min_free_mib: u64 = "min-free-mib", "SLIPWAY_AGENT_MIN_FREE_MIB";
    /// Seconds that running calls may take once the agent is ending [default: 30]
    #[arg(long, value_name = "SECS")]
    grace_secs: u64 = "grace-secs", "SLIPWAY_AGENT_GRACE_SECS";
}

impl Bases {
    fn over(self, below: Self) -> Self {
        Self {
            go: self.go.or(below.go),
            java: self.java.or(below.java),
            node: self.node.or(below.node),
            php: self.php.or(below.php),
            python: self.python.or(below.python),
            ruby: self.ruby.or(below.ruby),
            rust: self.rust.or(below.rust),
            r#static: self.r#static.or(below.r#static),
        }
    }
}

/// Reads the file; none when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Layer>, Error> {
    let bytes = slipway_host::fs::read_limited(path, LIMIT)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let Some(bytes) = bytes else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    slipway_host::settings::parse(&text, KEYS)
        .map(Some)
        .map_err(|problem| Error::File { path: path.to_owned(), problem })
}

fn parse<T: FromStr>(
    get: &impl Fn(&str) -> Option<String>,
    name: &'static str,
) -> Result<Option<T>, Error>
where
    T::Err: fmt::Display,
{
    let parse = |it: String| it.parse::<T>().map_err(|error| error.to_string());
    get(name)
        .filter(|it| !it.is_empty())
        .map(parse)
        .transpose()
        .map_err(|problem| Error::Variable { name, problem })
}

impl FromStr for NginxMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        <Self as clap::ValueEnum>::from_str(text, false)
            .map_err(|_| format!("`{text}` is neither `system` nor `own`"))
    }
}
