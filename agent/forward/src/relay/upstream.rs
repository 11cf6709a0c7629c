//! From a request to a container's answer: which container, which connection, and when to try again.

use std::{io, sync::Arc, time::Duration};

use http::{Request, Response, request::Parts};
use hyper::{
    body::Incoming,
    client::conn::http1,
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{answer::Failure, body::Outgoing, headers};
use crate::generation::{Address, Generation, Link, Pass, Target};

/// How long a container may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Sends a request to one of the generation's containers and waits for the head of its answer.
pub(crate) async fn send(
    tasks: &TaskTracker,
    pass: &Arc<Pass>,
    parts: Parts,
    body: Incoming,
) -> Result<(Response<Incoming>, Link), Failure> {
    if headers::repeatable(&parts, &body) {
        send_repeatable(tasks, &pass.generation, &parts).await
    } else {
        let request = Request::from_parts(parts, Outgoing::relay(body, Arc::clone(pass)));
        send_once(tasks, &pass.generation, request).await
    }
}

/// Tries kept connections and all targets: no attempt can do harm before it is answered.
async fn send_repeatable(
    tasks: &TaskTracker,
    generation: &Arc<Generation>,
    parts: &Parts,
) -> Result<(Response<Incoming>, Link), Failure> {
    let request = || Request::from_parts(parts.clone(), Outgoing::empty());
    let mut failure = Failure::NoTarget;
    for target in generation.candidates() {
        if let Some(mut link) = Link::reuse(&target) {
            match link.sender.send_request(request()).await {
                Ok(response) => return Ok((response, link)),
                // The container was closing it just then.
                Err(error) => debug!(%error, "a kept connection was no good"),
            }
        }
        match connect(tasks, generation, &target).await {
            Ok(mut link) => match link.sender.send_request(request()).await {
                Ok(response) => return Ok((response, link)),
                Err(error) => failure = broken(generation, error),
            },
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Goes to the next target only while nothing was sent.
async fn send_once(
    tasks: &TaskTracker,
    generation: &Arc<Generation>,
    mut request: Request<Outgoing>,
) -> Result<(Response<Incoming>, Link), Failure> {
    let mut failure = Failure::NoTarget;
    for target in generation.candidates() {
        let mut link = match connect(tasks, generation, &target).await {
            Ok(link) => link,
            Err(error) => {
                failure = error;
                continue;
            }
        };
        match link.sender.try_send_request(request).await {
            Ok(response) => return Ok((response, link)),
            Err(mut error) => {
                let unsent = error.take_message();
                failure = broken(generation, error.into_error());
                match unsent {
                    Some(unsent) => request = unsent,
                    None => break,
                }
            }
        }
    }
    Err(failure)
}

fn broken(generation: &Generation, error: hyper::Error) -> Failure {
    if generation.cut.is_cancelled() { Failure::Cut } else { Failure::Broken(error) }
}

async fn connect(
    tasks: &TaskTracker,
    generation: &Arc<Generation>,
    target: &Arc<Target>,
) -> Result<Link, Failure> {
    let opened = timeout(CONNECT_LIMIT, async {
        match &target.address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(Failure::Connect)?;
                stream.set_nodelay(true).map_err(Failure::Connect)?;
                shake_hands(tasks, generation, target, TokioIo::new(stream)).await
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(Failure::Connect)?;
                shake_hands(tasks, generation, target, TokioIo::new(stream)).await
            }
        }
    });
    opened.await.unwrap_or(Err(Failure::ConnectTimeout(CONNECT_LIMIT)))
}

async fn shake_hands(
    tasks: &TaskTracker,
    generation: &Arc<Generation>,
    target: &Arc<Target>,
    stream: impl Read + Write + Unpin + Send + 'static,
) -> Result<Link, Failure> {
    let made = http1::Builder::new().preserve_header_case(true).handshake(stream).await;
    let (sender, connection) = made.map_err(|it| Failure::Connect(io::Error::other(it)))?;
    let cut = generation.cut.clone();
    tasks.spawn(async move {
        // Dropping the connection ends every request on it.
        if let Some(Err(error)) = cut.run_until_cancelled(connection.with_upgrades()).await {
            debug!(%error, "a connection to a container failed");
        }
    });
    Ok(Link::new(target, sender))
}
