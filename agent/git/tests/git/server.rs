//! A git server on loopback: `git http-backend` behind a few rules of misbehavior.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE, LOCATION},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use slipway_host::exec::Program;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, task::JoinSet};

/// The token that repositories beneath `/auth` want.
pub(crate) const TOKEN: &str = "s3cret-token";

/// A running server; it ends with this.
pub(crate) struct Server {
    pub(crate) root: tempfile::TempDir,
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let mut tasks = JoinSet::new();
        let (path, log) = (root.path().to_owned(), Arc::clone(&seen));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (path, log) = (path.clone(), Arc::clone(&log));
                let service =
                    service_fn(move |request| answer(path.clone(), Arc::clone(&log), request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(connection.await) });
            }
        });
        Self { root, address, seen, _tasks: tasks }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Paths asked for with credentials.
    pub(crate) fn seen_with_login(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Makes a repository at `path` out of a script of git commands, one a line, run in its work tree.
    pub(crate) async fn repository(&self, path: &str, script: &str) -> Repository {
        let bare = self.root.path().join(path);
        let work = self.root.path().join(format!("{path}.work"));
        std::fs::create_dir_all(&work).unwrap();
        let repository = Repository { bare, work };
        repository.git(&["init", "-q", "-b", "main"]).await;
        repository.sh(script).await;
        let (work, bare) = (repository.work.to_str().unwrap(), repository.bare.to_str().unwrap());
        repository.git(&["clone", "-q", "--bare", work, bare]).await;
        repository
    }
}

/// A repository of the server.
pub(crate) struct Repository {
    pub(crate) bare: PathBuf,
    work: PathBuf,
}

impl Repository {
    /// Runs git in the work tree.
    pub(crate) async fn git(&self, args: &[&str]) -> String {
        run(base(&self.work, "git").args(args)).await
    }

    /// Runs a script in the work tree.
    pub(crate) async fn sh(&self, script: &str) -> String {
        run(base(&self.work, "sh").args(["-euc", script])).await
    }
}

fn base(dir: &Path, program: &str) -> Program {
    let names =
        ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"];
    let dates = ["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"];
    let program = Program::new("env").arg("-C").arg(dir).arg(program);
    let program = names.iter().fold(program, |it, name| it.var(name, "someone"));
    dates
        .iter()
        .fold(program, |it, name| it.var(name, "1700000000 +0000"))
        .var("GIT_CONFIG_NOSYSTEM", "1")
        .var("GIT_CONFIG_GLOBAL", "/dev/null")
}

async fn run(program: Program) -> String {
    let output = program.run(Duration::from_secs(60)).await.unwrap();
    assert!(output.ok(), "{program:?}: {}", output.stderr);
    output.stdout.trim().to_owned()
}

type Answer = Response<Full<Bytes>>;

async fn answer(
    root: PathBuf,
    seen: Arc<Mutex<Vec<String>>>,
    request: Request<Incoming>,
) -> Result<Answer, std::convert::Infallible> {
    let login = request.headers().get(AUTHORIZATION).map(|it| it.to_str().unwrap().to_owned());
    let path = request.uri().path().to_owned();
    if login.is_some() {
        seen.lock().unwrap().push(path.clone());
    }
    let plain = |status: StatusCode| {
        let mut answer = Answer::default();
        *answer.status_mut() = status;
        answer
    };
    let first = path.split('/').nth(1).unwrap_or_default();
    Ok(match first {
        "auth" if login != Some(basic()) => plain(StatusCode::UNAUTHORIZED),
        "moved" => {
            let mut answer = plain(StatusCode::FOUND);
            let to = "http://user:pass@127.0.0.1:9/new.git/info/refs?service=git-upload-pack";
            answer.headers_mut().insert(LOCATION, to.parse().unwrap());
            answer
        }
        "broken" => plain(StatusCode::INTERNAL_SERVER_ERROR),
        "page" => {
            let mut answer = plain(StatusCode::OK);
            answer.headers_mut().insert(CONTENT_TYPE, "text/html".parse().unwrap());
            answer
        }
        "silent" => std::future::pending().await,
        _ => backend(&root, request).await,
    })
}

fn basic() -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("x-access-token:{TOKEN}")))
}

/// One request by the rules of CGI.
async fn backend(root: &Path, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let kind = head.headers.get(CONTENT_TYPE).map_or("", |it| it.to_str().unwrap());
    #[expect(
        clippy::disallowed_methods,
        reason = "it needs a standard input, which exec does not give"
    )]
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", head.uri.path())
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", kind)
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = async move {
        // It closes its end early when it refuses.
        drop(stdin.write_all(&body).await);
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    let output = output.unwrap().stdout;
    let end = output.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let (head, body) = output.split_at(end + 4);
    let mut answer = Answer::new(Full::new(Bytes::copy_from_slice(body)));
    for line in str::from_utf8(head).unwrap().lines().filter(|it| !it.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "Status" {
            *answer.status_mut() = value.split(' ').next().unwrap().parse().unwrap();
        } else if name == "Content-Type" {
            answer.headers_mut().insert(CONTENT_TYPE, value.parse().unwrap());
        }
    }
    answer
}
