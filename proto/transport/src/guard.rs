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
pub(crate) fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const ROLES: [Role; 7] = [
        Role::Anyone,
        Role::Control,
        Role::Agent,
        Role::Operator,
        Role::LocalRoot,
        Role::User,
        Role::Admin,
    ];

    /// Believes anything.
    #[derive(Clone)]
    struct As(Role, bool);

    impl Authenticate for As {
        async fn authenticate(&self, peer: &Peer, _: &HeaderMap) -> Result<Caller, Problem> {
            let Self(role, read_only) = *self;
            Ok(Caller { role, read_only, ..Caller::anyone(peer.clone()) })
        }
    }

    /// The status with which a call ends; the handler answers with a status of its own.
    async fn status(path: &str, role: Role, read_only: bool) -> tonic::Code {
        let handler = tower::service_fn(async |request: Request<()>| {
            assert!(request.extensions().get::<Caller>().is_some());
            Ok::<_, Infallible>(Status::data_loss("reached").into_http::<()>())
        });
        let mut request = Request::post(path).body(()).unwrap();
        request.extensions_mut().insert(Peer::Unix { uid: 0 });
        let response = Guard::new(handler, As(role, read_only)).call(request).await.unwrap();
        Status::from_header_map(response.headers()).unwrap().code()
    }

    #[tokio::test]
    async fn every_method_lets_exactly_the_roles_of_its_policy_through() {
        let mut reached = 0;
        for policy in policy::POLICIES {
            for role in ROLES {
                for read_only in [false, true] {
                    let open = policy.roles.contains(&Role::Anyone);
                    let member = open || policy.roles.contains(&role);
                    let may = member && (!read_only || policy.effect == policy::Effect::Read);
                    let expected = match (may, role) {
                        (true, _) => tonic::Code::DataLoss,
                        (false, Role::Anyone) => tonic::Code::Unauthenticated,
                        (false, _) => tonic::Code::PermissionDenied,
                    };
                    let found = status(policy.method, role, read_only).await;
                    assert_eq!(found, expected, "{} {role:?} {read_only}", policy.method);
                    reached += usize::from(may);
                }
            }
        }
        assert!(reached > policy::POLICIES.len(), "{reached}");
    }

    #[tokio::test]
    async fn what_has_no_policy_is_for_nobody() {
        for path in [
            "/",
            "/metrics",
            "/slipway.agent.v1.AppService/ListApps/",
            "/slipway.agent.v1.AppService/listApps",
            "/slipway.agent.v1.AppService/Unknown",
            "//slipway.agent.v1.AppService/ListApps",
        ] {
            for role in ROLES {
                let found = status(path, role, false).await;
                assert_eq!(found, tonic::Code::Unimplemented, "{path} {role:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_request_of_unknown_origin_is_refused() {
        let handler = tower::service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Status::data_loss("reached").into_http::<()>())
        });
        let request = Request::post("/slipway.agent.v1.AppService/ListApps").body(()).unwrap();
        let response = Guard::new(handler, As(Role::Control, false)).call(request).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), tonic::Code::Internal);
    }

    #[test]
    fn deadlines_are_read_as_grpc_writes_them() {
        let read = |text: &'static str| {
            timeout_of(&HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-timeout"),
                HeaderValue::from_static(text),
            )]))
        };
        assert_eq!(read("2H"), Some(Duration::from_hours(2)));
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        for odd in ["", "S", "1", "-1S", "1.5S", "123456789S", "1 S", "1s"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
