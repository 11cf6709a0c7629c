use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use hyper::{server::conn::http1, service::service_fn};
use tokio::{net::UnixListener, task::JoinSet};

use super::*;
use crate::error::Retry;

/// A daemon that gives these answers, in order, and keeps the paths it was asked for.
struct Daemon {
    dir: tempfile::TempDir,
    paths: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Daemon {
    fn open<const N: usize>(answers: [(u16, &'static str); N]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("sock")).unwrap();
        let paths: Arc<Mutex<Vec<String>>> = Arc::default();
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        let asked = Arc::clone(&paths);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (asked, answers) = (Arc::clone(&asked), Arc::clone(&answers));
                let answer = service_fn(move |request: Request<Incoming>| {
                    asked.lock().unwrap().push(request.uri().to_string());
                    let next = answers.lock().unwrap().pop_front();
                    async move {
                        // Out of answers, it is silent.
                        let Some((status, text)) = next else {
                            return std::future::pending().await;
                        };
                        let body = Full::new(Bytes::from_static(text.as_bytes()));
                        Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
                    }
                });
                open.spawn(async move {
                    let serving =
                        http1::Builder::new().serve_connection(TokioIo::new(socket), answer);
                    drop(serving.await);
                });
            }
        });
        Self { dir, paths, _tasks: tasks }
    }

    fn wire(&self) -> Wire {
        Wire::new(self.dir.path().join("sock"))
    }

    fn paths(&self) -> Vec<String> {
        self.paths.lock().unwrap().clone()
    }
}

const OLD: &str = r#"{"ApiVersion":"1.41","MinAPIVersion":"1.12"}"#;
const NEW: &str = r#"{"ApiVersion":"1.53","MinAPIVersion":"1.44"}"#;

fn list() -> Ask {
    Ask::new("list", Method::GET, "/containers/json").query([("all", "1"), ("x", "a b&c")])
}

#[test]
fn versions_compare_by_number() {
    assert!(Api::parse("1.9").unwrap() < OLDEST);
    assert!(OLDEST < Api::parse("1.100").unwrap());
    assert!(Api::parse("1").is_none());
}

#[test]
fn a_name_cannot_leave_its_place_in_the_path() {
    assert_eq!(segment("a/../b?c#d e"), "a%2F..%2Fb%3Fc%23d%20e");
    assert_eq!(segment("slipway-web.staging-web-1-1"), "slipway-web.staging-web-1-1");
}

#[tokio::test]
async fn no_daemon_is_unreachable_and_worth_another_try() {
    let wire = Wire::new("/nonexistent/docker.sock".into());
    let error = wire.api().await.unwrap_err();
    assert_eq!(error.code(), "SW-DOCKER-UNREACHABLE");
    assert_eq!(error.retry(), Retry::Later);
}

#[tokio::test]
async fn the_version_is_asked_once_and_named_in_every_request() {
    let daemon = Daemon::open([(200, OLD), (200, "[]"), (200, "[]")]);
    let wire = daemon.wire();
    for _ in 0..2 {
        wire.call(list()).await.unwrap().ok().unwrap();
    }
    let path = "/v1.41/containers/json?all=1&x=a+b%26c";
    assert_eq!(daemon.paths(), ["/version", path, path]);
}

#[tokio::test]
async fn a_daemon_updated_meanwhile_is_asked_for_its_version_again() {
    let refusal = r#"{"message":"client version 1.41 is too old. Minimum is 1.44"}"#;
    let daemon = Daemon::open([(200, OLD), (400, refusal), (200, NEW), (200, "[]")]);
    let wire = daemon.wire();
    wire.call(list()).await.unwrap().ok().unwrap();
    // A newer daemon is spoken to in the newest version that we know.
    assert!(daemon.paths().last().unwrap().starts_with("/v1.47/"));
}

#[tokio::test]
async fn a_daemon_that_is_too_old_is_refused() {
    let daemon = Daemon::open([(200, r#"{"ApiVersion":"1.40","MinAPIVersion":"1.12"}"#)]);
    let error = daemon.wire().call(list()).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("SW-DOCKER-VERSION", Retry::Never));
}

#[tokio::test]
async fn a_daemon_that_is_silent_meets_the_deadline() {
    let daemon = Daemon::open([(200, OLD)]);
    let ask = list().limit(Duration::from_millis(200));
    let error = daemon.wire().call(ask).await.unwrap_err();
    assert_eq!((error.code(), error.retry()), ("SW-DOCKER-TIMEOUT", Retry::Later));
}

#[tokio::test]
async fn values_come_line_by_line_and_the_last_needs_no_line_end() {
    let daemon = Daemon::open([(200, OLD), (200, "1\r\n\r\n[2,\"a\"]\n3"), (200, "{\n")]);
    let wire = daemon.wire();
    let mut lines: Lines<serde_json::Value> = wire.stream(list()).await.unwrap();
    let mut seen = Vec::new();
    while let Some(value) = lines.next().await.unwrap() {
        seen.push(value.to_string());
    }
    assert_eq!(seen, ["1", "[2,\"a\"]", "3"]);
    let mut broken: Lines<serde_json::Value> = wire.stream(list()).await.unwrap();
    assert_eq!(broken.next().await.unwrap_err().code(), "SW-DOCKER-ANSWER");
}

#[tokio::test]
async fn refusals_carry_dockers_words() {
    let full = r#"{"message":"write /x: no space left on device"}"#;
    let daemon = Daemon::open([(200, OLD), (500, full), (500, "plain words\n")]);
    let wire = daemon.wire();
    let error = wire.call(list()).await.unwrap().ok().unwrap_err();
    assert_eq!(error.code(), "SW-DISK-FULL");
    let error = wire.call(list()).await.unwrap().ok().unwrap_err();
    assert_eq!(error.to_string(), "Docker refused to list: plain words");
    assert_eq!(error.retry(), Retry::Later);
}
