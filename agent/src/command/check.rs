//! Tells whether this machine is fit to be a server.

use std::{os::unix::fs::PermissionsExt as _, time::UNIX_EPOCH};

use serde::Serialize;
use slipway_engine::{Docker, Engine as _};
use slipway_forward::{Client, Switch as _};
use slipway_host::{Chain, clock::Clock, stats};

use crate::config::Config;

/// Before this second no clock that works can be: 2025-01-01.
const EARLIEST: u64 = 1_735_689_600;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    fit: bool,
    findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What: `docker`, `nginx`, `disk`, `clock`, `proxy`.
    pub what: &'static str,
    /// Whether it is as it should be.
    pub good: bool,
    /// Whether an agent cannot do without.
    pub needed: bool,
    /// What was seen.
    pub detail: String,
}

impl Report {
    /// Whether everything that is needed is good.
    pub fn fit(&self) -> bool {
        self.fit
    }

    /// For programs: one JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// For people: a line each.
    pub fn text(&self) -> String {
        let line = |it: &Finding| {
            let mark = match (it.good, it.needed) {
                (true, _) => "good",
                (false, true) => "BAD ",
                (false, false) => "note",
            };
            format!("{mark}  {:<7} {}", it.what, it.detail)
        };
        self.findings.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Looks at Docker, nginx, the disk, the clock and the traffic switch.
pub async fn check(config: &Config) -> Report {
    let findings =
        vec![docker(config).await, nginx(config), disk(config), clock(), proxy(config).await];
    Report { fit: findings.iter().all(|it| it.good || !it.needed), findings }
}

async fn docker(config: &Config) -> Finding {
    let docker = Docker::new(config.docker_socket.clone(), Clock::system());
    let (good, detail) = match docker.info().await {
        Ok(info) => {
            let live = if info.live_restore { "on" } else { "off: its restart stops apps" };
            let version = info.version;
            (true, format!("version {version}, {}, live-restore {live}", info.storage_driver))
        }
        Err(error) => (false, Chain(&error).to_string()),
    };
    Finding { what: "docker", good, needed: true, detail }
}

fn nginx(config: &Config) -> Finding {
    let program = &config.nginx.program;
    let runs = |it: std::fs::Metadata| it.is_file() && it.permissions().mode() & 0o111 != 0;
    let good = std::fs::metadata(program).is_ok_and(runs);
    let word = if good { "is there" } else { "is not there, or cannot be run" };
    Finding { what: "nginx", good, needed: true, detail: format!("{} {word}", program.display()) }
}

fn disk(config: &Config) -> Finding {
    let path = config.state_dir.ancestors().find(|it| it.exists());
    let (good, detail) = match path.map(stats::disk) {
        Some(Ok(disk)) => {
            let free = format!("{} of {} MiB free", disk.free >> 20, disk.total >> 20);
            (config.min_free_bytes <= disk.free, free)
        }
        Some(Err(error)) => (false, error.to_string()),
        None => (false, "it cannot be asked".to_owned()),
    };
    Finding { what: "disk", good, needed: true, detail }
}

fn clock() -> Finding {
    let now = Clock::system().now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let good = EARLIEST < now.as_secs();
    let detail = if good { "plausible" } else { "far in the past: certificates will not hold" };
    Finding { what: "clock", good, needed: true, detail: detail.to_owned() }
}

async fn proxy(config: &Config) -> Finding {
    let client = Client::new(config.forward.control.clone()).patience(std::time::Duration::ZERO);
    let (good, detail) = match client.status().await {
        Ok(status) => (true, format!("answers (pid {}), {} apps", status.pid, status.apps.len())),
        Err(error) => (false, Chain(&error).to_string()),
    };
    Finding { what: "proxy", good, needed: false, detail }
}
