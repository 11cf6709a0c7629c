//! One request: variables and body in, head and body out (RFC 3875).

use std::{convert::Infallible, path::Path, path::PathBuf, process::Stdio, sync::Arc};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{
    HeaderMap, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStdin, ChildStdout},
};
use tokio_util::io::ReaderStream;

use crate::process::Start;

type Body = BoxBody<Bytes, std::io::Error>;

/// Answers a request; whatever goes wrong is a 500.
pub(super) async fn answer(
    root: Arc<PathBuf>,
    token: Arc<Option<String>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if let Some(token) = token.as_ref()
        && !allowed(request.headers(), token)
    {
        let mut response = plain(StatusCode::UNAUTHORIZED, "this repository is private\n");
        let value = http::HeaderValue::from_static("Basic realm=\"git\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
        return Ok(response);
    }
    Ok(serve(&root, request)
        .await
        .unwrap_or_else(|error| plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}\n"))))
}

async fn serve(root: &Path, request: Request<Incoming>) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let header = |name| {
        head.headers.get(name).and_then(|it: &http::HeaderValue| it.to_str().ok()).unwrap_or("")
    };
    let mut command = Start::new("git")
        .clean()
        .args(["http-backend"])
        .var("GIT_PROJECT_ROOT", root)
        .var("GIT_HTTP_EXPORT_ALL", "1")
        // The folders may belong to another user than this process.
        .var("GIT_CONFIG_COUNT", "1")
        .var("GIT_CONFIG_KEY_0", "safe.directory")
        .var("GIT_CONFIG_VALUE_0", "*")
        .var("PATH_INFO", head.uri.path())
        .var("QUERY_STRING", head.uri.query().unwrap_or(""))
        .var("REQUEST_METHOD", head.method.as_str())
        .var("CONTENT_TYPE", header(CONTENT_TYPE.as_str()))
        .var("HTTP_CONTENT_ENCODING", header(CONTENT_ENCODING.as_str()))
        .var("GIT_PROTOCOL", header("git-protocol"))
        .var("REMOTE_ADDR", "127.0.0.1")
        .command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().context("start git http-backend")?;
    let stdin = child.stdin.take().context("git has no input")?;
    let mut stdout = BufReader::new(child.stdout.take().context("git has no output")?);
    // git may answer before it has read everything, so both go on at once.
    let mut feeding = tokio::task::JoinSet::new();
    feeding.spawn(feed(body, stdin));
    let mut response = Response::builder();
    for (name, value) in read_head(&mut stdout).await? {
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(500_u16);
            response = response.status(code);
        } else {
            response = response.header(name, value);
        }
    }
    let frames = ReaderStream::new(stdout).map_ok(move |it| {
        // They live as long as the body.
        let _keep = (&child, &feeding);
        Frame::data(it)
    });
    response.body(StreamBody::new(frames).boxed()).context("answer")
}

async fn feed(mut body: Incoming, mut stdin: ChildStdin) {
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data()
            && stdin.write_all(&data).await.is_err()
        {
            return;
        }
    }
}

async fn read_head(stdout: &mut BufReader<ChildStdout>) -> Result<Vec<(String, String)>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        let length = stdout.read_line(&mut line).await.context("read git's answer")?;
        let line = line.trim_end();
        if length == 0 || line.is_empty() {
            return Ok(head);
        }
        if let Some((name, value)) = line.split_once(':') {
            head.push((name.to_owned(), value.trim().to_owned()));
        }
    }
}

fn allowed(headers: &HeaderMap, token: &str) -> bool {
    let Some(given) = headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok()) else {
        return false;
    };
    if let Some(bearer) = given.strip_prefix("Bearer ") {
        return bearer == token;
    }
    let Some(basic) = given.strip_prefix("Basic ") else { return false };
    let decoded = data_encoding::BASE64.decode(basic.as_bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(&decoded).into_owned();
    text.split_once(':').is_some_and(|(_, password)| password == token)
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}
