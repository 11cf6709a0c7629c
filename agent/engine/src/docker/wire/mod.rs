//! Requests to Docker over a pool of connections on its unix socket.
//!
//! An idle connection that the daemon has closed is replaced without a word, so a restart of the
//! daemon shows only in calls that were under way. The version of the interface is asked for once
//! and named in every request, so that behavior does not change under a newer daemon; a daemon that
//! no longer takes it is asked again.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Mutex, PoisonError},
    task,
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderName, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, Client},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time::timeout};

use crate::error::{Error, Result};

mod lines;

pub(super) use lines::Lines;

/// The oldest interface that we work with: Docker 20.10.
const OLDEST: Api = Api(1, 41);
/// The newest whose behavior we know. A newer daemon is spoken to in this one.
const NEWEST: Api = Api(1, 47);

/// Deadline of a call that says nothing else.
const LIMIT: Duration = Duration::from_secs(30);
/// The longest answer that is read whole.
const LONGEST: usize = 64 << 20;

/// What goes out as a body.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A version of Docker's interface.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Api(u32, u32);

impl Api {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The connections to one daemon.
pub(super) struct Wire {
    client: Client<Socket, Body>,
    socket: PathBuf,
    api: Mutex<Option<Api>>,
}

/// One request that may be sent again.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// What Docker is asked to do, as it reads after "to".
    pub(super) act: &'static str,
    method: Method,
    path: String,
    headers: Vec<(HeaderName, String)>,
    body: Option<Bytes>,
    limit: Duration,
}

impl Ask {
    pub(super) fn new(act: &'static str, method: Method, path: impl Into<String>) -> Self {
        let (path, headers) = (path.into(), Vec::new());
        Self { act, method, path, headers, body: None, limit: LIMIT }
    }

    pub(super) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds parameters to the path.
    pub(super) fn query<V: AsRef<str>>(
        mut self,
        pairs: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Self {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs);
        self.path = format!("{}?{}", self.path, query.finish());
        self
    }

    pub(super) fn json(mut self, body: &impl serde::Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(body).map_err(|it| self.odd(it))?;
        self.body = Some(bytes.into());
        Ok(self.header(header::CONTENT_TYPE, "application/json".to_owned()))
    }

    fn odd(&self, source: impl Into<crate::error::Cause>) -> Error {
        Error::Answer { act: self.act, source: source.into() }
    }
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Reply {
    act: &'static str,
    pub(super) status: u16,
    body: Bytes,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    api_version: String,
    #[serde(default, rename = "MinAPIVersion")]
    min_api_version: String,
}

impl Reply {
    /// Docker's words about what is wrong.
    pub(super) fn message(&self) -> String {
        match serde_json::from_slice::<Message>(&self.body) {
            Ok(it) => it.message,
            Err(_) => String::from_utf8_lossy(&self.body).trim().to_owned(),
        }
    }

    /// The answer as a value, when it is a good one.
    pub(super) fn json<T: DeserializeOwned>(self) -> Result<T> {
        let act = self.act;
        let body = self.good()?.body;
        serde_json::from_slice(&body).map_err(|it| Error::Answer { act, source: it.into() })
    }

    /// Whether it is a good one.
    pub(super) fn ok(self) -> Result<()> {
        self.good().map(drop)
    }

    /// The error that it is.
    pub(super) fn refused(&self) -> Error {
        refused(self.act, self.status, self.message())
    }

    fn good(self) -> Result<Self> {
        // 304 says that it is so already.
        match self.status {
            200..=299 | 304 => Ok(self),
            _ => Err(self.refused()),
        }
    }
}

/// What Docker's refusal means.
pub(super) fn refused(act: &'static str, status: u16, message: String) -> Error {
    if message.contains("no space left on device") {
        return Error::DiskFull { act };
    }
    Error::Refused { act, status, message }
}

impl Wire {
    pub(super) fn new(socket: PathBuf) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(8)
            .pool_idle_timeout(Duration::from_mins(1))
            .pool_timer(TokioTimer::new())
            .build(Socket(socket.clone()));
        Self { client, socket, api: Mutex::default() }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The version of the interface that both sides know.
    pub(super) async fn api(&self) -> Result<Api> {
        if let Some(api) = *self.known() {
            return Ok(api);
        }
        let ask = Ask::new("tell its version", Method::GET, "/version");
        let version: Version = timeout(ask.limit, self.once(&ask, ask.path.clone()))
            .await
            .map_err(|_| Error::Timeout { act: ask.act, limit: ask.limit })??
            .json()?;
        let newest = Api::parse(&version.api_version).filter(|it| OLDEST <= *it);
        let Some(newest) = newest else {
            return Err(Error::TooOld { found: version.api_version, need: "1.41 (Docker 20.10)" });
        };
        let least = Api::parse(&version.min_api_version).unwrap_or(OLDEST);
        let api = NEWEST.min(newest).max(least);
        *self.known() = Some(api);
        Ok(api)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Api>> {
        self.api.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path with the version in front.
    pub(super) async fn versioned(&self, path: &str) -> Result<String> {
        Ok(format!("/v{}{path}", self.api().await?))
    }

    /// Asks, and reads the answer whole, within the deadline. Reading calls that meet a connection
    /// which the daemon was just closing are asked once more.
    pub(super) async fn call(&self, ask: Ask) -> Result<Reply> {
        let talk = async {
            let path = match ask.path.as_str() {
                "/_ping" => ask.path.clone(),
                path => self.versioned(path).await?,
            };
            let reply = match self.once(&ask, path.clone()).await {
                Err(Error::Unreachable { .. }) if ask.method == Method::GET => {
                    self.once(&ask, path).await?
                }
                other => other?,
            };
            if !self.outdated(&reply) {
                return Ok(reply);
            }
            // Refused before anything was done.
            self.once(&ask, self.versioned(&ask.path).await?).await
        };
        let late = |_| Error::Timeout { act: ask.act, limit: ask.limit };
        timeout(ask.limit, talk).await.map_err(late)?
    }

    /// Asks with a body that cannot be sent again, and returns when the answer begins. No deadline.
    pub(super) async fn open(&self, ask: &Ask, body: Body) -> Result<Response<Incoming>> {
        let path = self.versioned(&ask.path).await?;
        let response = self.send(ask, path, body).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let reply = read(ask, response).await?;
        let error = reply.refused();
        let outdated = self.outdated(&reply);
        if outdated { Err(away(ask.act, error)) } else { Err(error) }
    }

    /// Asks, and returns when the answer begins, within the deadline; what follows has none.
    pub(super) async fn stream<T: DeserializeOwned>(&self, ask: Ask) -> Result<Lines<T>> {
        let response = timeout(ask.limit, self.open(&ask, body(ask.body.clone())))
            .await
            .map_err(|_| Error::Timeout { act: ask.act, limit: ask.limit })??;
        Ok(Lines::new(ask.act, response.into_body()))
    }

    async fn once(&self, ask: &Ask, path: String) -> Result<Reply> {
        let response = self.send(ask, path, body(ask.body.clone())).await?;
        read(ask, response).await
    }

    async fn send(&self, ask: &Ask, path: String, body: Body) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(ask.method.clone());
        request = request.uri(format!("http://docker{path}"));
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(|it| ask.odd(it))?;
        self.pass(request).await.map_err(|it| away(ask.act, it))
    }

    /// Sends a request as it is, whose path names the version.
    pub(super) fn pass(&self, request: Request<Body>) -> legacy::ResponseFuture {
        self.client.request(request)
    }

    /// Whether the daemon, updated meanwhile, no longer takes the version, which is then forgotten.
    fn outdated(&self, reply: &Reply) -> bool {
        let outdated = reply.status == 400 && reply.message().contains("client version");
        if outdated {
            *self.known() = None;
        }
        outdated
    }
}

pub(super) fn body(bytes: Option<Bytes>) -> Body {
    Full::new(bytes.unwrap_or_default()).map_err(|never| match never {}).boxed_unsync()
}

/// The error of a call that met no daemon.
pub(super) fn away(act: &'static str, source: impl Into<crate::error::Cause>) -> Error {
    Error::Unreachable { act, source: source.into() }
}

async fn read(ask: &Ask, response: Response<Incoming>) -> Result<Reply> {
    let status = response.status().as_u16();
    let whole = Limited::new(response.into_body(), LONGEST).collect().await;
    let body = whole.map_err(|source| away(ask.act, source))?.to_bytes();
    Ok(Reply { act: ask.act, status, body })
}

/// Makes connections to the socket.
#[derive(Clone, Debug)]
struct Socket(PathBuf);

impl tower::Service<Uri> for Socket {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _cx: &mut task::Context<'_>) -> task::Poll<io::Result<()>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let path = self.0.clone();
        Pin::from(Box::new(async move { UnixStream::connect(path).await.map(TokioIo::new) }))
    }
}

/// A name within a path, so that it cannot become another path.
pub(super) fn segment(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests;
