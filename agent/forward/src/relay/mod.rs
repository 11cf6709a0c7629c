//! One request, from nginx to a container and back.
//!
//! * [`headers`]: which headers end here.
//! * [`upstream`]: which container, which connection, and when to try again.
//! * [`body`]: bodies on their way through.
//! * [`mod@tunnel`]: what becomes of a connection that changes its protocol.
//! * [`answer`]: what the switch says itself.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod headers;
mod tunnel;
mod upstream;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header::HOST};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use self::{answer::Failure, body::Returning, tunnel::tunnel};
use crate::{
    generation::{Generation, Pass},
    table::Table,
};

/// An answer's body: ours or a container's.
pub(crate) type Answer = Either<Full<Bytes>, Returning>;

/// What runs, in two groups, because the end waits for the first before it ends the second.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    /// Connections of nginx, and those that changed their protocol.
    pub(crate) open: TaskTracker,
    /// Everything that serves them.
    pub(crate) service: TaskTracker,
}

/// Answers one request.
pub(crate) async fn relay(
    table: &Table,
    tasks: &Tasks,
    request: Request<Incoming>,
) -> Response<Answer> {
    let Some(pass) = enter(table, &request) else {
        let known = headers::app(request.headers()).is_some();
        return if known { Failure::UnknownApp } else { Failure::NoApp }.answer();
    };
    let probed = request.headers().contains_key(headers::PROBE);
    let mut response = match forward(tasks, &pass, request).await {
        Ok(response) => response,
        Err(failure) => {
            let response = failure.answer();
            if response.status().is_server_error() {
                pass.generation.count_error();
            }
            response
        }
    };
    if probed && pass.generation.route.is_some() {
        response.headers_mut().insert(headers::RELEASE, pass.generation.release.clone());
    }
    response
}

/// Enters the generation that is current; none when the app has none.
fn enter(table: &Table, request: &Request<Incoming>) -> Option<Arc<Pass>> {
    let app = headers::app(request.headers())?;
    loop {
        // A generation is retired only after its successor is in the table, so this ends.
        let generation: Arc<Generation> = table.current(app)?;
        if let Some(pass) = generation.enter() {
            return Some(Arc::new(pass));
        }
    }
}

async fn forward(
    tasks: &Tasks,
    pass: &Arc<Pass>,
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, Failure> {
    if request.method() == Method::CONNECT {
        return Err(Failure::Method);
    }
    let passing_on = pass.generation.route.is_none();
    let upgrade =
        headers::wants_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    // The successor needs what the container must not see.
    let ours = passing_on
        .then(|| [headers::APP, headers::PROBE].map(|it| (parts.headers.get(&it).cloned(), it)));
    headers::clean_request(&mut parts.headers);
    for (value, name) in ours.into_iter().flatten() {
        if let Some(value) = value {
            parts.headers.insert(name, value);
        }
    }
    if !parts.headers.contains_key(HOST) {
        parts.headers.insert(HOST, HeaderValue::from_static("localhost"));
    }
    parts.version = Version::HTTP_11;
    if let Some(path) = parts.uri.path_and_query() {
        parts.uri = Uri::from(path.clone());
    }

    let (mut response, link) = upstream::send(&tasks.service, pass, parts, body).await?;
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    match upgrade {
        Some(upgrade) if switching => {
            let theirs = hyper::upgrade::on(&mut response);
            tasks.open.spawn(tunnel(upgrade, theirs, pass.upgraded(), Arc::clone(pass)));
        }
        None if switching => return Err(Failure::Unasked),
        _ => (),
    }
    let (mut parts, body) = response.into_parts();
    headers::clean_answer(parts.status, &mut parts.headers);
    if !passing_on {
        headers::take_ours(&mut parts.headers);
    }
    parts.version = Version::HTTP_11;
    let body = Returning::new(body, link, Arc::clone(pass));
    Ok(Response::from_parts(parts, Either::Right(body)))
}
