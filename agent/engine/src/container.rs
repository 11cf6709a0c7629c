//! Containers.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr, time::Duration, time::SystemTime};

use sha2::{Digest as _, Sha256};
use slipway_host::Secret;

use crate::{image::ImageId, label::Labels, network::Attachment};

/// Everything that can be said about a container of ours. What is not here cannot be had: no
/// privileges, devices, binds, ports or namespaces of the host.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// Name: `slipway-<appkey>-<service>-<release>-<n>`.
    pub name: String,
    /// What it runs.
    pub image: ImageId,
    /// Replaces the command of the image when not empty.
    pub command: Vec<String>,
    /// Variables. All are treated as secrets.
    pub env: BTreeMap<String, Secret<String>>,
    /// Labels; must hold [`label::APP`](crate::label::APP).
    pub labels: Labels,
    /// Where it is attached.
    pub network: Attachment,
    /// Its volumes.
    pub mounts: Vec<Mount>,
    /// What it may use.
    pub limits: Limits,
    /// What happens when it ends.
    pub restart: Restart,
    /// The time between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
}

impl ContainerSpec {
    /// A fingerprint of everything that is said. Two specs with the same one make the same
    /// container.
    pub fn fingerprint(&self) -> String {
        let Self {
            name,
            image,
            command,
            env,
            labels,
            network,
            mounts,
            limits,
            restart,
            stop_grace,
        } = self;
        let mut hash = Fingerprint::default();
        hash.text("slipway container 1").text(name).text(image.as_str());
        hash.number(command.len());
        for it in command {
            hash.text(it);
        }
        hash.number(env.len());
        for (key, value) in env {
            hash.text(key).text(value.expose());
        }
        hash.number(labels.len());
        for (key, value) in labels {
            hash.text(key).text(value);
        }
        hash.text(&network.network).text(&network.address.to_string());
        hash.number(network.aliases.len());
        for it in &network.aliases {
            hash.text(it);
        }
        hash.number(mounts.len());
        for Mount { volume, path } in mounts {
            hash.text(volume).text(path);
        }
        // `Debug` of these has no secrets and changes only when their fields do.
        hash.text(&format!("{limits:?} {restart:?} {stop_grace:?}"));
        hash.finish()
    }
}

/// Hashes parts so that no two lists of parts look alike.
#[derive(Default)]
struct Fingerprint(Sha256);

impl Fingerprint {
    fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len());
        self.0.update(text.as_bytes());
        self
    }

    fn number(&mut self, number: usize) {
        self.0.update(number.to_be_bytes());
    }

    fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }
}

/// A named volume at a path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mount {
    /// Name of the volume.
    pub volume: String,
    /// Absolute path in the container.
    pub path: String,
}

/// What a container may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Memory in bytes, without swap on top.
    pub memory_bytes: u64,
    /// Thousandths of a CPU; all of them when `None`.
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub pids: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 512 << 20, cpu_millis: None, pids: 512 }
    }
}

/// What happens when a container ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Restart {
    /// Nothing.
    #[default]
    Never,
    /// Docker starts it again, also after a reboot, unless it was stopped on request.
    UnlessStopped,
    /// Docker starts it again when it failed, at most so many times.
    OnFailure(u32),
}

/// Where a container stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Status {
    /// It was made and has never run.
    Created,
    /// It runs.
    Running,
    /// It runs but gets no time.
    Paused,
    /// It ended, and Docker is about to start it again.
    Restarting,
    /// It is being removed.
    Removing,
    /// It ended.
    Exited,
    /// It could not be removed.
    Dead,
}

impl Status {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// The status that Docker's word means.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "created" => Self::Created,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "restarting" => Self::Restarting,
            "removing" => Self::Removing,
            "exited" => Self::Exited,
            "dead" => Self::Dead,
            _ => return None,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What the image's own health check says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Health {
    /// It has not yet said anything.
    Starting,
    /// It is well.
    Healthy,
    /// It is not.
    Unhealthy,
}

/// A container in a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContainerSummary {
    /// Docker's id.
    pub id: String,
    /// Name.
    pub name: String,
    /// What it runs.
    pub image: ImageId,
    /// Labels.
    pub labels: Labels,
    /// Where it stands.
    pub status: Status,
    /// Its address, given or in use.
    pub address: Option<Ipv4Addr>,
    /// When it was made.
    pub created_at: SystemTime,
}

/// All that is known of a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Container {
    /// Docker's id.
    pub id: String,
    /// Name.
    pub name: String,
    /// What it runs.
    pub image: ImageId,
    /// Labels.
    pub labels: Labels,
    /// Where it stands.
    pub status: Status,
    /// Exit code of its last end; `None` while it runs and before it ever did.
    pub exit_code: Option<i32>,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// What its own health check says, if it has one.
    pub health: Option<Health>,
    /// Its address, given or in use.
    pub address: Option<Ipv4Addr>,
    /// How often Docker has started it again.
    pub restart_count: u32,
    /// Process id on the host, while it runs.
    pub pid: Option<u32>,
    /// Why Docker could not start it.
    pub error: Option<String>,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it last started.
    pub started_at: Option<SystemTime>,
    /// When it last ended.
    pub finished_at: Option<SystemTime>,
}

impl Container {
    /// Whether it runs now.
    pub fn running(&self) -> bool {
        self.status == Status::Running
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::label;

    pub(crate) fn spec() -> ContainerSpec {
        ContainerSpec {
            name: "slipway-web-web-3-1".to_owned(),
            image: format!("sha256:{}", "ab".repeat(32)).parse().unwrap(),
            command: vec!["serve".to_owned()],
            env: BTreeMap::from([("PORT".to_owned(), Secret::new("8080".to_owned()))]),
            labels: BTreeMap::from([(label::APP.to_owned(), "web".to_owned())]),
            network: Attachment {
                network: "slipway-web".to_owned(),
                address: Ipv4Addr::new(10, 213, 0, 2),
                aliases: vec!["web".to_owned()],
            },
            mounts: vec![Mount { volume: "slipway-web-data".to_owned(), path: "/data".to_owned() }],
            limits: Limits { memory_bytes: 256 << 20, cpu_millis: Some(1500), pids: 512 },
            restart: Restart::UnlessStopped,
            stop_grace: Duration::from_secs(10),
        }
    }

    #[test]
    fn every_field_changes_the_fingerprint() {
        let all = [
            spec(),
            ContainerSpec { name: "other".to_owned(), ..spec() },
            ContainerSpec { command: vec!["ser".to_owned(), "ve".to_owned()], ..spec() },
            ContainerSpec {
                env: BTreeMap::from([("PORT8".to_owned(), Secret::new("080".to_owned()))]),
                ..spec()
            },
            ContainerSpec { labels: Labels::new(), ..spec() },
            ContainerSpec {
                network: Attachment { address: Ipv4Addr::new(10, 213, 0, 3), ..spec().network },
                ..spec()
            },
            ContainerSpec { mounts: Vec::new(), ..spec() },
            ContainerSpec { limits: Limits { pids: 1, ..spec().limits }, ..spec() },
            ContainerSpec { restart: Restart::Never, ..spec() },
            ContainerSpec { stop_grace: Duration::from_secs(11), ..spec() },
        ];
        let prints: std::collections::BTreeSet<_> =
            all.iter().map(ContainerSpec::fingerprint).collect();
        assert_eq!(prints.len(), all.len());
        assert_eq!(spec().fingerprint(), spec().fingerprint());
    }

    #[test]
    fn a_spec_does_not_print_its_variables() {
        assert!(!format!("{:?}", spec()).contains("8080"));
    }
}
