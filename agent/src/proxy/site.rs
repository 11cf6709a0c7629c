//! What nginx is told.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use slipway_proto::value::{AppKey, Domain, Port};

/// The largest request body unless an app says otherwise.
const MAX_BODY_BYTES: u64 = 1 << 30;
/// How long nginx waits for the next bytes of an app unless it says otherwise.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Whose nginx it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The agent starts an nginx of its own, with a configuration that is all ours.
    Own,
    /// The distribution's nginx runs already and includes what we write.
    System {
        /// Its main configuration, `/etc/nginx/nginx.conf`.
        main: PathBuf,
        /// The file of ours that it includes, `/etc/nginx/conf.d/slipway.conf`.
        include: PathBuf,
        /// Where it keeps its process id, `/run/nginx.pid`.
        pid: PathBuf,
    },
}

impl Mode {
    /// The places that Debian and Ubuntu use.
    pub fn system() -> Self {
        Self::System {
            main: "/etc/nginx/nginx.conf".into(),
            include: "/etc/nginx/conf.d/slipway.conf".into(),
            pid: "/run/nginx.pid".into(),
        }
    }
}

/// What nginx has to know of the server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose nginx it is.
    pub mode: Mode,
    /// The program.
    pub program: PathBuf,
    /// Folder of ours for configuration, logs and temporary files.
    pub dir: PathBuf,
    /// User of the workers, in mode [`Mode::Own`] when started by root.
    pub user: Option<String>,
    /// Where apps with a domain are served.
    pub listen: Vec<SocketAddr>,
    /// Addresses on which apps without a domain are served, each on its own port.
    pub app_addresses: Vec<IpAddr>,
    /// The data socket of the traffic switch.
    pub switch: PathBuf,
}

impl Settings {
    /// An nginx of our own in `dir`, on the usual port.
    pub fn own(dir: &Path, switch: &Path) -> Self {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            mode: Mode::Own,
            program: "/usr/sbin/nginx".into(),
            dir: dir.to_owned(),
            user: nix::unistd::geteuid().is_root().then(|| "www-data".to_owned()),
            listen: vec![SocketAddr::new(any, 80)],
            app_addresses: vec![any],
            switch: switch.to_owned(),
        }
    }
}

/// How one app is reached from outside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppRoute {
    /// The app.
    pub app: AppKey,
    /// Names that it is served under.
    pub domains: Vec<Domain>,
    /// A port of its own on the server; what an app without a domain has.
    pub port: Option<Port>,
    /// The largest request body.
    pub max_body_bytes: u64,
    /// How long nginx waits for the next bytes of the app, and for the client to take some.
    pub timeout: Duration,
}

impl AppRoute {
    /// A route with the usual limits.
    pub fn new(app: AppKey, domains: Vec<Domain>, port: Option<Port>) -> Self {
        Self { app, domains, port, max_body_bytes: MAX_BODY_BYTES, timeout: TIMEOUT }
    }
}
