//! The ways to move traffic: how each is set up behind nginx, flipped, and known to be drained.

use std::{
    collections::HashSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use slipway_forward::{Client, Config, Forwarder, Route, Switch as _};
use slipway_host::exec::Program;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    process::Child,
    time::sleep,
};

use super::{
    l4::L4,
    place::{Container, Place, folder, free, run},
};

/// All candidates, in the order of the table.
pub(super) const NAMES: [&str; 8] = [
    "L7 forwarder, nginx keep-alive 1 s",
    "L7 forwarder, nginx keep-alive off",
    "L4 forwarder, nginx keep-alive off",
    "L4 forwarder, nginx keep-alive 1 s",
    "HAProxy runtime API",
    "nftables, keep-alive 1 s, masquerade",
    "nginx reload, waiting for old workers",
    "nginx reload, stopping at once",
];

const KEPT: &str = "keepalive 128; keepalive_timeout 1s; keepalive_requests 100000;";
/// Bounds the life of a connection too, for those who pin one to a container.
const BOUNDED: &str = "keepalive 128; keepalive_time 1s; keepalive_timeout 1s;";
/// Address that leads to the current container, by nft.
const STABLE: &str = "10.214.255.1";
const LOOK: Duration = Duration::from_millis(20);

/// A candidate at work.
pub(super) struct Candidate {
    /// nginx's address.
    pub(super) address: SocketAddr,
    dir: PathBuf,
    nginx: Child,
    way: Way,
}

enum Way {
    L7 { switch: Forwarder, client: Client, generation: u64 },
    L4(L4),
    HaProxy { process: Child, socket: PathBuf, slot: usize },
    Nft,
    Reload { old: HashSet<u32>, wait: bool },
}

impl Candidate {
    pub(super) async fn start(
        name: &str,
        place: &Place,
        first: &Container,
    ) -> anyhow::Result<Self> {
        let dir = folder(place, "candidate")?;
        let address = free()?;
        let socket = dir.join("switch.sock");
        let unix = format!("unix:{}", socket.display());
        let (way, upstream, keep) = match name {
            "L7 forwarder, nginx keep-alive 1 s" => (l7(&dir, first).await?, unix, KEPT),
            "L7 forwarder, nginx keep-alive off" => (l7(&dir, first).await?, unix, ""),
            "L4 forwarder, nginx keep-alive off" => (Way::L4(l4(&socket, first)?), unix, ""),
            "L4 forwarder, nginx keep-alive 1 s" => (Way::L4(l4(&socket, first)?), unix, BOUNDED),
            "HAProxy runtime API" => (haproxy(&dir, &socket, first).await?, unix, KEPT),
            "nftables, keep-alive 1 s, masquerade" => {
                nft_start(&dir, first).await?;
                (Way::Nft, format!("{STABLE}:8080"), BOUNDED)
            }
            "nginx reload, waiting for old workers" => {
                (Way::Reload { old: HashSet::new(), wait: true }, first.address.to_string(), KEPT)
            }
            "nginx reload, stopping at once" => {
                (Way::Reload { old: HashSet::new(), wait: false }, first.address.to_string(), KEPT)
            }
            other => bail!("no candidate `{other}`"),
        };
        write_nginx(&dir, address, &upstream, keep)?;
        let nginx = Program::new("nginx")
            .arg("-p")
            .arg(&dir)
            .arg("-c")
            .arg(dir.join("nginx.conf"))
            .args(["-g", "daemon off;"])
            .spawn(std::process::Stdio::null())?;
        let candidate = Self { address, dir, nginx, way };
        await_port(address).await?;
        Ok(candidate)
    }

    /// Moves traffic to `new`. New requests must reach it from when this returns.
    pub(super) async fn flip(&mut self, new: &Container) -> anyhow::Result<()> {
        match &mut self.way {
            Way::L7 { client, generation, .. } => {
                *generation += 1;
                let release = new.name.clone();
                let route = Route { generation: *generation, release, targets: vec![new.address] };
                client.set("bench", &route).await?;
            }
            Way::L4(l4) => l4.flip(new.address),
            Way::HaProxy { socket, slot, .. } => {
                let (next, old) = (1 - *slot, *slot);
                let (ip, port) = (new.address.ip(), new.address.port());
                let lines = format!(
                    "set server b/s{next} addr {ip} port {port}; set server b/s{next} state ready; set server b/s{old} state maint"
                );
                tell_haproxy(socket, &lines).await?;
                *slot = next;
            }
            Way::Nft => nft_point(&self.dir, new).await?,
            Way::Reload { old, .. } => {
                let pid = master(&self.dir)?;
                *old = children(pid)?;
                write_nginx(&self.dir, self.address, &new.address.to_string(), KEPT)?;
                nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(i32::try_from(pid)?),
                    nix::sys::signal::Signal::SIGHUP,
                )?;
            }
        }
        Ok(())
    }

    /// Waits until the old container has nothing to do, as far as the candidate can tell.
    pub(super) async fn drained(&self, old: &Container, limit: Duration) -> anyhow::Result<bool> {
        let deadline = Instant::now() + limit;
        if let Way::L7 { client, generation, .. } = &self.way {
            let left = client.drained("bench", generation - 1, limit).await?;
            if 0 < left {
                client.cut("bench", generation - 1).await?;
            }
            return Ok(left == 0);
        }
        let mut quiet = 0;
        while Instant::now() < deadline {
            let open = match &self.way {
                Way::L7 { .. } => 0,
                Way::L4(l4) => l4.open(old.address),
                Way::HaProxy { socket, slot, .. } => haproxy_sessions(socket, 1 - *slot).await?,
                Way::Nft => connections(old.pid)?,
                Way::Reload { wait: false, .. } => return Ok(true),
                Way::Reload { old, .. } => {
                    let now = children(master(&self.dir)?)?;
                    u64::try_from(old.intersection(&now).count())?
                }
            };
            // Twice in a row, for those that look from outside.
            quiet = if open == 0 { quiet + 1 } else { 0 };
            if quiet == 2 {
                return Ok(true);
            }
            sleep(LOOK).await;
        }
        Ok(false)
    }

    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        let conf = self.dir.join("nginx.conf");
        let (dir, conf) = (self.dir.to_string_lossy(), conf.to_string_lossy());
        run("nginx", &["-p", &dir, "-c", &conf, "-s", "stop"]).await?;
        self.nginx.wait().await?;
        match self.way {
            Way::L7 { switch, .. } => drop(switch.finish().await),
            Way::HaProxy { mut process, .. } => process.kill().await?,
            Way::Nft => nft_end().await?,
            Way::L4(_) | Way::Reload { .. } => (),
        }
        Ok(())
    }
}

fn write_nginx(dir: &Path, listen: SocketAddr, upstream: &str, keep: &str) -> anyhow::Result<()> {
    let d = dir.display();
    let text = format!(
        "worker_processes 2; pid {d}/nginx.pid; error_log {d}/error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {d}/t1; proxy_temp_path {d}/t2; fastcgi_temp_path {d}/t3; uwsgi_temp_path {d}/t4; scgi_temp_path {d}/t5;
    keepalive_requests 10000000;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream app {{ server {upstream} max_fails=0; {keep} }}
    server {{
        listen {listen} backlog=4096;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Slipway-App bench;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
            proxy_request_buffering off;
        }}
    }}
}}
"
    );
    slipway_host::fs::replace(&dir.join("nginx.conf"), text.as_bytes(), 0o644)?;
    Ok(())
}

async fn await_port(address: SocketAddr) -> anyhow::Result<()> {
    for _ in 0..500 {
        if TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        sleep(LOOK).await;
    }
    bail!("nothing listens on {address}")
}

async fn l7(dir: &Path, first: &Container) -> anyhow::Result<Way> {
    let config = Config {
        listen: dir.join("switch.sock"),
        grace: Duration::from_secs(1),
        ..Config::new(dir, dir)
    };
    let client = Client::new(&config.control);
    let switch = Forwarder::start(config, None).await?;
    let route = Route { generation: 1, release: first.name.clone(), targets: vec![first.address] };
    client.set("bench", &route).await?;
    Ok(Way::L7 { switch, client, generation: 1 })
}

fn l4(socket: &Path, first: &Container) -> anyhow::Result<L4> {
    let l4 = L4::start(socket, first.address)?;
    open_to_all(socket)?;
    Ok(l4)
}

fn open_to_all(socket: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666))?;
    Ok(())
}

async fn haproxy(dir: &Path, socket: &Path, first: &Container) -> anyhow::Result<Way> {
    let (admin, config) = (dir.join("admin.sock"), dir.join("haproxy.cfg"));
    let text = format!(
        "global
  stats socket {} level admin
  nbthread 2
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  timeout http-keep-alive 10s
  option redispatch
  retries 3
  retry-on conn-failure empty-response
frontend f
  bind unix@{} mode 666
  default_backend b
backend b
  http-reuse safe
  server s0 {}
  server s1 127.0.0.1:1 disabled
",
        admin.display(),
        socket.display(),
        first.address,
    );
    fs::write(&config, text)?;
    let process = Program::new("haproxy")
        .arg("-db")
        .arg("-f")
        .arg(&config)
        .spawn(std::process::Stdio::null())?;
    for _ in 0..200 {
        if UnixStream::connect(&admin).await.is_ok() {
            return Ok(Way::HaProxy { process, socket: admin, slot: 0 });
        }
        sleep(LOOK).await;
    }
    bail!("HAProxy did not start")
}

async fn tell_haproxy(socket: &Path, lines: &str) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(lines.as_bytes()).await?;
    stream.write_all(b"\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Requests that a server of HAProxy's works on.
async fn haproxy_sessions(socket: &Path, slot: usize) -> anyhow::Result<u64> {
    let table = tell_haproxy(socket, "show stat").await?;
    let prefix = format!("b,s{slot},");
    let line = table.lines().find(|it| it.starts_with(&prefix)).context("no such server")?;
    Ok(line.split(',').nth(4).context("no such column")?.parse()?)
}

async fn nft_start(dir: &Path, first: &Container) -> anyhow::Result<()> {
    // Fails when it is there already.
    drop(run("ip", &["addr", "add", &format!("{STABLE}/32"), "dev", "lo"]).await);
    let text = format!(
        "table ip slipway_bench
delete table ip slipway_bench
table ip slipway_bench {{
    chain out {{ type nat hook output priority -100; }}
    chain post {{ type nat hook postrouting priority 99; ip saddr {STABLE} masquerade; }}
}}
"
    );
    fs::write(dir.join("nft"), text)?;
    run("nft", &["-f", &dir.join("nft").to_string_lossy()]).await?;
    nft_point(dir, first).await
}

async fn nft_point(dir: &Path, to: &Container) -> anyhow::Result<()> {
    let text = format!(
        "flush chain ip slipway_bench out
add rule ip slipway_bench out ip daddr {STABLE} tcp dport 8080 dnat to {}
",
        to.address
    );
    fs::write(dir.join("nft"), text)?;
    run("nft", &["-f", &dir.join("nft").to_string_lossy()]).await?;
    Ok(())
}

async fn nft_end() -> anyhow::Result<()> {
    run("nft", &["delete", "table", "ip", "slipway_bench"]).await?;
    run("ip", &["addr", "del", &format!("{STABLE}/32"), "dev", "lo"]).await?;
    Ok(())
}

/// Connections that a container has on its port, seen in its own network.
fn connections(pid: u32) -> anyhow::Result<u64> {
    let mut open = 0;
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}"))?;
        for line in text.lines().skip(1) {
            let mut words = line.split_whitespace().skip(1);
            let (local, state) = (words.next().unwrap_or_default(), words.nth(1));
            open += u64::from(local.ends_with(":1F90") && state == Some("01"));
        }
    }
    Ok(open)
}

fn master(dir: &Path) -> anyhow::Result<u32> {
    Ok(fs::read_to_string(dir.join("nginx.pid"))?.trim().parse()?)
}

fn children(pid: u32) -> anyhow::Result<HashSet<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    text.split_whitespace().map(|it| Ok(it.parse()?)).collect()
}
