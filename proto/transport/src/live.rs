//! The whole of this crate over real connections on loopback.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::HeaderMap;
use slipway_host::clock::Clock;
use slipway_proto::{
    policy::Role,
    problem::{Kind, Problem},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, service::Routes};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::Service as _;

use crate::{
    CONTROL_NAME, Credentials,
    channel::{Channel, unary},
    guard::{Authenticate, Caller, Guard, Subject},
    listener::{Limits, bind_unix, serve_tls, serve_unix},
    peer::{Identity, Peer},
    testing::{Authority, agent, control, operator},
    tls::{ClientAuth, ClientTls, Protocols, ServerTls},
};

/// Believes certificates and local root; the token `good` is a user's.
#[derive(Clone, Debug, Default)]
struct Simple {
    /// Where calls came from: one address for each connection.
    seen: Arc<Mutex<HashSet<SocketAddr>>>,
}

impl Authenticate for Simple {
    async fn authenticate(&self, peer: &Peer, headers: &HeaderMap) -> Result<Caller, Problem> {
        let caller = Caller::anyone(peer.clone());
        if let Peer::Tls { addr, .. } = peer {
            self.seen.lock().unwrap().insert(*addr);
        }
        if let Peer::Unix { uid } = *peer {
            return Ok(Caller {
                role: Role::LocalRoot,
                subject: Subject::Process { uid },
                ..caller
            });
        }
        if let Some(certificate) = peer.certificate() {
            let (role, read_only) = match certificate.identity {
                Identity::Agent { .. } => (Role::Agent, false),
                Identity::Control { .. } => (Role::Control, false),
                Identity::Operator { write, .. } => (Role::Operator, !write),
            };
            let subject = Subject::Certificate(Arc::clone(certificate));
            return Ok(Caller { role, read_only, subject, ..caller });
        }
        match headers.get("authorization").map(http::HeaderValue::as_bytes) {
            None => Ok(caller),
            Some(b"Bearer good") => Ok(Caller { role: Role::User, ..caller }),
            Some(_) => Err(Problem::new(Kind::Unauthenticated, "SW-TOKEN", "no such token")),
        }
    }
}

struct Server {
    addr: SocketAddr,
    credentials: Arc<Credentials>,
    seen: Arc<Mutex<HashSet<SocketAddr>>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(authority: &Authority, auth: ClientAuth, limits: Limits) -> Self {
        let credentials = authority.credentials(&control()).unwrap();
        Self::with(credentials, auth, limits).await
    }

    async fn with(credentials: Arc<Credentials>, auth: ClientAuth, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let tls = ServerTls::new(Arc::clone(&credentials), auth, Protocols::GrpcAndHttp);
        let stop = CancellationToken::new();
        let simple = Simple::default();
        let seen = Arc::clone(&simple.seen);
        let served = serve_tls(listener, Arc::new(tls), service(simple), limits, stop.clone());
        #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
        let task = tokio::spawn(served);
        Self { addr, credentials, seen, stop, task }
    }

    fn channel(&self, tls: ClientTls) -> Channel {
        Channel::tls(&self.addr.to_string(), CONTROL_NAME, tls).unwrap()
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn service(simple: Simple) -> Guard<Routes, Simple> {
    let (_, health) = tonic_health::server::health_reporter();
    Guard::new(Routes::new(health).prepare(), simple)
}

async fn check(channel: &Channel) -> Result<(), Problem> {
    let request = unary(HealthCheckRequest { service: String::new() });
    match HealthClient::new(channel.clone()).check(request).await {
        Ok(_) => Ok(()),
        Err(status) => Err(Problem::from_status(&status)),
    }
}

async fn code(channel: &Channel) -> String {
    check(channel).await.map_or_else(|it| it.code.into_owned(), |()| "ok".to_owned())
}

#[tokio::test]
async fn each_caller_gets_what_the_policy_gives_it() {
    let authority = Authority::new().unwrap();
    let server = Server::start(&authority, ClientAuth::Optional, Limits::default()).await;
    let mutual = |it| server.channel(ClientTls::mutual(authority.credentials(&it).unwrap()));
    let rooted = server.channel(ClientTls::rooted(&authority.roots()).unwrap());
    let pinned = server.channel(ClientTls::pinned(authority.pin().unwrap()));

    assert_eq!(code(&mutual(control())).await, "ok");
    assert_eq!(code(&mutual(operator("u", false))).await, "ok");
    assert_eq!(code(&mutual(agent("u", "a"))).await, "SW-DENIED");
    assert_eq!(code(&rooted).await, "SW-UNAUTHENTICATED");
    assert_eq!(code(&rooted.clone().with_token("good").unwrap()).await, "ok");
    assert_eq!(code(&rooted.with_token("bad").unwrap()).await, "SW-TOKEN");
    assert_eq!(code(&pinned.with_token("good").unwrap()).await, "ok");
    server.end().await;
}

#[tokio::test]
async fn a_wrong_pin_is_told_from_a_right_one() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let server = Server::start(&authority, ClientAuth::Optional, Limits::default()).await;
    let channel = server.channel(ClientTls::pinned(other.pin().unwrap()));
    let problem = check(&channel).await.unwrap_err();
    assert_eq!((problem.code.as_ref(), problem.kind), ("SW-PIN", Kind::Unauthenticated));
    server.end().await;
}

#[tokio::test]
async fn a_server_with_the_root_of_another_in_its_chain_does_not_pass_for_it() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let (mut chain, key) = other.issue(&control(), Duration::from_hours(2)).unwrap();
    chain.extend(authority.roots());
    let credentials = Credentials::new(chain, key, &other.roots()).unwrap();
    let server = Server::with(credentials, ClientAuth::Optional, Limits::default()).await;
    let channel = server.channel(ClientTls::pinned(authority.pin().unwrap()));
    assert_eq!(code(&channel).await, "SW-CERT-ISSUER");
    server.end().await;
}

#[tokio::test]
async fn a_server_of_another_name_or_issuer_is_named_as_such() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let credentials = authority.credentials(&agent("u", "a")).unwrap();
    let server = Server::with(credentials, ClientAuth::Required, Limits::default()).await;
    let own = authority.credentials(&control()).unwrap();
    let wrong = server.channel(ClientTls::mutual(Arc::clone(&own)));
    assert_eq!(code(&wrong).await, "SW-CERT-NAME");
    let right =
        Channel::tls(&server.addr.to_string(), &crate::agent_name("a"), ClientTls::mutual(own));
    assert_eq!(code(&right.unwrap()).await, "ok");
    let foreign = server.channel(ClientTls::mutual(other.credentials(&control()).unwrap()));
    assert_eq!(code(&foreign).await, "SW-CERT-ISSUER");
    server.end().await;
}

#[tokio::test]
async fn a_certificate_of_another_issuer_gets_no_connection() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    for auth in [ClientAuth::Required, ClientAuth::Optional] {
        let server = Server::start(&authority, auth, Limits::default()).await;
        let (chain, key) = other.issue(&control(), Duration::from_hours(2)).unwrap();
        let credentials = Credentials::new(chain, key, &authority.roots()).unwrap();
        let problem = check(&server.channel(ClientTls::mutual(credentials))).await.unwrap_err();
        assert!(
            ["SW-CERT-REFUSED", "SW-UNREACHABLE"].contains(&problem.code.as_ref()),
            "{problem}"
        );
        server.end().await;
    }
}

#[tokio::test]
async fn a_missing_certificate_gets_no_connection_where_one_is_required() {
    let authority = Authority::new().unwrap();
    let server = Server::start(&authority, ClientAuth::Required, Limits::default()).await;
    let channel = server.channel(ClientTls::rooted(&authority.roots()).unwrap());
    let problem = check(&channel).await.unwrap_err();
    assert!(["SW-CERT-REFUSED", "SW-UNREACHABLE"].contains(&problem.code.as_ref()), "{problem}");
    server.end().await;
}

#[tokio::test]
async fn an_expired_certificate_of_our_own_is_told_before_anything_is_dialed() {
    let authority = Authority::new().unwrap();
    let (chain, key) = authority.issue(&agent("u", "a"), Duration::from_mins(1)).unwrap();
    let credentials = Credentials::new(chain, key, &authority.roots()).unwrap();
    // Nothing listens on port 1, so an answer that names the certificate came before dialing.
    let channel = Channel::tls("127.0.0.1:1", CONTROL_NAME, ClientTls::mutual(credentials));
    let problem = check(&channel.unwrap()).await.unwrap_err();
    assert_eq!(problem.code, "SW-CERT-EXPIRED");
    assert!(problem.message.contains("agent/a"), "{problem}");
    assert!(problem.hint.unwrap().contains("slipway-agent enroll"));
}

#[tokio::test]
async fn an_expired_certificate_gets_no_connection() {
    let authority = Authority::new().unwrap();
    let server = Server::start(&authority, ClientAuth::Optional, Limits::default()).await;
    let (chain, key) = authority.issue(&control(), Duration::from_mins(1)).unwrap();
    let credentials = Credentials::new(chain, key, &authority.roots()).unwrap();
    let past = Clock::manual(std::time::UNIX_EPOCH);
    let address = server.addr.to_string();
    let channel = Channel::tls_by(&address, CONTROL_NAME, ClientTls::mutual(credentials), past);
    let problem = check(&channel.unwrap()).await.unwrap_err();
    assert!(["SW-CERT-REFUSED", "SW-UNREACHABLE"].contains(&problem.code.as_ref()), "{problem}");
    server.end().await;
}

#[tokio::test]
async fn nobody_at_home_is_told_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    drop(listener);
    let authority = Authority::new().unwrap();
    let tls = ClientTls::rooted(&authority.roots()).unwrap();
    let problem = check(&Channel::tls(&addr, CONTROL_NAME, tls).unwrap()).await.unwrap_err();
    assert_eq!((problem.code.as_ref(), problem.kind), ("SW-UNREACHABLE", Kind::Unavailable));
    assert!(problem.message.contains(&addr) && problem.message.contains("refused"), "{problem}");
}

#[tokio::test]
async fn plaintext_and_old_tls_are_refused_and_the_server_goes_on() {
    let authority = Authority::new().unwrap();
    let server = Server::start(&authority, ClientAuth::Optional, Limits::default()).await;

    let mut plain = TcpStream::connect(server.addr).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).await.unwrap_or_default();
    assert!(!answer.windows(4).any(|it| it == b"HTTP"), "{answer:?}");

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.roots().remove(0)).unwrap();
    let old = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(server.addr).await.unwrap();
    let name = CONTROL_NAME.try_into().unwrap();
    let error = tokio_rustls::TlsConnector::from(Arc::new(old)).connect(name, tcp).await;
    assert!(error.unwrap_err().to_string().contains("ProtocolVersion"));

    let own = authority.credentials(&control()).unwrap();
    assert_eq!(code(&server.channel(ClientTls::mutual(own))).await, "ok");
    server.end().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_on_both_ends_without_a_restart() {
    let authority = Authority::new().unwrap();
    let server = Server::start(&authority, ClientAuth::Required, Limits::default()).await;
    let own = authority.credentials(&control()).unwrap();
    let tls = ClientTls::mutual(Arc::clone(&own));
    let before = server.channel(tls.clone());
    assert_eq!(code(&before).await, "ok");

    // Both ends move to another authority at once: nothing of the old would still pass.
    let next = Authority::new().unwrap();
    for credentials in [&server.credentials, &own] {
        let (chain, key) = next.issue(&control(), Duration::from_hours(2)).unwrap();
        credentials.replace(chain, key, &next.roots()).unwrap();
    }
    assert_eq!(code(&server.channel(tls)).await, "ok", "a new connection uses the new ones");
    assert_eq!(code(&before).await, "ok", "the old connection lives on");
    let old = authority.credentials(&control()).unwrap();
    assert_eq!(code(&server.channel(ClientTls::mutual(old))).await, "SW-CERT-ISSUER");
    server.end().await;
}

#[tokio::test]
async fn credentials_that_do_not_fit_are_refused_and_the_old_ones_stay() {
    let authority = Authority::new().unwrap();
    let credentials = authority.credentials(&control()).unwrap();
    let before = credentials.leaf();
    let (chain, _) = authority.issue(&control(), Duration::from_hours(2)).unwrap();
    let (_, other_key) = authority.issue(&control(), Duration::from_hours(2)).unwrap();
    assert!(credentials.replace(chain, other_key, &authority.roots()).is_err());
    assert_eq!(credentials.leaf(), before);
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let authority = Authority::new().unwrap();
    let limits = Limits { per_address: 1, ..Limits::default() };
    let server = Server::start(&authority, ClientAuth::Optional, limits).await;
    let own = ClientTls::mutual(authority.credentials(&control()).unwrap());
    let first = server.channel(own.clone());
    assert_eq!(code(&first).await, "ok");
    assert_eq!(code(&server.channel(own.clone())).await, "SW-UNREACHABLE");
    drop(first);
    let again = server.channel(own);
    for _ in 0..200 {
        if code(&again).await == "ok" {
            return server.end().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a closed connection still counts");
}

#[tokio::test]
async fn a_silent_caller_loses_its_connection() {
    let authority = Authority::new().unwrap();
    let limits = Limits { handshake: Duration::from_millis(50), ..Limits::default() };
    let server = Server::start(&authority, ClientAuth::Optional, limits).await;
    let mut silent = TcpStream::connect(server.addr).await.unwrap();
    let mut buffer = [0; 16];
    let read = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut buffer)).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
    server.end().await;
}

#[tokio::test]
async fn an_endless_call_is_cut_when_the_drain_is_over() {
    let authority = Authority::new().unwrap();
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    let server = Server::start(&authority, ClientAuth::Required, limits).await;
    let own = ClientTls::mutual(authority.credentials(&control()).unwrap());
    let mut health = HealthClient::new(server.channel(own.clone()));
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let unused = server.channel(own);
    server.end().await;
    assert!(watch.message().await.is_err());
    assert_eq!(code(&unused).await, "SW-UNREACHABLE");
}

#[tokio::test]
async fn old_connections_are_asked_to_dial_anew() {
    let authority = Authority::new().unwrap();
    let limits = Limits { age: Duration::from_secs(1), ..Limits::default() };
    let server = Server::start(&authority, ClientAuth::Required, limits).await;
    let channel = server.channel(ClientTls::mutual(authority.credentials(&control()).unwrap()));
    assert_eq!(code(&channel).await, "ok");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(code(&channel).await, "ok");
    assert_eq!(server.seen.lock().unwrap().len(), 2);
    server.end().await;
}

#[tokio::test]
async fn a_method_that_is_not_ours_is_unimplemented_for_everybody() {
    let authority = Authority::new().unwrap();
    let server = Server::start(&authority, ClientAuth::Optional, Limits::default()).await;
    let mut channel = server.channel(ClientTls::mutual(authority.credentials(&control()).unwrap()));
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    let request = http::Request::post("http://x/slipway.agent.v1.AppService/Unknown")
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::empty())
        .unwrap();
    let response = channel.call(request).await.unwrap();
    assert_eq!(response.headers().get("grpc-status").unwrap(), "12");
    server.end().await;
}

#[tokio::test]
async fn a_unix_socket_tells_who_calls_and_replaces_a_dead_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    drop(bind_unix(&path).unwrap());
    let listener = bind_unix(&path).unwrap();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let stop = CancellationToken::new();
    let served = serve_unix(listener, service(Simple::default()), Limits::default(), stop.clone());
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let task = tokio::spawn(served);
    assert_eq!(code(&Channel::unix(&path)).await, "ok");
    stop.cancel();
    task.await.unwrap();
    assert_eq!(code(&Channel::unix(&path)).await, "SW-UNREACHABLE");
}

#[tokio::test]
async fn a_call_past_its_deadline_ends() {
    let authority = Authority::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Nobody accepts: the handshake never ends, and the call must.
    let address = listener.local_addr().unwrap().to_string();
    let tls = ClientTls::rooted(&authority.roots()).unwrap();
    let channel = Channel::tls(&address, CONTROL_NAME, tls).unwrap();
    let request = crate::channel::within(
        Duration::from_millis(100),
        HealthCheckRequest { service: String::new() },
    );
    let status = HealthClient::new(channel).check(request).await.unwrap_err();
    let problem = Problem::from_status(&status);
    assert_eq!((status.code(), problem.code.as_ref()), (Code::DeadlineExceeded, "SW-TIMEOUT"));
}
