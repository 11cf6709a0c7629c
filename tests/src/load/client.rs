//! One HTTP/1.1 connection, used for one request after another.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

const LIMIT: Duration = Duration::from_secs(30);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("connect: {0}")]
    Connect(std::io::Error),
    #[error("{0}: {1}")]
    Broken(&'static str, hyper::Error),
    #[error("status {0}: {1}")]
    Status(u16, String),
    #[error("another body: {0}")]
    Body(String),
    #[error("no answer within 30 s")]
    Late,
    #[error("no request: {0}")]
    Request(http::Error),
}

/// A connection.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinSet<()>,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) version: String,
    pub(super) body: String,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> Result<Self, Fault> {
        let stream = timeout(LIMIT, TcpStream::connect(address)).await.map_err(|_| Fault::Late)?;
        let stream = stream.map_err(Fault::Connect)?;
        stream.set_nodelay(true).map_err(Fault::Connect)?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|it| Fault::Broken("handshake", it))?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            // Its errors come out of the requests.
            drop(connection.await);
        });
        Ok(Self { sender, task })
    }

    /// Whether the server has ended it between two requests.
    pub(super) fn is_over(&self) -> bool {
        self.sender.is_closed() || self.task.is_empty()
    }

    pub(super) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        host: &str,
        body: &str,
    ) -> Result<Answer, Fault> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .body(Full::from(body.to_owned()))
            .map_err(Fault::Request)?;
        let work = async {
            self.sender.ready().await.map_err(|it| Fault::Broken("wait", it))?;
            let response = self.sender.send_request(request).await;
            let response = response.map_err(|it| Fault::Broken("head", it))?;
            let status = response.status().as_u16();
            let version = response.headers().get("x-version");
            let version = version.and_then(|it| it.to_str().ok()).unwrap_or("?").to_owned();
            let body = response.into_body().collect().await;
            let body = body.map_err(|it| Fault::Broken("body", it))?.to_bytes();
            Ok(Answer { status, version, body: String::from_utf8_lossy(&body).into_owned() })
        };
        timeout(LIMIT, work).await.map_err(|_| Fault::Late)?
    }
}
