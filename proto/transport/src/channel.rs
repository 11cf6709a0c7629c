//! The calling end: a gRPC channel over our TLS or over a unix socket.
//!
//! It dials when the first call comes and again after the connection is lost. Its errors say what
//! to do: whatever goes wrong below gRPC leaves as a [`Problem`], never as a bare transport error.

use std::{
    error::Error as StdError,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use http::{
    HeaderName, HeaderValue, Uri,
    header::{AUTHORIZATION, InvalidHeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use slipway_host::{Chain, clock::Clock};
use slipway_proto::{
    key,
    problem::{Kind, Problem},
};
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{Status, body::Body, transport};
use tower::Service;

use crate::{
    guard::timeout_of,
    listener::{CONNECTION_WINDOW, FRAME, KEEPALIVE, KEEPALIVE_TIMEOUT, STREAM_WINDOW},
    peer::Certificate,
    tls::{ClientTls, H2, WrongPin},
};

/// Time for a connection to come about, handshake included.
pub const CONNECT: Duration = Duration::from_secs(10);
/// Deadline of a call that answers at once.
pub const UNARY: Duration = Duration::from_secs(30);

/// A channel to one server. Cheap to clone; all clones share one connection.
#[derive(Clone)]
pub struct Channel {
    inner: transport::Channel,
    proof: Option<(HeaderName, HeaderValue)>,
    target: Arc<str>,
}

impl Channel {
    /// Calls the server at `address` (`host:port`), which must prove the TLS name `name`.
    ///
    /// # Errors
    /// The address or the name cannot be one.
    pub fn tls(address: &str, name: &str, tls: ClientTls) -> Result<Self, Problem> {
        Self::tls_by(address, name, tls, Clock::system())
    }

    /// Like [`Channel::tls`]; `clock` tells whether our own certificate still holds.
    ///
    /// # Errors
    /// The address or the name cannot be one.
    pub fn tls_by(
        address: &str,
        name: &str,
        tls: ClientTls,
        clock: Clock,
    ) -> Result<Self, Problem> {
        if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            let message = format!("`{address}` is not an address with a port");
            return Err(
                Problem::invalid("SW-ADDRESS", "address", message).hint("write it as `host:port`")
            );
        }
        let server = ServerName::try_from(name.to_owned()).map_err(|_| {
            Problem::invalid("SW-ADDRESS", "name", format!("`{name}` is not a TLS name"))
        })?;
        let endpoint = endpoint(name)?;
        let dial = Arc::new(Dial { address: address.into(), server, tls, clock });
        let target = Arc::from(format!("{name} at {address}"));
        let connector = tower::service_fn(move |_: Uri| {
            let dial = Arc::clone(&dial);
            async move { dial.dial().await.map(TokioIo::new) }
        });
        let inner = endpoint.connect_with_connector_lazy(connector);
        Ok(Self { inner, proof: None, target })
    }

    /// Calls the server behind a unix socket of this machine.
    pub fn unix(path: &Path) -> Self {
        let target = Arc::from(path.display().to_string());
        let path: Arc<PathBuf> = Arc::new(path.to_owned());
        let connector = tower::service_fn(move |_: Uri| {
            let path = Arc::clone(&path);
            async move { UnixStream::connect(&*path).await.map(TokioIo::new).map_err(Lost::Socket) }
        });
        let inner = tuned(transport::Endpoint::from_static("http://local"))
            .connect_with_connector_lazy(connector);
        Self { inner, proof: None, target }
    }

    /// Sends an agent's `x-api-key` with each call.
    ///
    /// # Errors
    /// The key has characters that no key has.
    pub fn with_key(mut self, key: &str) -> Result<Self, Problem> {
        let value = sensitive(key).map_err(|_| odd("x-api-key"))?;
        self.proof = Some((HeaderName::from_static(key::METADATA), value));
        Ok(self)
    }

    /// Sends an API token with each call.
    ///
    /// # Errors
    /// The token has characters that no token has.
    pub fn with_token(mut self, token: &str) -> Result<Self, Problem> {
        let value = sensitive(&format!("Bearer {token}")).map_err(|_| odd("token"))?;
        self.proof = Some((AUTHORIZATION, value));
        Ok(self)
    }

    /// What the channel calls, for people: `name at address`, or a path.
    pub fn target(&self) -> &str {
        &self.target
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(cx).map_err(|it| explain(&self.target, &it))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if let Some((name, value)) = &self.proof {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let target = Arc::clone(&self.target);
        // Tonic's own deadline does not cover the dialing.
        let limit = timeout_of(request.headers());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = match limit {
                Some(limit) => timeout(limit, answer).await.map_err(|_| late(&target))?,
                None => answer.await,
            };
            answer.map_err(|it| explain(&target, &it))
        })
    }
}

/// A request that must be answered within `limit`.
pub fn within<T>(limit: Duration, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}

/// A request with the deadline of a call that answers at once.
pub fn unary<T>(message: T) -> tonic::Request<T> {
    within(UNARY, message)
}

fn endpoint(name: &str) -> Result<transport::Endpoint, Problem> {
    // The TLS is ours, below tonic, hence the plain scheme.
    transport::Endpoint::from_shared(format!("http://{name}"))
        .map(tuned)
        .map_err(|_| Problem::invalid("SW-ADDRESS", "name", format!("`{name}` is not a TLS name")))
}

fn tuned(endpoint: transport::Endpoint) -> transport::Endpoint {
    endpoint
        .connect_timeout(CONNECT + Duration::from_secs(1))
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
}

fn sensitive(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

fn odd(what: &'static str) -> Problem {
    Problem::invalid("SW-TOKEN", what, "it has characters that none of ours has")
        .hint("copy it whole, without quotes or line breaks")
}

/// How to reach one server.
struct Dial {
    address: Box<str>,
    server: ServerName<'static>,
    tls: ClientTls,
    clock: Clock,
}

impl Dial {
    async fn dial(&self) -> Result<TlsStream<TcpStream>, Lost> {
        // A server that refuses our certificate can only say so after the handshake, and hardly
        // why, so what we can see ourselves comes first.
        if let Some(leaf) = self.tls.leaf()
            && self.clock.now() >= leaf.not_after
        {
            return Err(Lost::Problem(expired(&leaf)));
        }
        let config = self.tls.config().map_err(|it| {
            Lost::Problem(Problem::new(Kind::Invalid, "SW-CERT", Chain(&it).to_string()))
        })?;
        let connect = async {
            let tcp = TcpStream::connect(&*self.address).await.map_err(Lost::Socket)?;
            tcp.set_nodelay(true).map_err(Lost::Socket)?;
            let connector = TlsConnector::from(config);
            connector.connect(self.server.clone(), tcp).await.map_err(Lost::Handshake)
        };
        let io = timeout(CONNECT, connect).await.map_err(|_| Lost::Slow)??;
        if io.get_ref().1.alpn_protocol() != Some(H2) {
            let message = "the server does not speak gRPC".to_owned();
            return Err(Lost::Problem(Problem::new(Kind::Unavailable, "SW-PROTOCOL", message)));
        }
        Ok(io)
    }
}

fn expired(leaf: &Certificate) -> Problem {
    let day = day_of(leaf.not_after);
    let message = format!("our own certificate ({}) expired on {day}", leaf.identity);
    Problem::new(Kind::Unauthenticated, "SW-CERT-EXPIRED", message).hint(
        "get a new one: on a server `slipway-agent enroll --token <join token>`, as an operator \
         `slipway server cert`; and check the clock",
    )
}

/// The day of a time in UTC, `2026-11-20` (days to civil date after Howard Hinnant).
fn day_of(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A connection that did not come about.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Problem(Problem),
    #[error("no connection")]
    Socket(#[source] io::Error),
    #[error("no connection within {CONNECT:?}")]
    Slow,
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
}

fn late(target: &str) -> Status {
    let message = format!("{target} did not answer within the deadline");
    Problem::new(Kind::Timeout, "SW-TIMEOUT", message).into()
}

/// Turns what went wrong below gRPC into what to do about it.
fn explain(target: &str, error: &(dyn StdError + 'static)) -> Status {
    let mut next = Some(error);
    let mut text = String::new();
    while let Some(error) = next {
        if let Some(status) = error.downcast_ref::<Status>() {
            return Status::with_details(
                status.code(),
                status.message(),
                status.details().to_vec().into(),
            );
        }
        if let Some(Lost::Problem(problem)) = error.downcast_ref::<Lost>() {
            return problem.clone().into();
        }
        if let Some(io) = error.downcast_ref::<io::Error>()
            && let Some(tls) = io.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>())
        {
            return of_tls(target, tls).into();
        }
        if error.downcast_ref::<tonic::TimeoutExpired>().is_some() {
            return late(target);
        }
        text = error.to_string();
        next = error.source();
    }
    // After the handshake a refusal arrives as the text of a lost connection.
    if let Some((_, alert)) = text.split_once("received fatal alert: ") {
        return refused(target, alert).into();
    }
    Problem::new(Kind::Unavailable, "SW-UNREACHABLE", format!("could not reach {target}: {text}"))
        .hint("check that it runs, its address, and the firewalls between")
        .into()
}

fn of_tls(target: &str, error: &rustls::Error) -> Problem {
    use rustls::{CertificateError as Bad, Error as Tls};
    let unproven = |code, message| Problem::new(Kind::Unauthenticated, code, message);
    match error {
        Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            unproven("SW-CERT-NAME", format!("the server reached is not {target}"))
                .hint("its address may belong to another server by now; check where it is")
        }
        Tls::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            unproven("SW-CERT-PEER-EXPIRED", format!("the certificate of {target} has expired"))
                .hint("check the clocks of both machines, and the other end's log")
        }
        Tls::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            unproven("SW-CERT-PEER-EARLY", format!("the certificate of {target} is not valid yet"))
                .hint("check the clocks of both machines")
        }
        Tls::InvalidCertificate(Bad::Other(other)) if other.0.is::<WrongPin>() => {
            unproven("SW-PIN", format!("{target} is not the control plane that made this token"))
                .hint("check the address; if it is right, somebody may be in between")
        }
        Tls::InvalidCertificate(_) => {
            unproven("SW-CERT-ISSUER", format!("{target} shows a certificate of another issuer"))
                .hint("check the address, and that both belong to the same installation")
        }
        Tls::AlertReceived(alert) => refused(target, &format!("{alert:?}")),
        Tls::InvalidMessage(_) => {
            Problem::new(Kind::Unavailable, "SW-PROTOCOL", format!("{target} does not speak TLS"))
                .hint("check the port")
        }
        other => Problem::new(
            Kind::Unavailable,
            "SW-TLS",
            format!("no TLS connection to {target}: {other}"),
        ),
    }
}

fn refused(target: &str, alert: &str) -> Problem {
    let why = match alert {
        "CertificateRequired" => "it wants a certificate and got none",
        "CertificateExpired" => "it finds our certificate expired: check both clocks",
        "CertificateRevoked" => "our certificate is revoked",
        "UnknownCA" => "our certificate is of another installation",
        "ProtocolVersion" => "it does not speak TLS 1.3",
        "NoApplicationProtocol" => "it does not speak gRPC",
        other => other,
    };
    let message = format!("{target} refused the connection: {why}");
    Problem::new(Kind::Unauthenticated, "SW-CERT-REFUSED", message)
        .hint("the other end's log says more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let day = |seconds| day_of(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(951_782_400), "2000-02-29");
        assert_eq!(day(1_795_219_199), "2026-11-20");
        assert_eq!(day(1_795_219_200), "2026-11-21");
    }

    #[tokio::test]
    async fn an_address_without_a_port_is_refused() {
        let tls = ClientTls::pinned(slipway_proto::token::Pin::of(b""));
        for bad in ["", "localhost", "localhost:", "localhost:x", "localhost:70000"] {
            let problem = Channel::tls(bad, crate::CONTROL_NAME, tls.clone()).unwrap_err();
            assert_eq!(problem.code, "SW-ADDRESS", "{bad}");
        }
    }
}
