//! The server in the containers: works 2 ms on a request, tells its release, ends as a good app does.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{copy, split},
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What a plain request costs.
const WORK: Duration = Duration::from_millis(2);
/// What a slow one costs.
const SLOW: Duration = Duration::from_secs(5);
/// How long it finishes requests after SIGTERM.
const GRACE: Duration = Duration::from_secs(8);

/// How to run it.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// What to answer.
    #[arg(long)]
    name: String,
}

/// Serves until SIGTERM, then finishes what is open.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let name: Arc<str> = options.name.into();
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    loop {
        let stream = tokio::select! {
            _ = terminate.recv() => break,
            it = listener.accept() => it?.0,
        };
        drop(stream.set_nodelay(true));
        let (name, stop, upgraded) = (Arc::clone(&name), stop.clone(), tasks.clone());
        tasks.spawn(async move {
            let service = service_fn(|it| answer(it, Arc::clone(&name), upgraded.clone()));
            let connection = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::pin!(connection);
            let ended = tokio::select! {
                it = connection.as_mut() => it,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection");
            }
        });
    }
    drop(listener);
    stop.cancel();
    tasks.close();
    // What is still open then is cut, as a container is.
    drop(timeout(GRACE, tasks.wait()).await);
    Ok(())
}

async fn answer(
    mut request: Request<Incoming>,
    name: Arc<str>,
    upgraded: TaskTracker,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from(name.to_string())));
    match request.uri().path() {
        "/slow" => sleep(SLOW).await,
        "/ws" => {
            let upgrade = hyper::upgrade::on(&mut request);
            upgraded.spawn(async move {
                let Ok(stream) = upgrade.await else { return };
                let (mut read, mut write) = split(TokioIo::new(stream));
                drop(copy(&mut read, &mut write).await);
            });
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            *response.body_mut() = Full::default();
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
            // The answer to the one key that the clients of this measurement send (RFC 6455, 1.3).
            let accept = header::HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        _ => {
            drop(request.into_body().collect().await);
            sleep(WORK).await;
        }
    }
    Ok(response)
}
