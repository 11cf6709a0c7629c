//! The clients. A failure is an answer that is not 2xx, or a connection that ends after a request was
//! sent on it; one that the server closes while it is idle, and that the client notices, is none.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Pause of a paced client.
const PACE: Duration = Duration::from_millis(100);
/// When a client gives an answer up.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long one WebSocket is used, and how often it is.
const SOCKET_LIFE: u32 = 15;
const SOCKET_PACE: Duration = Duration::from_millis(200);

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Answers of 2xx.
    pub(super) answered: u64,
    /// Other answers.
    pub(super) bad_status: u64,
    /// Connections that ended, or were silent for long, after a request was sent.
    pub(super) resets: u64,
    /// Answers of an old release to a request that began after the flip.
    pub(super) stale: u64,
    /// Slow requests, and those of them that failed.
    pub(super) slow: u64,
    pub(super) slow_cut: u64,
    /// WebSockets, and those of them that ended early.
    pub(super) sockets: u64,
    pub(super) sockets_cut: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        let Self { answered, bad_status, resets, stale, slow, slow_cut, sockets, sockets_cut } =
            other;
        self.answered += answered;
        self.bad_status += bad_status;
        self.resets += resets;
        self.stale += stale;
        self.slow += slow;
        self.slow_cut += slow_cut;
        self.sockets += sockets;
        self.sockets_cut += sockets_cut;
    }
}

#[derive(Debug, Default)]
struct Shared {
    tally: Mutex<Tally>,
    /// Releases in order, as they became the only right answer.
    releases: Mutex<Vec<String>>,
    flips: AtomicU64,
    stop: CancellationToken,
}

impl Shared {
    fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn is_stale(&self, flips: u64, body: &[u8]) -> bool {
        let releases = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
        let at = releases.iter().position(|it| it.as_bytes() == body);
        let at = at.and_then(|it| u64::try_from(it).ok());
        // A release that is not listed yet is the next one; the first is not listed at all.
        match at {
            Some(at) => at + 1 < flips,
            None => 0 < flips && releases.first().is_some_and(|it| body < it.as_bytes()),
        }
    }
}

/// Running clients.
pub(super) struct Load {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

impl Load {
    pub(super) fn start(address: SocketAddr, busy: usize, paced: usize, slow: bool) -> Self {
        let (shared, tasks) = (Arc::new(Shared::default()), TaskTracker::new());
        for nth in 0..busy + paced {
            let method = if nth.is_multiple_of(2) { Method::GET } else { Method::POST };
            let pause = if nth < busy { Duration::ZERO } else { PACE };
            tasks.spawn(client(Arc::clone(&shared), address, method, pause));
        }
        if slow {
            for nth in 0..4 {
                tasks.spawn(slow_client(Arc::clone(&shared), address, nth));
            }
        }
        for _ in 0..2 {
            tasks.spawn(socket_client(Arc::clone(&shared), address));
        }
        Self { shared, tasks }
    }

    /// From now on every new request must be answered by `release` or a later one.
    pub(super) fn expect(&self, release: &str) {
        let mut releases = self.shared.releases.lock().unwrap_or_else(PoisonError::into_inner);
        releases.push(release.to_owned());
        drop(releases);
        self.shared.flips.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) async fn finish(self) -> Tally {
        self.shared.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        *self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn client(shared: Arc<Shared>, address: SocketAddr, method: Method, pause: Duration) {
    let mut connection: Option<SendRequest<Full<Bytes>>> = None;
    while !shared.stop.is_cancelled() {
        if let Some(it) = &mut connection
            && it.ready().await.is_err()
        {
            // Noticed while idle: not a failure.
            connection = None;
        }
        if connection.is_none() {
            connection = connect(&shared, address).await;
        }
        let Some(mut sender) = connection.take() else { continue };
        let flips = shared.flips.load(Ordering::SeqCst);
        match timeout(PATIENCE, ask(&mut sender, &method, "/")).await {
            Ok(Ok((200, body))) => {
                let stale = shared.is_stale(flips, &body);
                shared.count(|it| {
                    it.answered += 1;
                    it.stale += u64::from(stale);
                });
                connection = Some(sender);
            }
            Ok(Ok((status, body))) => {
                tracing::debug!(status, body = %String::from_utf8_lossy(&body), "bad status");
                shared.count(|it| it.bad_status += 1);
                connection = Some(sender);
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, %method, "reset");
                shared.count(|it| it.resets += 1);
            }
            Err(_) => shared.count(|it| it.resets += 1),
        }
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
}

async fn connect(shared: &Shared, address: SocketAddr) -> Option<SendRequest<Full<Bytes>>> {
    let made = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        #[expect(clippy::disallowed_methods, reason = "ends with its sender")]
        tokio::spawn(connection);
        anyhow::Ok(sender)
    };
    match timeout(PATIENCE, made).await {
        Ok(Ok(sender)) => Some(sender),
        other => {
            tracing::debug!(?other, "could not connect");
            shared.count(|it| it.resets += 1);
            sleep(Duration::from_millis(20)).await;
            None
        }
    }
}

async fn ask(
    sender: &mut SendRequest<Full<Bytes>>,
    method: &Method,
    path: &str,
) -> Result<(u16, Bytes), hyper::Error> {
    let body = if method == Method::POST { Bytes::from_static(&[b'x'; 512]) } else { Bytes::new() };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method.clone();
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
        .headers_mut()
        .insert(header::HOST, header::HeaderValue::from_static("bench.example.com"));
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok((head.status.as_u16(), body.collect().await?.to_bytes()))
}

/// Asks for what takes five seconds, again and again, out of step with the others.
async fn slow_client(shared: Arc<Shared>, address: SocketAddr, nth: u64) {
    sleep(Duration::from_millis(700 * nth)).await;
    let method = if nth.is_multiple_of(2) { Method::GET } else { Method::POST };
    while !shared.stop.is_cancelled() {
        let Some(mut sender) = connect(&shared, address).await else { continue };
        let answer = timeout(PATIENCE, ask(&mut sender, &method, "/slow")).await;
        let fine = matches!(answer, Ok(Ok((200, _))));
        shared.count(|it| {
            it.slow += 1;
            it.slow_cut += u64::from(!fine);
        });
    }
}

/// Talks over one WebSocket for some seconds, then over the next.
async fn socket_client(shared: Arc<Shared>, address: SocketAddr) {
    while !shared.stop.is_cancelled() {
        let talked = timeout(PATIENCE, talk(&shared, address)).await;
        if !matches!(talked, Ok(Ok(()))) {
            tracing::debug!(?talked, "WebSocket ended early");
        }
        shared.count(|it| {
            it.sockets += 1;
            it.sockets_cut += u64::from(!matches!(talked, Ok(Ok(()))));
        });
    }
}

async fn talk(shared: &Shared, address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /ws HTTP/1.1\r\nHost: bench.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    anyhow::ensure!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    for _ in 0..SOCKET_LIFE {
        stream.write_all(b"hello").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        if shared.stop.is_cancelled() {
            break;
        }
        sleep(SOCKET_PACE).await;
    }
    Ok(())
}
