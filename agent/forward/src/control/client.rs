//! The switch, reached over its control socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header::HOST};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use super::{
    Switch,
    wire::{Alive, Open, Refusal},
};
use crate::{Error, Route, Status};

/// How long a switch may take to answer, beyond what it was asked to wait.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long a switch that is not there is waited for; it may be starting.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest answer.
const MAX_ANSWER: usize = 16 << 20;

/// Drives the switch that serves a control socket. Each call has a connection of its own, so a
/// client outlives any number of switches.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

impl Client {
    /// Names the control socket; nothing is connected yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), patience: PATIENCE }
    }

    /// How long calls wait for a switch that is not there. 0: a single attempt.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Checks that a switch answers, and returns its process id.
    ///
    /// # Errors
    /// [`Error::Unreachable`] and what calls fail with in general.
    pub async fn ping(&self) -> Result<u32, Error> {
        let alive: Alive = self.call(Method::GET, "/healthz", Vec::new(), Duration::ZERO).await?;
        Ok(alive.pid)
    }

    /// Asks a predecessor to step back. Returns once it has stopped accepting.
    pub(crate) async fn retire(&self) -> Result<(), Error> {
        let _: Alive = self.call(Method::POST, "/v1/retire", Vec::new(), Duration::ZERO).await?;
        Ok(())
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        wait: Duration,
    ) -> Result<T, Error> {
        let body = Bytes::from(body);
        let deadline = Instant::now() + self.patience;
        loop {
            let error = match self.attempt(method.clone(), path, body.clone(), wait).await {
                Ok(answer) => return decode(&answer),
                Err(error) => error,
            };
            // Every call can be repeated, so it does not matter how far this one came.
            let gone = matches!(error, Error::Unreachable { .. })
                || matches!(error, Error::Refused { status, .. } if status == StatusCode::SERVICE_UNAVAILABLE);
            if !gone || deadline <= Instant::now() {
                return Err(error);
            }
            sleep(PAUSE).await;
        }
    }

    async fn attempt(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        wait: Duration,
    ) -> Result<Bytes, Error> {
        let limit = wait.saturating_add(ANSWER_LIMIT);
        let unreachable = |source| Error::Unreachable { path: self.socket.clone(), source };
        let odd = |it: hyper::Error| unreachable(io::Error::other(it));
        let work = async {
            let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(odd)?;
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(HOST, "switch")
                .body(Full::new(body))
                .map_err(|it| Error::Protocol { problem: it.to_string() })?;
            let exchange = async {
                let (head, body) = sender.send_request(request).await.map_err(odd)?.into_parts();
                let body = Limited::new(body, MAX_ANSWER).collect().await;
                let body = body.map_err(|it| unreachable(io::Error::other(it)))?.to_bytes();
                Ok((head.status, body))
            };
            tokio::pin!(exchange);
            tokio::select! {
                answer = &mut exchange => answer,
                // Drives the connection; how it ended shows in the exchange too.
                _ = connection => exchange.await,
            }
        };
        let (status, body) = timeout(limit, work).await.unwrap_or(Err(Error::Timeout { limit }))?;
        if status.is_success() {
            return Ok(body);
        }
        let message = match serde_json::from_slice(&body) {
            Ok(Refusal { error }) => error,
            Err(_) => String::from_utf8_lossy(&body).into_owned(),
        };
        Err(Error::Refused { status: status.as_u16(), message })
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|it| Error::Protocol { problem: it.to_string() })
}

/// Tells the one refusal that callers must know from the others.
fn refused(error: Error, app: &str, generation: u64) -> Error {
    match error {
        Error::Refused { status, .. } if status == StatusCode::CONFLICT => {
            Error::Current { app: app.to_owned(), generation }
        }
        other => other,
    }
}

impl Switch for Client {
    async fn set(&self, app: &str, route: &Route) -> Result<(), Error> {
        crate::route::check_app(app)?;
        route.check()?;
        let body =
            serde_json::to_vec(route).map_err(|it| Error::Protocol { problem: it.to_string() })?;
        let path = format!("/v1/apps/{app}");
        let _: Alive = self.call(Method::PUT, &path, body, Duration::ZERO).await?;
        Ok(())
    }

    async fn remove(&self, app: &str) -> Result<(), Error> {
        crate::route::check_app(app)?;
        let path = format!("/v1/apps/{app}");
        let _: Alive = self.call(Method::DELETE, &path, Vec::new(), Duration::ZERO).await?;
        Ok(())
    }

    async fn status(&self) -> Result<Status, Error> {
        self.call(Method::GET, "/v1/status", Vec::new(), Duration::ZERO).await
    }

    async fn drained(&self, app: &str, generation: u64, limit: Duration) -> Result<u64, Error> {
        crate::route::check_app(app)?;
        let millis = limit.as_millis();
        let path = format!("/v1/apps/{app}/generations/{generation}/drained?limit_ms={millis}");
        let answer: Result<Open, _> = self.call(Method::POST, &path, Vec::new(), limit).await;
        answer.map(|it| it.open).map_err(|it| refused(it, app, generation))
    }

    async fn cut(&self, app: &str, generation: u64) -> Result<u64, Error> {
        crate::route::check_app(app)?;
        let path = format!("/v1/apps/{app}/generations/{generation}/cut");
        let answer: Result<Open, _> =
            self.call(Method::POST, &path, Vec::new(), Duration::ZERO).await;
        answer.map(|it| it.open).map_err(|it| refused(it, app, generation))
    }
}
