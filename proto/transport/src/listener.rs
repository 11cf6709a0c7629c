//! Accepts connections and hands their requests on.
//!
//! One accept loop per listener and one task per connection, all on one tracker, so that
//! [`serve_tls`] and [`serve_unix`] return only after the last connection has ended. When `stop`
//! fires, the loop takes no more connections, those that live are told to finish (GOAWAY), and what
//! has not finished within [`Limits::drain`] is cut.

use std::{
    collections::HashMap,
    fs::Permissions,
    io,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rand::RngExt as _;
use slipway_host::Chain;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt as _};

use crate::{
    peer::{Certificate, Peer},
    tls::ServerTls,
};

/// Time between pings to a silent peer.
pub const KEEPALIVE: Duration = Duration::from_secs(10);
/// Time in which it must answer.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// What one stream may have in flight: enough for 1 Gbit/s over 130 ms.
pub(crate) const STREAM_WINDOW: u32 = 16 << 20;
/// What all streams of a connection may have in flight.
pub(crate) const CONNECTION_WINDOW: u32 = 32 << 20;
/// Largest HTTP/2 frame: as large as a chunk of an upload.
pub(crate) const FRAME: u32 = 256 << 10;
/// Largest list of headers of a request. gRPC metadata of 8 KiB fits with HTTP/2's overhead.
const HEADER_LIST: u32 = 16 << 10;
/// Pause after an accept that failed, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time between two log lines about connections over the limits.
const QUIET: Duration = Duration::from_secs(10);

/// What a listener allows.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Of these, from one address.
    pub per_address: usize,
    /// Of these, without a certificate or still in their handshake.
    pub anonymous: usize,
    /// Requests at a time on one connection.
    pub streams: u32,
    /// Time for the TLS handshake.
    pub handshake: Duration,
    /// Time after which a connection is asked to finish, so that the caller dials anew and shows
    /// its present certificate; up to a tenth more at random.
    pub age: Duration,
    /// Time to finish in.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            per_address: 64,
            anonymous: 256,
            streams: 64,
            handshake: Duration::from_secs(10),
            age: Duration::from_hours(12),
            drain: Duration::from_secs(30),
        }
    }
}

/// Serves TLS connections until `stop`, then drains.
///
/// Each request carries a [`Peer`]. `service` is a `tonic::service::Routes`, an `axum::Router`, or
/// one of them behind a [`crate::Guard`].
pub async fn serve_tls<S, B>(
    listener: TcpListener,
    tls: Arc<ServerTls>,
    service: S,
    limits: Limits,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let census = Census::new(&limits);
    let tasks = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (tcp, addr) = match accepted {
            Ok(it) => it,
            Err(error) => {
                survive(&error).await;
                continue;
            }
        };
        let Some(seat) = census.admit(addr.ip().to_canonical()) else { continue };
        let (tls, service) = (Arc::clone(&tls), service.clone());
        let (limits, stop) = (limits.clone(), stop.clone());
        tasks.spawn(async move {
            let accepted = stop.run_until_cancelled(handshake(tcp, &tls, &limits)).await;
            let (io, certificate) = match accepted {
                Some(Ok(it)) => it,
                Some(Err(error)) => {
                    tracing::info!(peer = %addr, error = %Chain(&error), "refused a connection");
                    return;
                }
                None => return,
            };
            let _seat = seat.known(certificate.is_some());
            let peer = Peer::Tls { certificate: certificate.map(Arc::new), addr };
            serve(io, peer, service, &limits, &stop).await;
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Serves connections of this machine until `stop`, then drains. See [`serve_tls`].
pub async fn serve_unix<S, B>(
    listener: UnixListener,
    service: S,
    limits: Limits,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let tasks = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                survive(&error).await;
                continue;
            }
        };
        let uid = match stream.peer_cred() {
            Ok(it) => it.uid(),
            Err(error) => {
                tracing::warn!(%error, "refused a local connection of an unknown user");
                continue;
            }
        };
        if tasks.len() >= limits.connections {
            continue;
        }
        let (service, limits, stop) = (service.clone(), limits.clone(), stop.clone());
        tasks.spawn(async move {
            serve(stream, Peer::Unix { uid }, service, &limits, &stop).await;
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Binds a unix socket that only its owner may connect to, and takes the place of a socket that a
/// dead process left.
///
/// # Errors
/// The file system's.
pub fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let dir = path.parent().ok_or_else(|| io::Error::other("a socket needs a folder"))?;
    let name = path.file_name().ok_or_else(|| io::Error::other("a socket needs a name"))?;
    // Bound under another name first, so that nobody can connect before the mode is right.
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let hidden = dir.join(hidden);
    slipway_host::fs::remove(&hidden)?;
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, Permissions::from_mode(0o600))?;
    slipway_host::fs::rename(&hidden, path)?;
    Ok(listener)
}

/// A connection that did not come about.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the server's own certificate or roots cannot be used")]
    Own(#[source] crate::tls::Error),
    #[error("no handshake within {0:?}")]
    Slow(Duration),
    #[error("the handshake failed")]
    Handshake(#[source] io::Error),
    #[error("the certificate does not say who it belongs to")]
    Nobody(#[source] crate::peer::Error),
}

async fn handshake(
    tcp: TcpStream,
    tls: &ServerTls,
    limits: &Limits,
) -> Result<(TlsStream<TcpStream>, Option<Certificate>), Refusal> {
    let acceptor = TlsAcceptor::from(tls.config().map_err(Refusal::Own)?);
    tcp.set_nodelay(true).map_err(Refusal::Handshake)?;
    let io = timeout(limits.handshake, acceptor.accept(tcp))
        .await
        .map_err(|_| Refusal::Slow(limits.handshake))?
        .map_err(Refusal::Handshake)?;
    let leaf = io.get_ref().1.peer_certificates().and_then(|it| it.first());
    let certificate = leaf.map(Certificate::parse).transpose().map_err(Refusal::Nobody)?;
    Ok((io, certificate))
}

/// Serves one connection to its end.
async fn serve<I, S, B>(io: I, peer: Peer, service: S, limits: &Limits, stop: &CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.handshake);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(HEADER_LIST)
        .max_frame_size(FRAME)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let service = service.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request
    });
    let connection =
        http.serve_connection_with_upgrades(TokioIo::new(io), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let extra = limits.age.mul_f64(rand::rng().random_range(0.0..0.1));
    tokio::select! {
        // Connections end in all sorts of ways; what a request did not get, its caller knows.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => (),
        () = sleep(limits.age.saturating_add(extra)) => (),
    }
    connection.as_mut().graceful_shutdown();
    if timeout(limits.drain, connection).await.is_err() {
        tracing::info!("cut a connection that did not finish in time");
    }
}

async fn survive(error: &io::Error) {
    tracing::warn!(%error, "could not accept a connection; going on");
    sleep(ACCEPT_PAUSE).await;
}

/// Counts connections, in all and by address.
#[derive(Clone, Debug)]
struct Census(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connections: usize,
    per_address: usize,
    anonymous: usize,
    now: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    anonymous: usize,
    by_address: HashMap<IpAddr, usize>,
    said_at: Option<tokio::time::Instant>,
}

/// A connection's place in the census, given back when dropped.
#[derive(Debug)]
struct Seat {
    census: Census,
    address: IpAddr,
    anonymous: bool,
}

impl Census {
    fn new(limits: &Limits) -> Self {
        Self(Arc::new(Inner {
            connections: limits.connections,
            per_address: limits.per_address,
            anonymous: limits.anonymous,
            now: Mutex::default(),
        }))
    }

    /// A seat for one more connection; none when a limit is reached.
    fn admit(&self, address: IpAddr) -> Option<Seat> {
        let Inner { connections, per_address, anonymous, now } = &*self.0;
        let mut now = now.lock().unwrap_or_else(PoisonError::into_inner);
        let here = now.by_address.get(&address).copied().unwrap_or(0);
        if now.all >= *connections || now.anonymous >= *anonymous || here >= *per_address {
            if now.said_at.is_none_or(|it| it.elapsed() >= QUIET) {
                now.said_at = Some(tokio::time::Instant::now());
                let (all, anonymous) = (now.all, now.anonymous);
                tracing::warn!(peer = %address, all, anonymous, here, "too many connections");
            }
            return None;
        }
        now.all += 1;
        now.anonymous += 1;
        now.by_address.insert(address, here + 1);
        Some(Seat { census: self.clone(), address, anonymous: true })
    }
}

impl Seat {
    /// The handshake is over.
    fn known(mut self, has_certificate: bool) -> Self {
        if has_certificate && self.anonymous {
            self.anonymous = false;
            let mut now = self.census.0.now.lock().unwrap_or_else(PoisonError::into_inner);
            now.anonymous = now.anonymous.saturating_sub(1);
        }
        self
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut now = self.census.0.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.all = now.all.saturating_sub(1);
        if self.anonymous {
            now.anonymous = now.anonymous.saturating_sub(1);
        }
        match now.by_address.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(now.by_address.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(connections: usize, per_address: usize, anonymous: usize) -> Census {
        Census::new(&Limits { connections, per_address, anonymous, ..Limits::default() })
    }

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[tokio::test]
    async fn each_limit_turns_the_next_connection_away_until_one_ends() {
        let by_address = census(9, 1, 9);
        let seat = by_address.admit(A).unwrap();
        assert!(by_address.admit(A).is_none());
        let _other = by_address.admit(B).unwrap();
        drop(seat);
        let _again = by_address.admit(A).unwrap();

        let in_all = census(1, 9, 9);
        let seat = in_all.admit(A).unwrap();
        assert!(in_all.admit(B).is_none());
        drop(seat);
        assert!(in_all.admit(B).is_some());
    }

    #[tokio::test]
    async fn a_shown_certificate_makes_room_for_another_stranger() {
        let census = census(9, 9, 1);
        let seat = census.admit(A).unwrap();
        assert!(census.admit(B).is_none());
        let _seat = seat.known(true);
        let stranger = census.admit(B).unwrap().known(false);
        assert!(census.admit(B).is_none());
        drop(stranger);
        assert!(census.admit(B).is_some());
        assert_eq!(census.0.now.lock().unwrap().by_address.len(), 1);
    }
}
