//! A switch in a folder of its own, apps that answer in a known way, and requests through the socket.

use std::{convert::Infallible, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, split},
    net::{TcpListener, UnixStream},
    task::JoinSet,
    time::sleep,
};

use crate::{APP, Client, Config, Forwarder, Route, Switch as _};

/// A switch, and a client of its control socket.
pub(super) struct Rig {
    _dir: TempDir,
    pub(super) config: Config,
    pub(super) client: Client,
    pub(super) switch: Option<Forwarder>,
}

impl Rig {
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path(), dir.path());
        config.grace = Duration::from_secs(10);
        let switch = Forwarder::start(config.clone(), None).await.unwrap();
        let client = Client::new(&config.control).patience(Duration::ZERO);
        Self { _dir: dir, config, client, switch: Some(switch) }
    }

    pub(super) async fn finish(&mut self) -> usize {
        self.switch.take().unwrap().finish().await
    }

    pub(super) async fn set(&self, generation: u64, targets: &[SocketAddr]) {
        let route = Route::new(generation, targets.iter().copied());
        self.client.set("web", &route).await.unwrap();
    }

    /// Sends a request that names `web` and returns status and body.
    pub(super) async fn ask(&self, request: http::request::Builder, body: &str) -> (u16, String) {
        ask(&self.config.listen, request, body).await
    }

    /// `GET path`, body only.
    pub(super) async fn get(&self, path: &str) -> String {
        self.ask(Request::get(path), "").await.1
    }

    /// Bytes in, bytes out, until the switch closes.
    pub(super) async fn raw(&self, text: &str) -> String {
        let mut stream = UnixStream::connect(&self.config.listen).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }
}

/// Sends a request through a data socket on a connection of its own.
pub(super) async fn ask(
    socket: &Path,
    request: http::request::Builder,
    body: &str,
) -> (u16, String) {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = request
        .header(header::HOST, "example.com")
        .header(APP, "web")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
}

/// An app that tells its name. It ends with the set.
///
/// `/` its name · `/echo` the body · `/slow` its name after 300 ms · `/stream` one line now, one
/// after 300 ms · `/ws` an echo after an upgrade · `/hang` nothing, ever.
pub(super) struct App {
    pub(super) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl App {
    pub(super) async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let name: Arc<str> = name.into();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let name = Arc::clone(&name);
                connections.spawn(async move {
                    let service = service_fn(|it| respond(it, Arc::clone(&name)));
                    let connection = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades();
                    drop(connection.await);
                });
            }
        });
        Self { address, _tasks: tasks }
    }
}

type Body = Either<Full<Bytes>, Incoming>;

async fn respond(
    mut request: Request<Incoming>,
    name: Arc<str>,
) -> Result<Response<Body>, Infallible> {
    let text = |it: &str| Response::new(Either::Left(Full::new(Bytes::from(it.to_owned()))));
    Ok(match request.uri().path() {
        "/echo" => Response::new(Either::Right(request.into_body())),
        "/slow" => {
            sleep(Duration::from_millis(300)).await;
            text(&name)
        }
        "/hang" => std::future::pending().await,
        "/ws" => {
            let upgrade = hyper::upgrade::on(&mut request);
            #[expect(clippy::disallowed_methods, reason = "the echo ends with its connection")]
            tokio::spawn(async move {
                let (mut read, mut write) = split(TokioIo::new(upgrade.await.unwrap()));
                drop(copy(&mut read, &mut write).await);
                drop(write.shutdown().await);
            });
            let mut response = text("");
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, "upgrade".parse().unwrap());
            headers.insert(header::UPGRADE, "websocket".parse().unwrap());
            response
        }
        _ => text(&name),
    })
}

/// An app that answers each connection with fixed bytes, and gives back what it was sent.
pub(super) async fn scripted(
    answer: &'static str,
) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        let mut buffer = [0; 4096];
        while !asked.ends_with(b"\r\n\r\n") && !asked.ends_with(b"END") {
            let count = stream.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0, "the switch closed: {}", String::from_utf8_lossy(&asked));
            asked.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    });
    (address, task)
}

/// An address that refuses connections.
pub(super) async fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Opens `/ws` and checks that it echoes.
pub(super) async fn websocket(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: a\r\nSlipway-App: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    echo(&mut stream).await;
    stream
}

/// Checks that an upgraded connection still echoes.
pub(super) async fn echo(stream: &mut UnixStream) {
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");
}
