//! Answers the control socket. What an older process still has open counts in every answer.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use nix::unistd::geteuid;
use serde::Serialize;
use slipway_host::Chain;
use tokio::{
    net::{UnixListener, UnixStream},
    task::spawn_blocking,
    time::Instant,
};
use tracing::{debug, error, warn};

use super::{
    Switch as _,
    wire::{Alive, Open, Refusal},
};
use crate::{AppStatus, Client, Error, Route, Status, server::Shared};

/// The longest request.
const MAX_BODY: usize = 64 << 10;
/// The longest wait for a drain.
const MAX_WAIT: Duration = Duration::from_hours(24);
/// Pause after an accept that failed, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections of the agent until the end.
pub(crate) async fn accept(shared: Arc<Shared>, listener: UnixListener) {
    loop {
        let accepted = tokio::select! {
            () = shared.end.cancelled() => return,
            it = listener.accept() => it,
        };
        match accepted {
            Ok((stream, _)) if allowed(&stream) => {
                shared.tasks.service.spawn(connection(Arc::clone(&shared), stream));
            }
            Ok(_) => warn!("a stranger asked on the control socket"),
            Err(error) => {
                error!(%error, "could not accept on the control socket");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Root, and the user that this process runs as.
fn allowed(stream: &UnixStream) -> bool {
    let peer = stream.peer_cred().ok().map(|it| it.uid());
    peer.is_some_and(|it| it == 0 || it == geteuid().as_raw())
}

async fn connection(shared: Arc<Shared>, stream: UnixStream) {
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        it = connection.as_mut() => it,
        () = shared.end.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a control connection broke");
    }
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    match route(shared, request).await {
        Ok(response) => response,
        Err(error) => {
            let status = match &error {
                Error::Invalid { .. } => StatusCode::BAD_REQUEST,
                Error::Current { .. } => StatusCode::CONFLICT,
                Error::Retired => StatusCode::SERVICE_UNAVAILABLE,
                Error::Protocol { .. } => StatusCode::NOT_FOUND,
                _ => {
                    error!(error = %Chain(&error), "a control request failed");
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            };
            json(status, &Refusal { error: Chain(&error).to_string() })
        }
    }
}

async fn route(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Error> {
    let alive = Alive { pid: std::process::id() };
    let uri = request.uri().clone();
    let path: Vec<&str> = uri.path().split('/').skip(1).collect();
    match (request.method(), path.as_slice()) {
        (&Method::GET, ["healthz"]) => Ok(ok(&alive)),
        (&Method::GET, ["v1", "status"]) => Ok(ok(&status(shared).await)),
        (&Method::POST, ["v1", "retire"]) => {
            shared.retire().await;
            Ok(ok(&alive))
        }
        (&Method::PUT, ["v1", "apps", app]) => {
            let route = read(request).await?;
            let (shared, app) = (Arc::clone(shared), (*app).to_owned());
            blocking(move || shared.table.set(&app, &route)).await?;
            Ok(ok(&alive))
        }
        (&Method::DELETE, ["v1", "apps", app]) => {
            let (shared, app) = (Arc::clone(shared), (*app).to_owned());
            blocking(move || shared.table.remove(&app)).await?;
            Ok(ok(&alive))
        }
        (&Method::POST, ["v1", "apps", app, "generations", number, "drained"]) => {
            let limit = wait(uri.query())?;
            let open = drained(shared, app, parse(number)?, limit).await?;
            Ok(ok(&Open { open }))
        }
        (&Method::POST, ["v1", "apps", app, "generations", number, "cut"]) => {
            let open = cut(shared, app, parse(number)?).await?;
            Ok(ok(&Open { open }))
        }
        _ => Err(Error::Protocol { problem: "no such request".to_owned() }),
    }
}

/// Runs what waits for the disk away from the tasks that carry traffic.
async fn blocking(work: impl FnOnce() -> Result<(), Error> + Send + 'static) -> Result<(), Error> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Error::Refused { status: 500, message: error.to_string() }),
    }
}

async fn read(request: Request<Incoming>) -> Result<Route, Error> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|_| Error::Invalid { field: "body", problem: "is too long" })?;
    serde_json::from_slice(&body.to_bytes())
        .map_err(|_| Error::Invalid { field: "body", problem: "is no route" })
}

fn parse(number: &str) -> Result<u64, Error> {
    let problem = "must be a number";
    number.parse().map_err(|_| Error::Invalid { field: "generation", problem })
}

fn wait(query: Option<&str>) -> Result<Duration, Error> {
    let Some(query) = query else { return Ok(Duration::ZERO) };
    let millis = query.strip_prefix("limit_ms=").and_then(|it| it.parse().ok());
    let problem = "must be a number of milliseconds";
    let millis = millis.ok_or(Error::Invalid { field: "limit_ms", problem })?;
    Ok(Duration::from_millis(millis).min(MAX_WAIT))
}

async fn drained(
    shared: &Shared,
    app: &str,
    generation: u64,
    limit: Duration,
) -> Result<u64, Error> {
    let start = Instant::now();
    let here = shared.table.drained(app, generation, limit).await?;
    let rest = limit.saturating_sub(start.elapsed());
    let there = |it: Arc<Client>| async move { it.drained(app, generation, rest).await };
    Ok(here + shared.predecessor(there).await.unwrap_or_default())
}

async fn cut(shared: &Shared, app: &str, generation: u64) -> Result<u64, Error> {
    let here = shared.table.cut(app, generation)?;
    let there = |it: Arc<Client>| async move { it.cut(app, generation).await };
    Ok(here + shared.predecessor(there).await.unwrap_or_default())
}

async fn status(shared: &Shared) -> Status {
    let mut apps = shared.table.status();
    let before = shared.predecessor(|it| async move { it.status().await }).await;
    let predecessor = before.is_some();
    for old in before.map(|it| it.apps).unwrap_or_default() {
        add(&mut apps, old);
    }
    Status {
        pid: std::process::id(),
        restored: shared.table.restored,
        retired: shared.stop.is_cancelled() || shared.table.handed_over(),
        predecessor,
        apps,
    }
}

/// Adds what an older process has open: to it, every generation is an old one.
fn add(apps: &mut Vec<AppStatus>, old: AppStatus) {
    match apps.iter_mut().find(|it| it.app == old.app) {
        Some(known) => known.retired.extend(old.retired),
        None => apps.push(AppStatus { current: None, ..old }),
    }
}

fn ok(value: &impl Serialize) -> Response<Full<Bytes>> {
    json(StatusCode::OK, value)
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    let (status, bytes) = match serde_json::to_vec(value) {
        Ok(bytes) => (status, bytes),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into_bytes()),
    };
    let mut response = Response::new(Full::new(Bytes::from(bytes)));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
