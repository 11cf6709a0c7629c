//! The way in: nginx, and the traffic switch beneath it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use slipway_forward::{Route, Switch};
use slipway_host::Chain;
use slipway_proto::{
    problem::{Kind, Problem},
    value::{AppKey, Port},
};
use tokio::sync::Mutex;

use super::outside::{Site, Traffic};
use crate::{
    app::AppRecord,
    proxy::{AppRoute, Nginx},
};

/// nginx and the switch.
#[derive(Debug)]
pub struct Front<S> {
    nginx: Nginx,
    switch: S,
    /// Port on which nginx serves host names.
    http_port: u16,
    /// What people call this server.
    address: String,
    /// How long a new release may take to be seen.
    limit: Duration,
    /// What nginx serves.
    routes: Mutex<BTreeMap<AppKey, AppRoute>>,
}

impl<S: Switch> Front<S> {
    /// Puts nginx before the switch. `address` is how people reach this server; none: found out.
    pub fn new(
        nginx: Nginx,
        switch: S,
        http_port: u16,
        address: Option<String>,
        limit: Duration,
    ) -> Self {
        let address = address.unwrap_or_else(own_address);
        Self { nginx, switch, http_port, address, limit, routes: Mutex::default() }
    }

    /// Makes nginx serve exactly these apps: at the start of the agent.
    ///
    /// # Errors
    /// nginx's.
    pub async fn restore(&self, records: &[AppRecord]) -> Result<(), Problem> {
        let mut routes = self.routes.lock().await;
        let served = records.iter().filter(|it| it.serving.is_some());
        *routes = served
            .map(|it| Ok((it.key.clone(), route(&it.site())?)))
            .collect::<Result<_, Problem>>()?;
        let all: Vec<_> = routes.values().cloned().collect();
        self.nginx.apply(&all).await.map(drop)
    }
}

impl<S: Switch> Traffic for Front<S> {
    async fn serve(
        &self,
        site: &Site,
        generation: u64,
        targets: &[SocketAddr],
    ) -> Result<(), Problem> {
        let wanted = route(site)?;
        {
            // Held while nginx reads it: another app's change must not put this one back.
            let mut routes = self.routes.lock().await;
            let before = routes.insert(site.key.clone(), wanted.clone());
            let all: Vec<_> = routes.values().cloned().collect();
            if let Err(problem) = self.nginx.apply(&all).await {
                match before {
                    Some(before) => routes.insert(site.key.clone(), before),
                    None => routes.remove(&site.key),
                };
                return Err(problem);
            }
        }
        let next = Route::new(generation, targets.iter().copied());
        self.switch.set(&site.key.to_string(), &next).await.map_err(switch_failed)?;
        if targets.is_empty() {
            return Ok(());
        }
        let path = site.path.as_ref().map_or("/", |it| it.as_str());
        self.nginx.probe(&wanted, &generation.to_string(), path, self.limit).await
    }

    fn urls(&self, site: &Site) -> Vec<String> {
        if let (true, Some(port)) = (site.domains.is_empty(), site.port) {
            return vec![format!("http://{}:{port}", self.address)];
        }
        let url = |domain: &_| match self.http_port {
            80 => format!("http://{domain}"),
            port => format!("http://{domain}:{port}"),
        };
        site.domains.iter().map(url).collect()
    }

    async fn generation(&self, key: &AppKey) -> Result<Option<u64>, Problem> {
        let status = self.switch.status().await.map_err(switch_failed)?;
        Ok(status.current(&key.to_string()).map(|it| it.generation))
    }

    async fn drain(&self, key: &AppKey, generation: u64, limit: Duration) -> Result<u64, Problem> {
        let key = key.to_string();
        let open = self.switch.drained(&key, generation, limit).await.map_err(switch_failed)?;
        if open == 0 {
            return Ok(0);
        }
        self.switch.cut(&key, generation).await.map_err(switch_failed)
    }

    async fn remove(&self, key: &AppKey) -> Result<(), Problem> {
        {
            let mut routes = self.routes.lock().await;
            if let Some(before) = routes.remove(key) {
                let all: Vec<_> = routes.values().cloned().collect();
                if let Err(problem) = self.nginx.apply(&all).await {
                    routes.insert(key.clone(), before);
                    return Err(problem);
                }
            }
        }
        self.switch.remove(&key.to_string()).await.map_err(switch_failed)
    }

    async fn in_flight(&self) -> Result<BTreeMap<(String, u64), u64>, Problem> {
        let status = self.switch.status().await.map_err(switch_failed)?;
        let generations = status.apps.into_iter().flat_map(|app| {
            let all = app.current.into_iter().chain(app.retired);
            all.map(move |it| ((app.app.clone(), it.generation), it.in_flight))
        });
        Ok(generations.collect())
    }

    async fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.nginx.is_running() {
            problems.push("nginx does not run".to_owned());
        }
        if let Err(error) = self.switch.status().await {
            problems.push(Chain(&error).to_string());
        }
        problems
    }
}

fn route(site: &Site) -> Result<AppRoute, Problem> {
    let port = site.port.map(|it| Port::try_from(u32::from(it))).transpose()?;
    Ok(AppRoute::new(site.key.clone(), site.domains.clone(), port))
}

fn switch_failed(error: slipway_forward::Error) -> Problem {
    let kind = if error.retry() { Kind::Unavailable } else { Kind::Internal };
    Problem::new(kind, "SW-PROXY-SWITCH", Chain(&error).to_string())
        .hint("look at `systemctl status slipway-proxy` on the server")
}

/// The address from which this server reaches others. Nothing is sent.
fn own_address() -> String {
    let asked = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    asked().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_string()
}
