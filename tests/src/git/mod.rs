//! A git server that speaks smart HTTP: `git http-backend` behind a small CGI bridge on loopback,
//! open or behind a token.
//!
//! One task accepts; each connection has one; each request starts one `git`.

mod bridge;
mod repository;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use repository::Repository;

/// A git server; it stops with its handle.
#[derive(Debug)]
pub struct GitServer {
    address: SocketAddr,
    root: Arc<PathBuf>,
    _stop: DropGuard,
    _tasks: JoinSet<()>,
}

impl GitServer {
    /// Serves the repositories below `root`. With a token, callers must show it as a password or as a
    /// bearer token.
    pub async fn start(root: PathBuf, token: Option<String>) -> Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), root, token).await
    }

    /// The same at an address of one's choice.
    pub async fn start_at(
        address: SocketAddr,
        root: PathBuf,
        token: Option<String>,
    ) -> Result<Self> {
        std::fs::create_dir_all(&root).with_context(|| format!("make {}", root.display()))?;
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        let address = listener.local_addr().context("ask for the address")?;
        let stop = CancellationToken::new();
        let root = Arc::new(root);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&root), Arc::new(token), stop.clone()));
        Ok(Self { address, root, _stop: stop.drop_guard(), _tasks: tasks })
    }

    /// Makes a repository.
    pub async fn repository(&self, name: &str) -> Result<Repository> {
        Repository::init(self.root.join(format!("{name}.git"))).await
    }

    /// Where a repository is served.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}.git", self.address)
    }
}

async fn accept(
    listener: TcpListener,
    root: Arc<PathBuf>,
    token: Arc<Option<String>>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (root, token) = (Arc::clone(&root), Arc::clone(&token));
        connections.spawn(async move {
            let service = service_fn(move |request| {
                bridge::answer(Arc::clone(&root), Arc::clone(&token), request)
            });
            // A client that goes away is its own business.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
        while connections.try_join_next().is_some() {}
    }
}
