//! The folder of a development installation, and its settings: made by the first `dev up`, kept, and
//! changed by flags of later ones.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use slipway_host::fs;

use super::Where;
use crate::cli::{Environment, Error};

const LIMIT: u64 = 64 << 10;

/// Settings of a development installation.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Settings {
    /// Name of its context.
    pub(super) context: String,
    /// HTTP of the control plane.
    pub(super) http: SocketAddr,
    /// gRPC of the control plane.
    pub(super) grpc: SocketAddr,
    /// The agent.
    pub(super) agent: SocketAddr,
    /// Port of apps with a domain.
    pub(super) apps_port: u16,
    /// What this machine is called in URLs.
    pub(super) address: String,
    /// Ports of apps without one.
    pub(super) app_ports: String,
    /// Networks of apps.
    pub(super) network_pool: String,
    /// How names in Docker begin.
    pub(super) name_prefix: String,
}

impl Default for Settings {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            context: "dev".to_owned(),
            http: local(7080),
            grpc: local(7443),
            agent: local(9999),
            apps_port: if is_free(80) { 80 } else { 8080 },
            address: Ipv4Addr::LOCALHOST.to_string(),
            app_ports: "20000-20999".to_owned(),
            network_pool: "10.213.0.0/16".to_owned(),
            name_prefix: "slipway".to_owned(),
        }
    }
}

/// Writes a file for this user only.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::replace(path, text.as_bytes(), 0o600).map_err(|source| Error::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// A development installation on disk.
#[derive(Clone, Debug)]
pub(super) struct Place {
    dir: PathBuf,
}

impl Place {
    /// The one that is meant.
    pub(super) fn of(place: &Where, environment: &Environment) -> Result<Self, Error> {
        let dir = place.dir.clone().unwrap_or_else(|| environment.data_dir().join("dev"));
        let dir = std::path::absolute(&dir).map_err(|source| Error::File {
            action: "find",
            path: dir.clone(),
            source,
        })?;
        Ok(Self { dir })
    }

    /// Everything that lasts.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The first user's token.
    pub(super) fn token(&self) -> PathBuf {
        self.dir.join("token")
    }

    /// Configuration of the agent.
    pub(super) fn agent_toml(&self) -> PathBuf {
        self.dir.join("agent.toml")
    }

    /// One-time token of the agent.
    pub(super) fn join_file(&self) -> PathBuf {
        self.dir.join("join.json")
    }

    /// State of the control plane.
    pub(super) fn control_dir(&self) -> PathBuf {
        self.dir.join("control")
    }

    /// State of the agent.
    pub(super) fn agent_dir(&self) -> PathBuf {
        self.dir.join("agent")
    }

    /// Sockets. Not below the folder, which nginx's workers may not enter, and whose path may be too
    /// long for a socket's.
    pub(super) fn run_dir(&self) -> PathBuf {
        let digest = Sha256::digest(self.dir.as_os_str().as_encoded_bytes());
        let name: String = hex::encode(digest).chars().take(8).collect();
        Path::new("/run").join(format!("slipway-{name}"))
    }

    /// What the programs print.
    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.dir.join("log").join(format!("{program}.log"))
    }

    /// How a program is known again.
    pub(super) fn pid_file(&self, program: &str) -> PathBuf {
        self.dir.join("pid").join(format!("{program}.pid"))
    }

    /// The pid file of the agent's nginx.
    pub(super) fn nginx_pid_file(&self) -> PathBuf {
        self.agent_dir().join("nginx").join("nginx.pid")
    }

    /// The settings, if it was ever started.
    pub(super) fn settings(&self) -> Result<Option<Settings>, Error> {
        let path = self.dir.join("dev.toml");
        let read = fs::read_limited(&path, LIMIT).map_err(|source| Error::File {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let Some(bytes) = read else { return Ok(None) };
        toml::from_str(&String::from_utf8_lossy(&bytes)).map(Some).map_err(|error| {
            Error::config(
                format!("`{}` is wrong: {}", path.display(), error.message()),
                "correct or remove it",
            )
        })
    }

    /// Makes the folders and writes the settings.
    pub(super) fn save(&self, settings: &Settings) -> Result<(), Error> {
        let folders = [self.dir.clone(), self.control_dir(), self.agent_dir(), self.run_dir()];
        for path in folders.into_iter().chain(["log", "pid"].map(|it| self.dir.join(it))) {
            fs::make_dir(&path, 0o755).map_err(|source| Error::File {
                action: "make",
                path: path.clone(),
                source,
            })?;
        }
        let text = toml::to_string_pretty(settings)
            .map_err(|error| Error::local(format!("settings cannot be written: {error}"), ""))?;
        write(&self.dir.join("dev.toml"), &text)?;
        write(&self.agent_toml(), &self.agent_settings(settings))
    }

    fn agent_settings(&self, settings: &Settings) -> String {
        let text = |path: PathBuf| path.display().to_string();
        let mut table = toml::toml! {
            nginx-mode = "own"
            // Repositories and registries for trying things are often on this machine.
            allow-http = true
            allow-private = true
        };
        let own = [
            ("state-dir", text(self.agent_dir())),
            ("runtime-dir", text(self.run_dir())),
            ("join-file", text(self.join_file())),
            ("listen", settings.agent.to_string()),
            ("advertise", settings.agent.to_string()),
            ("address", settings.address.clone()),
            ("network-pool", settings.network_pool.clone()),
            ("app-ports", settings.app_ports.clone()),
            ("name-prefix", settings.name_prefix.clone()),
        ];
        for (name, value) in own {
            table.insert(name.to_owned(), value.into());
        }
        table.insert("http-port".to_owned(), i64::from(settings.apps_port).into());
        format!("# Written by `slipway dev up`; changes are lost.\n{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { dir: dir.path().join("dev") };
        assert_eq!(place.settings().unwrap(), None);
        let settings = Settings { address: "box".to_owned(), ..Settings::default() };
        place.save(&settings).unwrap();
        assert_eq!(place.settings().unwrap(), Some(settings));
    }

    #[test]
    fn the_agent_reads_what_is_written() {
        let place = Place { dir: PathBuf::from("/x") };
        let settings = Settings::default();
        let table: toml::Table = place.agent_settings(&settings).parse().unwrap();
        assert_eq!(table["state-dir"].as_str(), Some("/x/agent"));
        assert_eq!(table["nginx-mode"].as_str(), Some("own"));
        assert_eq!(table["allow-http"].as_bool(), Some(true));
    }

    #[test]
    fn sockets_of_two_installations_are_apart_and_short() {
        let place = |dir: String| Place { dir: PathBuf::from(dir) };
        let (one, two) = (place("/a".repeat(60)), place("/b".to_owned()));
        assert_ne!(one.run_dir(), two.run_dir());
        assert!(one.run_dir().as_os_str().len() < 40);
    }
}
