//! The enrollment service.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::pki_types::CertificateDer;
use slipway_proto::{
    control::v1::{EnrollRequest, EnrollResponse, enrollment_service_server::EnrollmentService},
    problem::{Kind, Problem},
    token::JoinToken,
};
use slipway_store::{AgentFacts, Cert, Enrolled, Enrollment, Entry, Server, Store};
use slipway_transport::{Caller, rate::Rate};
use subtle::ConstantTimeEq as _;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{OLDEST_AGENT, accepted_keys, address, clean, der, is_supported, sign_problem};
use crate::{
    fleet::Keys,
    pki::{Authority, Csr, Profile},
};

const CALLS: u32 = 10;
const WINDOW: Duration = Duration::from_mins(1);
const MAX_TOKEN: usize = 128;

/// Enrolls agents.
pub struct Enrollments {
    store: Store,
    authority: Authority,
    keys: Arc<dyn Keys>,
    rate: Rate<IpAddr>,
}

impl fmt::Debug for Enrollments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrollments").finish_non_exhaustive()
    }
}

impl Enrollments {
    /// Signs with this authority.
    pub fn new(store: Store, authority: Authority, keys: Arc<dyn Keys>) -> Self {
        let rate = Rate::new(CALLS, WINDOW, store.clock().clone());
        Self { store, authority, keys, rate }
    }

    pub(super) async fn enroll(
        &self,
        request: EnrollRequest,
        peer: Option<IpAddr>,
    ) -> Result<EnrollResponse, Problem> {
        if peer.is_some_and(|it| !self.rate.count(&it)) {
            let message = format!("more than {CALLS} enrollments a minute from one address");
            return Err(Problem::new(Kind::Exhausted, "SW-RATE", message).hint("wait a minute"));
        }
        let EnrollRequest { token, csr_der, agent_version, droplet_id, boot_id, hostname, listen } =
            request;
        if token.len() > MAX_TOKEN {
            return Err(unknown());
        }
        let token = JoinToken::parse(&token)?;
        let csr = Csr::parse(&csr_der)?;
        if !is_supported(&agent_version) {
            let (major, minor, patch) = OLDEST_AGENT;
            let message = format!("agent version `{}` is too old", clean(&agent_version));
            return Err(Problem::new(Kind::Conflict, "SW-AGENT-TOO-OLD", message)
                .hint(format!("install {major}.{minor}.{patch} or newer")));
        }
        let secret_sha256 = hex::encode(token.hash());
        let known = self.store.system().join_token(token.id()).await.map_err(|it| it.problem())?;
        let known =
            known.filter(|it| it.secret_sha256.as_bytes().ct_eq(secret_sha256.as_bytes()).into());
        let known = known.ok_or_else(unknown)?;

        let agent = Uuid::now_v7().to_string();
        let profile = Profile::Agent { user: known.user.to_string(), agent: agent.clone() };
        let issued = self.authority.sign(&csr, &profile).map_err(sign_problem)?;
        let facts = AgentFacts {
            agent_version: clean(&agent_version),
            docker_version: String::new(),
            boot_id: clean(&boot_id),
            droplet_id: i64::try_from(droplet_id).unwrap_or(0),
            address: address(&listen, peer),
        };
        let audit = Entry::done(
            format!("agent:{agent}"),
            "agent.enroll",
            format!("server:{} ({})", known.server, clean(&hostname)),
        );
        let token = token.id().to_owned();
        let new = Enrollment { token: token.clone(), secret_sha256, cert: issued.record, facts };
        let done = self.store.system().enroll(new, audit).await.map_err(|it| it.problem())?;
        match done {
            Enrolled::New(server) => {
                tracing::info!(server = %server.name, agent, "enrolled an agent");
                self.answer(&server, agent, der(&issued.chain)).await
            }
            Enrolled::Again(server, cert) => self.again(&server, cert).await,
            Enrolled::Unknown => Err(unknown()),
            Enrolled::Expired => Err(refused(
                "SW-ENROLL-TOKEN-EXPIRED",
                "the join token has expired",
                "make another with `slipway server token`",
            )),
            Enrolled::Used => {
                tracing::error!(%token, server = %known.server, ?peer, "a join token was shown again");
                let audit = Entry::done("anyone", "agent.enroll", format!("token:{token}"))
                    .failed("SW-ENROLL-TOKEN-USED");
                self.store.system().audit(audit).await.map_err(|it| it.problem())?;
                Err(refused(
                    "SW-ENROLL-TOKEN-USED",
                    "the join token was used by another machine",
                    "if it was not yours, remove the server and make a new one; else make another \
                     token",
                ))
            }
        }
    }

    /// The answer that was lost the first time.
    async fn again(&self, server: &Server, cert: Cert) -> Result<EnrollResponse, Problem> {
        let broken = || Problem::internal("internal error; see the control plane's log");
        let chain =
            cert.chain.0.iter().map(|it| BASE64_STANDARD.decode(it).map(CertificateDer::from));
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|_| broken())?;
        self.answer(server, cert.agent_id.ok_or_else(broken)?, der(&chain)).await
    }

    async fn answer(
        &self,
        server: &Server,
        agent_id: String,
        chain_der: Vec<bytes::Bytes>,
    ) -> Result<EnrollResponse, Problem> {
        Ok(EnrollResponse {
            agent_id,
            chain_der,
            ca_der: der(&self.authority.roots()),
            accepted_keys: accepted_keys(&*self.keys, &server.user.to_string()).await?,
            server_name: server.name.clone(),
            install: self.authority.install().to_owned(),
        })
    }
}

fn unknown() -> Problem {
    refused(
        "SW-ENROLL-TOKEN",
        "the join token is not valid",
        "copy it whole, or make another with `slipway server token`",
    )
}

fn refused(code: &'static str, message: &str, hint: &'static str) -> Problem {
    Problem::new(Kind::Unauthenticated, code, message).hint(hint)
}

#[tonic::async_trait]
impl EnrollmentService for Enrollments {
    async fn enroll(
        &self,
        request: Request<EnrollRequest>,
    ) -> Result<Response<EnrollResponse>, Status> {
        let peer = Caller::of(&request)?.ip();
        Ok(Response::new(self.enroll(request.into_inner(), peer).await?))
    }
}
