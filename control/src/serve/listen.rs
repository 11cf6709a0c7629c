//! The HTTP listener, with or without TLS of its own.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::{Router, serve::Listener};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Error;
use crate::config::{Exposure, Http};

/// Time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at a time.
const HANDSHAKES: usize = 64;
/// Pause after an accept that failed, mostly for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// A bound listener.
pub(super) struct Bound {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Bound {
    /// Binds the address and reads the certificate.
    pub(super) async fn bind(http: &Http) -> Result<Self, Error> {
        let tls = match &http.exposure {
            Exposure::Tls { cert, key } => Some(acceptor(cert, key)?),
            Exposure::Loopback | Exposure::BehindProxy => None,
        };
        let tcp = TcpListener::bind(http.listen)
            .await
            .map_err(|source| Error::Bind { address: http.listen, source })?;
        Ok(Self { tcp, tls })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `stop`, then lets what runs end.
    pub(super) async fn serve(self, router: Router, stop: CancellationToken) {
        let ended = match self.tls {
            None => {
                let stopped = stop.clone().cancelled_owned();
                axum::serve(self.tcp, router).with_graceful_shutdown(stopped).await
            }
            Some(tls) => match Secured::over(self.tcp, tls) {
                Err(error) => Err(error),
                Ok(listener) => {
                    let stopped = stop.clone().cancelled_owned();
                    axum::serve(listener, router).with_graceful_shutdown(stopped).await
                }
            },
        };
        if let Err(error) = ended {
            warn!(%error, "the HTTP listener broke");
        }
    }
}

fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, Error> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source: rustls::pki_types::pem::Error| Error::Pem { path, source }
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(wrong(cert))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(wrong(key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(Error::Tls)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Hands out connections whose handshake is done, so that a slow one holds nobody up.
struct Secured {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Secured {
    fn over(tcp: TcpListener, tls: TlsAcceptor) -> io::Result<Self> {
        let address = tcp.local_addr()?;
        let (out, ready) = mpsc::channel(HANDSHAKES);
        let mut tasks = JoinSet::new();
        tasks.spawn(shake(tcp, tls, out));
        Ok(Self { ready, address, _tasks: tasks })
    }
}

async fn shake(
    tcp: TcpListener,
    tls: TlsAcceptor,
    out: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let mut running = JoinSet::new();
    loop {
        while HANDSHAKES <= running.len() {
            running.join_next().await;
        }
        match tcp.accept().await {
            Ok((stream, from)) => {
                let (tls, out) = (tls.clone(), out.clone());
                running.spawn(async move {
                    match timeout(HANDSHAKE, tls.accept(stream)).await {
                        // A listener that has gone takes no more.
                        Ok(Ok(stream)) => drop(out.send((stream, from)).await),
                        Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
                        Err(_) => debug!("a TLS handshake took too long"),
                    }
                });
            }
            Err(error) => {
                warn!(%error, "could not accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Listener for Secured {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The acceptor ends only with this listener.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
