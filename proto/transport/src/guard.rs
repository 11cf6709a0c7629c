//! Stands before every service, health and reflection included: resolves the caller, holds it
//! against the policy of the method, and only then lets the call through, with the [`Caller`] as an
//! extension of the request. What has no policy reaches no handler.

use std::{
    convert::Infallible,
    fmt,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use slipway_proto::{
    policy::{self, Role},
    problem::{Kind, Problem},
};
use tonic::Status;
use tower::{Layer, Service};

use crate::peer::{Certificate, Identity, Peer};

/// Resolves who is calling.
pub trait Authenticate: Clone + Send + Sync + 'static {
    /// Resolves the caller of one request from its connection and its metadata.
    ///
    /// # Errors
    /// A proof was shown and does not hold. A caller without any proof is [`Role::Anyone`] or an
    /// error, as the server wants it.
    fn authenticate(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
    ) -> impl Future<Output = Result<Caller, Problem>> + Send;
}

/// Who is calling, proven.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What it may be treated as.
    pub role: Role,
    /// Whether it only reads.
    pub read_only: bool,
    /// Who it is.
    pub subject: Subject,
    /// Where it calls from.
    pub peer: Peer,
}

/// Who a caller is.
#[derive(Clone, Debug)]
pub enum Subject {
    /// Nobody in particular.
    Anyone,
    /// The holder of one of our certificates.
    Certificate(Arc<Certificate>),
    /// A process of this machine.
    Process {
        /// Its user id.
        uid: u32,
    },
    /// A user of the control plane.
    User {
        /// UUID.
        user_id: String,
        /// Name.
        name: String,
        /// Token of this call.
        token_id: String,
    },
}

impl Caller {
    /// A caller without any proof.
    pub fn anyone(peer: Peer) -> Self {
        Self { role: Role::Anyone, read_only: false, subject: Subject::Anyone, peer }
    }

    /// The caller of a request that has passed the guard.
    ///
    /// # Errors
    /// It has not, which is a bug of the server's assembly.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<&Self, Status> {
        request.extensions().get::<Self>().ok_or_else(|| {
            Problem::internal("the call has passed no guard; see the server's log").into()
        })
    }

    /// Id of the calling user.
    pub fn user_id(&self) -> Option<&str> {
        match &self.subject {
            Subject::User { user_id, .. } => Some(user_id),
            _ => None,
        }
    }

    /// Id of the calling agent.
    pub fn agent_id(&self) -> Option<&str> {
        match self.identity() {
            Some(Identity::Agent { agent, .. }) => Some(agent),
            _ => None,
        }
    }

    /// What the caller's certificate says.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.subject {
            Subject::Certificate(it) => Some(&it.identity),
            _ => None,
        }
    }

    /// Address of the caller; none on a unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.peer.ip()
    }

    /// Names the caller for logs and the audit: no secret in it.
    pub fn name(&self) -> String {
        match &self.subject {
            Subject::Anyone => "anyone".to_owned(),
            Subject::Certificate(it) => it.identity.to_string(),
            Subject::Process { uid } => format!("uid {uid}"),
            Subject::User { name, token_id, .. } => format!("user {name} (token {token_id})"),
        }
    }
}

/// Puts a [`Guard`] before a service.
#[derive(Clone, Debug)]
pub struct GuardLayer<A>(A);

impl<A> GuardLayer<A> {
    /// Resolves callers with `authenticate`.
    pub fn new(authenticate: A) -> Self {
        Self(authenticate)
    }
}

impl<S, A: Clone> Layer<S> for GuardLayer<A> {
    type Service = Guard<S, A>;

    fn layer(&self, inner: S) -> Guard<S, A> {
        Guard { inner, authenticate: self.0.clone() }
    }
}

/// A service behind the guard.
#[derive(Clone)]
pub struct Guard<S, A> {
    inner: S,
    authenticate: A,
}

impl<S, A> Guard<S, A> {
    /// Puts `inner` behind the guard.
    pub fn new(inner: S, authenticate: A) -> Self {
        Self { inner, authenticate }
    }
}

impl<S, A> fmt::Debug for Guard<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl<S, A, B, R> Service<Request<B>> for Guard<S, A>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    A: Authenticate,
    B: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<R>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service that was polled ready must be the one that is called.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let authenticate = self.authenticate.clone();
        let (mut head, body) = request.into_parts();
        Box::pin(async move {
            match admit(&authenticate, &head).await {
                Ok(caller) => {
                    head.extensions.insert(caller);
                    let limit = timeout_of(&head.headers);
                    within(limit, inner.call(Request::from_parts(head, body))).await
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

/// Waits for the head of the answer at most as long as the caller does.
async fn within<R: Default>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<Response<R>, Infallible>>,
) -> Result<Response<R>, Infallible> {
    let Some(limit) = limit else { return work.await };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let late = "the call did not end within its deadline";
        Ok(Status::from(Problem::new(Kind::Timeout, "SW-TIMEOUT", late)).into_http())
    })
}

/// Resolves the caller and holds it against the policy of the method.
async fn admit(
    authenticate: &impl Authenticate,
    request: &http::request::Parts,
) -> Result<Caller, Status> {
    let path = request.uri.path();
    let Some(peer) = request.extensions.get::<Peer>() else {
        tracing::error!(path, "a call came without its connection; it is refused");
        return Err(Problem::internal("the server does not know where the call comes from").into());
    };
    let caller = authenticate.authenticate(peer, &request.headers).await.inspect_err(|it| {
        tracing::warn!(path, peer = ?peer.ip(), code = %it.code, "refused a caller");
    })?;
    let Some(policy) = policy::of(path) else {
        return Err(Status::unimplemented("there is no such method"));
    };
    if policy.allows(caller.role, caller.read_only) {
        return Ok(caller);
    }
    tracing::warn!(path, caller = %caller.name(), role = ?caller.role, "refused a call");
    Err(denial(policy, &caller).into())
}

fn denial(policy: &policy::Policy, caller: &Caller) -> Problem {
    if caller.role == Role::Anyone {
        return Problem::new(
            Kind::Unauthenticated,
            "SW-UNAUTHENTICATED",
            "this call needs a proof of who is calling",
        )
        .hint("send an API token as `authorization: Bearer swp_…`, or dial with a certificate");
    }
    if policy.allows(caller.role, false) {
        return Problem::new(
            Kind::Denied,
            "SW-READ-ONLY",
            "this call changes something, and the caller may only read",
        )
        .hint("use a token or a certificate that may write");
    }
    Problem::new(Kind::Denied, "SW-DENIED", "this caller may not make this call")
}

/// Reads `grpc-timeout`: at most 8 digits and a unit.
fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(count.saturating_mul(60))),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}
