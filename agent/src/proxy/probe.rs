//! Requests through nginx, as a client of an app would make them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header::HOST};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use slipway_host::Chain;
use slipway_proto::problem::{Kind, Problem};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{AppRoute, Settings};

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Time between two requests.
const PAUSE: Duration = Duration::from_millis(50);
/// How much of a body is read.
const MAX_BODY: usize = 64 << 10;

/// What came of one request.
enum Seen {
    Release { release: String, status: u16 },
    Answer { status: u16, reason: String },
    Nothing(String),
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release { release, status } => write!(f, "release {release} answers {status}"),
            Self::Answer { status, reason } if reason.is_empty() => {
                write!(f, "nginx says {status}")
            }
            Self::Answer { status, reason } => write!(f, "the switch says {status} {reason}"),
            Self::Nothing(why) => f.write_str(why),
        }
    }
}

/// Asks until the release answers. Any status of the app counts, other than one of nginx's or the
/// switch's own: whether the app is well was found out before.
pub(crate) async fn until_release(
    settings: &Settings,
    route: &AppRoute,
    wanted: &str,
    path: &str,
    limit: Duration,
) -> Result<(), Problem> {
    let Some((address, host)) = way_in(settings, route) else { return Ok(()) };
    let deadline = Instant::now() + limit;
    loop {
        let seen = ask(address, &host, path).await;
        if matches!(&seen, Seen::Release { release, .. } if release == wanted) {
            return Ok(());
        }
        if deadline <= Instant::now() {
            let message = format!("release {wanted} did not answer through nginx: {seen}");
            return Err(Problem::new(Kind::Timeout, "SW-PROXY-PROBE", message));
        }
        sleep(PAUSE).await;
    }
}

/// Where a client would come in, and which host it would ask for; none when there is no way.
fn way_in(settings: &Settings, route: &AppRoute) -> Option<(SocketAddr, String)> {
    if let Some(domain) = route.domains.first() {
        let address = *settings.listen.first()?;
        return Some((address, domain.to_string()));
    }
    let address = SocketAddr::new(*settings.app_addresses.first()?, route.port?.get());
    Some((address, reachable(address).to_string()))
}

async fn ask(address: SocketAddr, host: &str, path: &str) -> Seen {
    let response = match exchange(address, host, path).await {
        Ok(response) => response,
        Err(why) => return Seen::Nothing(why),
    };
    let status = response.status().as_u16();
    let word = |name| {
        let value = response.headers().get(name).and_then(|it| it.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (release, reason) = (word(slipway_forward::RELEASE), word(slipway_forward::REASON));
    if release.is_empty() || !reason.is_empty() {
        return Seen::Answer { status, reason };
    }
    Seen::Release { release, status }
}

/// A small page, as text.
pub(crate) async fn get(address: SocketAddr, host: &str, path: &str) -> Result<String, String> {
    let response = exchange(address, host, path).await?;
    match response.status().as_u16() {
        200 => Ok(String::from_utf8_lossy(response.body()).into_owned()),
        other => Err(format!("nginx says {other}")),
    }
}

async fn exchange(address: SocketAddr, host: &str, path: &str) -> Result<Response<Bytes>, String> {
    let work = async {
        let stream = TcpStream::connect(reachable(address)).await.map_err(|it| it.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(describe)?;
        let request = Request::get(path)
            .header(HOST, host)
            .header(slipway_forward::PROBE, "1")
            .header(http::header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|it| it.to_string())?;
        let answer = async {
            let (head, body) = sender.send_request(request).await.map_err(describe)?.into_parts();
            // Only the status counts when a body is long or breaks off.
            let body = Limited::new(body, MAX_BODY).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            Ok(Response::from_parts(head, body))
        };
        tokio::pin!(answer);
        tokio::select! {
            it = &mut answer => it,
            _ = connection => answer.await,
        }
    };
    timeout(LIMIT, work).await.unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}")))
}

fn describe(error: hyper::Error) -> String {
    Chain(&error).to_string()
}

/// An address to connect to for one that is listened on.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(it) if it.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(it) if it.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    SocketAddr::new(ip, address.port())
}
