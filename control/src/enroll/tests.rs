//! Enrollment and sessions over real TLS, with a real store.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::future::{BoxFuture, join_all};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use slipway_host::clock::Clock;
use slipway_proto::{
    control::v1::{
        EnrollRequest, EnrollResponse, Heartbeat, Hello, Renew, SessionRequest, SessionResponse,
        enrollment_service_client::EnrollmentServiceClient,
        enrollment_service_server::EnrollmentServiceServer, session_request::Part as Out,
        session_response::Part as In, session_service_client::SessionServiceClient,
        session_service_server::SessionServiceServer,
    },
    key::NodeKey,
    problem::Problem,
};
use slipway_store::{Entry, Force, Server, ServerState, Store, User};
use slipway_transport::{
    CONTROL_NAME, Certificate, Channel, Credentials, Guard, Identity,
    listener::{Limits, serve_tls},
    tls::{ClientAuth, ClientTls, Protocols, ServerTls},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Streaming, service::Routes};

use super::{Enrollments, Pulse, SessionApi, Sessions};
use crate::{
    auth::{Auth, token},
    fleet::Keys,
    pki::{Authority, own},
    vault::{MasterKey, Vault},
};

#[derive(Debug)]
struct OneKey;

impl Keys for OneKey {
    fn key<'a>(&'a self, user_id: &'a str) -> BoxFuture<'a, Result<NodeKey, Problem>> {
        Box::pin(async move { Ok(NodeKey::derive(b"dop_v1_test", user_id)) })
    }
}

/// A control plane that can enroll agents and hold their sessions.
struct Control {
    store: Store,
    authority: Authority,
    sessions: Sessions,
    api: SessionApi,
    user: User,
    clock: Clock,
    addr: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Control {
    async fn start() -> Self {
        Self::with(Pulse { every: Duration::from_millis(50), silence: Duration::from_secs(20) })
            .await
    }

    async fn with(pulse: Pulse) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("db").display());
        let clock = Clock::manual(Clock::system().now());
        let store = Store::open_with(&url, dir.path(), clock.clone()).await.unwrap();
        let vault = Vault::open(store.clone(), MasterKey::generate(1).unwrap()).await.unwrap();
        let authority = Authority::open(&store, &vault).await.unwrap();
        let (_, new) =
            token::api(authority.pin(), "first", false, store.now(), Duration::from_hours(1));
        let audit = Entry::done("system", "user.create", "ana");
        let user = store.system().add_user("ana", false, new, audit).await.unwrap();
        let stop = CancellationToken::new();
        let sessions = Sessions::new();
        let api = SessionApi::new(
            store.clone(),
            authority.clone(),
            Arc::new(OneKey),
            sessions.clone(),
            "replica-1",
            stop.clone(),
        )
        .with_pulse(pulse);
        let enrollments = Enrollments::new(store.clone(), authority.clone(), Arc::new(OneKey));
        let routes = Routes::new(EnrollmentServiceServer::new(enrollments))
            .add_service(SessionServiceServer::new(api.clone()))
            .prepare();
        let credentials = own::credentials(&authority, "replica-1").await.unwrap();
        let tls = ServerTls::new(credentials, ClientAuth::Optional, Protocols::Grpc);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let service = Guard::new(routes, Auth::new(store.clone()));
        let limits = Limits { drain: Duration::from_millis(200), ..Limits::default() };
        let served = serve_tls(listener, Arc::new(tls), service, limits, stop.clone());
        #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
        let task = tokio::spawn(served);
        Self { store, authority, sessions, api, user, clock, addr, stop, task, _dir: dir }
    }

    async fn end(self) {
        self.stop.cancel();
        self.api.drained().await;
        self.task.await.unwrap();
        self.store.close().await;
    }

    /// A new server and its join token.
    async fn server(&self, name: &str) -> (Server, String) {
        let ttl = Duration::from_mins(15);
        let (text, new) = token::join(self.authority.pin(), self.store.now(), ttl);
        let owner = self.store.of(self.user.id);
        let audit = Entry::done("user:ana", "server.add", name);
        let server = owner.add_server(name, new, ttl, audit).await.unwrap();
        (server, text.expose().clone())
    }

    fn channel(&self, tls: ClientTls) -> Channel {
        Channel::tls(&self.addr.to_string(), CONTROL_NAME, tls).unwrap()
    }

    async fn enroll(&self, token: &str, key: &KeyPair) -> Result<EnrollResponse, Problem> {
        self.enroll_as(EnrollRequest {
            token: token.to_owned(),
            csr_der: csr(key).into(),
            agent_version: "0.1.0".to_owned(),
            droplet_id: 7,
            boot_id: "boot".to_owned(),
            hostname: "web".to_owned(),
            listen: ":9999".to_owned(),
        })
        .await
    }

    async fn enroll_as(&self, request: EnrollRequest) -> Result<EnrollResponse, Problem> {
        let tls = ClientTls::pinned(self.authority.pin().clone());
        let mut client = EnrollmentServiceClient::new(self.channel(tls));
        let answer = client.enroll(request).await.map_err(|it| Problem::from_status(&it))?;
        Ok(answer.into_inner())
    }

    /// A server that has enrolled.
    async fn agent(&self, name: &str) -> Agent {
        let (server, token) = self.server(name).await;
        let key = KeyPair::generate().unwrap();
        let answer = self.enroll(&token, &key).await.unwrap();
        Agent { server, credentials: credentials(&answer, &key), answer }
    }

    async fn state(&self, agent: &Agent) -> ServerState {
        self.store.system().server(agent.server.id).await.unwrap().state
    }

    async fn wait_for(&self, agent: &Agent, state: ServerState) {
        for _ in 0..400 {
            if self.state(agent).await == state {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} never became {state:?}", agent.server.name);
    }

    async fn open(&self, agent: &Agent, droplet_id: u64) -> Talk {
        let (out, requests) = mpsc::channel(8);
        let hello = Hello {
            agent_version: "0.1.0".to_owned(),
            droplet_id,
            listen: ":9999".to_owned(),
            ..Hello::default()
        };
        out.send(SessionRequest { part: Some(Out::Hello(hello)) }).await.unwrap();
        let tls = ClientTls::mutual(Arc::clone(&agent.credentials));
        let mut client = SessionServiceClient::new(self.channel(tls));
        let answers = client.session(ReceiverStream::new(requests)).await.unwrap().into_inner();
        Talk { out, answers }
    }
}

struct Agent {
    server: Server,
    credentials: Arc<Credentials>,
    answer: EnrollResponse,
}

struct Talk {
    out: mpsc::Sender<SessionRequest>,
    answers: Streaming<SessionResponse>,
}

impl Talk {
    async fn say(&self, part: Out) {
        self.out.send(SessionRequest { part: Some(part) }).await.unwrap();
    }

    async fn next(&mut self) -> Result<Option<In>, Problem> {
        let next = self.answers.message().await.map_err(|it| Problem::from_status(&it))?;
        Ok(next.map(|it| it.part.unwrap()))
    }

    async fn welcome(&mut self) {
        assert!(matches!(self.next().await, Ok(Some(In::Welcome(_)))));
    }
}

fn csr(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

fn certificates(list: &[bytes::Bytes]) -> Vec<CertificateDer<'static>> {
    list.iter().map(|it| CertificateDer::from(it.to_vec())).collect()
}

fn credentials(answer: &EnrollResponse, key: &KeyPair) -> Arc<Credentials> {
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Credentials::new(certificates(&answer.chain_der), key, &certificates(&answer.ca_der)).unwrap()
}

#[tokio::test]
async fn an_agent_enrolls_and_a_lost_answer_is_repeated_to_the_same_key_only() {
    let control = Control::start().await;
    let (server, token) = control.server("web-1").await;
    let key = KeyPair::generate().unwrap();
    let answer = control.enroll(&token, &key).await.unwrap();
    let leaf = Certificate::parse(&certificates(&answer.chain_der)[0]).unwrap();
    let user = control.user.id.to_string();
    let expected = Identity::Agent {
        install: control.store.install().to_owned(),
        user: user.clone(),
        agent: answer.agent_id.clone(),
    };
    assert_eq!(leaf.identity, expected);
    let life = leaf.not_after.duration_since(leaf.not_before).unwrap();
    assert_eq!(life, Duration::from_hours(7 * 24 + 1));
    let hash = NodeKey::derive(b"dop_v1_test", &user).hash();
    assert_eq!(answer.accepted_keys[0].sha256.as_ref(), hash.bytes());
    assert_eq!(answer.server_name, "web-1");

    let known = control.store.system().server(server.id).await.unwrap();
    assert_eq!(known.agent_id.as_ref(), Some(&answer.agent_id));
    assert_eq!((known.address.as_str(), known.state), ("127.0.0.1:9999", ServerState::Offline));

    assert_eq!(control.enroll(&token, &key).await.unwrap(), answer);
    let other = KeyPair::generate().unwrap();
    let problem = control.enroll(&token, &other).await.unwrap_err();
    assert_eq!(problem.code, "SW-ENROLL-TOKEN-USED");
    control.end().await;
}

#[tokio::test]
async fn what_is_wrong_with_an_enrollment_is_told_by_its_code() {
    let control = Control::start().await;
    let (_, token) = control.server("web-1").await;
    let key = KeyPair::generate().unwrap();
    let good = EnrollRequest {
        token: token.clone(),
        csr_der: csr(&key).into(),
        agent_version: "0.1.0".to_owned(),
        ..EnrollRequest::default()
    };
    let mut flipped = token.clone();
    let last = if flipped.pop() == Some('A') { 'B' } else { 'A' };
    flipped.push(last);
    let with_token = |token: &str| EnrollRequest { token: token.to_owned(), ..good.clone() };
    for (request, code) in [
        (with_token(""), "SW-ENROLL-TOKEN"),
        (with_token(&flipped), "SW-ENROLL-TOKEN"),
        (with_token(&"A".repeat(2 << 20)), "SW-ENROLL-TOKEN"),
        (EnrollRequest { csr_der: vec![0x30; 9000].into(), ..good.clone() }, "SW-CSR"),
        (EnrollRequest { csr_der: Vec::new().into(), ..good.clone() }, "SW-CSR"),
        (EnrollRequest { agent_version: "0.0.1".into(), ..good.clone() }, "SW-AGENT-TOO-OLD"),
    ] {
        assert_eq!(control.enroll_as(request).await.unwrap_err().code, code);
    }
    control.clock.advance(Duration::from_mins(16));
    assert_eq!(control.enroll_as(good.clone()).await.unwrap_err().code, "SW-ENROLL-TOKEN-EXPIRED");
    // Ten calls a minute; the window began anew with the last one.
    for _ in 0..9 {
        assert_eq!(control.enroll_as(with_token("x")).await.unwrap_err().code, "SW-ENROLL-TOKEN");
    }
    assert_eq!(control.enroll_as(good).await.unwrap_err().code, "SW-RATE");
    control.end().await;
}

#[tokio::test]
async fn of_fifty_racers_for_one_token_one_wins() {
    let control = Control::start().await;
    let (server, token) = control.server("web-1").await;
    let enrollments =
        Enrollments::new(control.store.clone(), control.authority.clone(), Arc::new(OneKey));
    let race = (0..50).map(|_| {
        let request = EnrollRequest {
            token: token.clone(),
            csr_der: csr(&KeyPair::generate().unwrap()).into(),
            agent_version: "0.1.0".to_owned(),
            ..EnrollRequest::default()
        };
        // Without an address there is no rate.
        enrollments.enroll(request, None)
    });
    let results = join_all(race).await;
    let winners: Vec<_> = results.iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    let others = results.iter().filter_map(|it| it.as_ref().err());
    assert_eq!(others.filter(|it| it.code == "SW-ENROLL-TOKEN-USED").count(), 49);
    let known = control.store.system().server(server.id).await.unwrap();
    assert_eq!(known.agent_id.as_ref(), Some(&winners[0].agent_id));
    control.end().await;
}

#[tokio::test]
async fn a_session_makes_the_server_online_and_its_end_offline() {
    let control = Control::start().await;
    let agent = control.agent("web-1").await;
    let mut talk = control.open(&agent, 7).await;
    talk.welcome().await;
    assert_eq!(control.state(&agent).await, ServerState::Online);
    assert!(control.sessions.is_online(&agent.answer.agent_id));
    let beat =
        Heartbeat { problems: vec!["disk is full\x1b[0m".to_owned()], ..Heartbeat::default() };
    talk.say(Out::Heartbeat(beat)).await;
    assert!(matches!(talk.next().await, Ok(Some(In::Alive(_)))));
    let known = control.store.system().server(agent.server.id).await.unwrap();
    assert_eq!(known.problems.0, ["disk is full[0m"]);
    drop(talk);
    control.wait_for(&agent, ServerState::Offline).await;
    assert!(!control.sessions.is_online(&agent.answer.agent_id));
    control.end().await;
}

#[tokio::test]
async fn a_silent_agent_is_gone() {
    let silence = Duration::from_millis(200);
    let control = Control::with(Pulse { every: Duration::from_millis(50), silence }).await;
    let agent = control.agent("web-1").await;
    let mut talk = control.open(&agent, 7).await;
    talk.welcome().await;
    assert!(matches!(talk.next().await, Ok(None)), "the stream ends");
    control.wait_for(&agent, ServerState::Offline).await;
    control.end().await;
}

#[tokio::test]
async fn a_newer_session_ends_the_older_and_keeps_the_server_online() {
    let control = Control::start().await;
    let agent = control.agent("web-1").await;
    let mut first = control.open(&agent, 7).await;
    first.welcome().await;
    let mut second = control.open(&agent, 7).await;
    second.welcome().await;
    assert!(matches!(first.next().await, Ok(None)));
    second.say(Out::Heartbeat(Heartbeat::default())).await;
    assert!(matches!(second.next().await, Ok(Some(In::Alive(_)))));
    assert_eq!(control.state(&agent).await, ServerState::Online);
    control.end().await;
}

#[tokio::test]
async fn a_certificate_is_renewed_and_the_new_one_opens_a_session() {
    let control = Control::start().await;
    let mut agent = control.agent("web-1").await;
    let mut talk = control.open(&agent, 7).await;
    talk.welcome().await;
    let key = KeyPair::generate().unwrap();
    talk.say(Out::Renew(Renew { csr_der: csr(&key).into() })).await;
    let Ok(Some(In::Renewed(renewed))) = talk.next().await else { panic!("not renewed") };
    agent.answer.chain_der = renewed.chain_der;
    agent.credentials = credentials(&agent.answer, &key);
    let mut again = control.open(&agent, 7).await;
    again.welcome().await;
    again.say(Out::Renew(Renew { csr_der: b"x".to_vec().into() })).await;
    assert_eq!(again.next().await.unwrap_err().code, "SW-CSR");
    control.end().await;
}

#[tokio::test]
async fn a_removed_server_is_told_and_its_certificate_opens_nothing() {
    let control = Control::start().await;
    let agent = control.agent("web-1").await;
    let mut talk = control.open(&agent, 7).await;
    talk.welcome().await;
    let owner = control.store.of(control.user.id);
    let audit = Entry::done("user:ana", "server.remove", "web-1");
    owner.remove_server(agent.server.id, Force::No, audit).await.unwrap();
    control.sessions.refuse(&agent.answer.agent_id, "SW-AGENT-REVOKED", "it was removed");
    let Ok(Some(In::Refused(refused))) = talk.next().await else { panic!("not refused") };
    assert_eq!(refused.code, "SW-AGENT-REVOKED");
    let tls = ClientTls::mutual(Arc::clone(&agent.credentials));
    let mut client = SessionServiceClient::new(control.channel(tls));
    let (_out, requests) = mpsc::channel(1);
    let status = client.session(ReceiverStream::new(requests)).await.unwrap_err();
    assert_eq!(Problem::from_status(&status).code, "SW-AGENT-REVOKED");
    control.end().await;
}

#[tokio::test]
async fn two_machines_with_one_identity_are_both_refused() {
    let control = Control::start().await;
    let agent = control.agent("web-1").await;
    let mut original = control.open(&agent, 7).await;
    original.welcome().await;
    let mut clone = control.open(&agent, 8).await;
    for talk in [&mut original, &mut clone] {
        let Ok(Some(In::Refused(refused))) = talk.next().await else { panic!("not refused") };
        assert_eq!(refused.code, "SW-AGENT-CLONE");
    }
    control.end().await;
}

#[tokio::test]
async fn a_session_without_hello_or_without_a_certificate_does_not_open() {
    let control = Control::start().await;
    let agent = control.agent("web-1").await;
    let code = async |tls: ClientTls| {
        let (out, requests) = mpsc::channel(1);
        let part = Some(Out::Heartbeat(Heartbeat::default()));
        out.send(SessionRequest { part }).await.unwrap();
        let mut client = SessionServiceClient::new(control.channel(tls));
        let status = client.session(ReceiverStream::new(requests)).await.unwrap_err();
        Problem::from_status(&status).code.into_owned()
    };
    let tls = ClientTls::mutual(Arc::clone(&agent.credentials));
    assert_eq!(code(tls).await, "SW-FIRST-MESSAGE");
    let tls = ClientTls::pinned(control.authority.pin().clone());
    assert_eq!(code(tls).await, "SW-UNAUTHENTICATED");
    control.end().await;
}

#[tokio::test]
async fn stopping_ends_the_sessions_and_their_servers_are_offline() {
    let control = Control::start().await;
    let agent = control.agent("web-1").await;
    let mut talk = control.open(&agent, 7).await;
    talk.welcome().await;
    control.stop.cancel();
    control.api.drained().await;
    assert_eq!(control.state(&agent).await, ServerState::Offline);
    control.end().await;
}
