//! A stand-in for the control plane in tests: the two services that agents call, over real TLS.
//! Sessions are handed to the test, which plays the other side.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::HeaderMap;
use slipway_host::clock::Clock;
use slipway_proto::{
    control::v1::{
        AcceptedKey, EnrollRequest, EnrollResponse, SessionRequest, SessionResponse, Welcome,
        enrollment_service_server::{EnrollmentService, EnrollmentServiceServer},
        session_request::Part as Out,
        session_response::Part as In,
        session_service_server::{SessionService, SessionServiceServer},
    },
    key::NodeKey,
    policy::Role,
    problem::Problem,
    token::{ENTROPY, JoinToken},
};
use slipway_transport::{
    Authenticate, Caller, Guard, Peer,
    guard::Subject,
    listener::{Limits, serve_tls},
    testing::{Authority, agent, control},
    tls::{ClientAuth, Protocols, ServerTls},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, service::Routes};
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

/// The stand-in.
pub(crate) struct StandIn {
    shared: Arc<Shared>,
    addr: SocketAddr,
    sessions: mpsc::Receiver<Talk>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub(crate) struct Shared {
    pub(crate) authority: Authority,
    refusals: Mutex<Vec<Problem>>,
    keys_seen: Mutex<Vec<Vec<u8>>>,
    sessions: mpsc::Sender<Talk>,
}

/// The control plane's end of one session.
pub(crate) struct Talk {
    pub(crate) requests: Streaming<SessionRequest>,
    pub(crate) out: mpsc::Sender<Result<SessionResponse, Status>>,
}

impl Talk {
    /// What the agent says next; none when it went away.
    pub(crate) async fn next(&mut self) -> Option<Out> {
        self.requests.message().await.ok().flatten().map(|it| it.part.unwrap())
    }

    pub(crate) async fn say(&self, part: In) {
        self.out.send(Ok(SessionResponse { part: Some(part) })).await.unwrap();
    }

    /// Takes the hello and says welcome.
    pub(crate) async fn welcome(&mut self, heartbeat: Duration) {
        let Some(Out::Hello(_)) = self.next().await else { panic!("no hello") };
        self.say(In::Welcome(Welcome {
            heartbeat: prost_types::Duration::try_from(heartbeat).ok(),
            ..Welcome::default()
        }))
        .await;
    }
}

impl Shared {
    /// Signs the key of a request for agent `a` of user `u`.
    pub(crate) fn sign(&self, csr_der: &[u8]) -> Vec<bytes::Bytes> {
        let (_, csr) = X509CertificationRequest::from_der(csr_der).unwrap();
        let spki = csr.certification_request_info.subject_pki.raw.to_vec();
        let from = Clock::system().now() - Duration::from_hours(1);
        let to = from + Duration::from_hours(24);
        let chain = self.authority.sign(&agent("u", "a"), &spki, from, to).unwrap();
        self.keys_seen.lock().unwrap().push(spki);
        chain.iter().map(|it| bytes::Bytes::copy_from_slice(it)).collect()
    }

    pub(crate) fn roots(&self) -> Vec<bytes::Bytes> {
        self.authority.roots().iter().map(|it| bytes::Bytes::copy_from_slice(it)).collect()
    }
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let authority = Authority::new().unwrap();
        let credentials = authority.credentials(&control()).unwrap();
        let (sender, sessions) = mpsc::channel(4);
        let shared = Arc::new(Shared {
            authority,
            refusals: Mutex::default(),
            keys_seen: Mutex::default(),
            sessions: sender,
        });
        let routes = Routes::new(EnrollmentServiceServer::new(Face(Arc::clone(&shared))))
            .add_service(SessionServiceServer::new(Face(Arc::clone(&shared))))
            .prepare();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let tls = ServerTls::new(credentials, ClientAuth::Optional, Protocols::Grpc);
        let stop = CancellationToken::new();
        let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
        let service = Guard::new(routes, Believe);
        let served = serve_tls(listener, Arc::new(tls), service, limits, stop.clone());
        #[expect(clippy::disallowed_methods, reason = "`end` waits for it")]
        let task = tokio::spawn(served);
        Self { shared, addr, sessions, stop, task }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn address(&self) -> String {
        self.addr.to_string()
    }

    /// The join token that it takes.
    pub(crate) fn token(&self) -> String {
        JoinToken::new(self.shared.authority.pin().unwrap(), &[7; ENTROPY]).expose()
    }

    /// Answers the next enrollment with this.
    pub(crate) fn refuse_next(&self, problem: Problem) {
        self.shared.refusals.lock().unwrap().push(problem);
    }

    /// The public keys that asked for a certificate.
    pub(crate) fn keys_seen(&self) -> Vec<Vec<u8>> {
        self.shared.keys_seen.lock().unwrap().clone()
    }

    /// The next session that an agent opens.
    pub(crate) async fn session(&mut self) -> Talk {
        tokio::time::timeout(Duration::from_secs(20), self.sessions.recv()).await.unwrap().unwrap()
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Believes certificates; everybody else is anyone.
#[derive(Clone)]
struct Believe;

impl Authenticate for Believe {
    async fn authenticate(&self, peer: &Peer, _: &HeaderMap) -> Result<Caller, Problem> {
        let caller = Caller::anyone(peer.clone());
        Ok(match peer.certificate() {
            Some(it) => {
                let subject = Subject::Certificate(Arc::clone(it));
                Caller { role: Role::Agent, subject, ..caller }
            }
            None => caller,
        })
    }
}

struct Face(Arc<Shared>);

#[tonic::async_trait]
impl EnrollmentService for Face {
    async fn enroll(
        &self,
        request: Request<EnrollRequest>,
    ) -> Result<Response<EnrollResponse>, Status> {
        let request = request.into_inner();
        let chain_der = self.0.sign(&request.csr_der);
        if let Some(problem) = self.0.refusals.lock().unwrap().pop() {
            if problem.code == "SW-UNAVAILABLE" {
                // It never got as far as to look at the key.
                self.0.keys_seen.lock().unwrap().pop();
            }
            return Err(problem.into());
        }
        let hash = NodeKey::derive(b"dop_v1_test", "u").hash();
        Ok(Response::new(EnrollResponse {
            agent_id: "a".into(),
            chain_der,
            ca_der: self.0.roots(),
            accepted_keys: vec![AcceptedKey {
                sha256: hash.bytes().to_vec().into(),
                not_after: None,
            }],
            server_name: "web-1".into(),
            install: "test".into(),
        }))
    }
}

#[tonic::async_trait]
impl SessionService for Face {
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (out, answers) = mpsc::channel(8);
        let talk = Talk { requests: request.into_inner(), out };
        self.0.sessions.send(talk).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
