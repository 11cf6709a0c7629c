//! HTTP/1.1 to the letter.

use std::time::Duration;

use http::Request;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UnixStream},
    time::timeout,
};

use super::harness::{App, Rig, scripted};
use crate::Switch as _;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-CamelCase: Yes\r\n\r\nok";

#[tokio::test]
async fn a_request_arrives_as_it_was_sent() {
    let rig = Rig::start().await;
    let (app, asked) = scripted(OK).await;
    rig.set(1, &[app]).await;
    let answer = rig
        .raw("POST /a%20b?c=d&e HTTP/1.1\r\nHost: Example.com\r\nSlipway-App: web\r\nX-FooBar: 1\r\nX-Forwarded-For: 9.9.9.9\r\nCookie: a=b\r\nCookie: c=d\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nEND")
        .await;
    expect_lines(
        &asked.await.unwrap(),
        "POST /a%20b?c=d&e HTTP/1.1|Host: Example.com|Content-Length: 3|X-FooBar: 1|X-Forwarded-For: 9.9.9.9|Cookie: a=b|Cookie: c=d||END",
    );
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nX-CamelCase: Yes\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[track_caller]
fn expect_lines(text: &str, expected: &str) {
    assert_eq!(text.replace("\r\n", "|"), expected);
}

#[tokio::test]
async fn the_answer_to_head_has_a_length_and_no_body() {
    let rig = Rig::start().await;
    let (app, _asked) = scripted("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n").await;
    rig.set(1, &[app]).await;
    let answer = rig
        .raw("HEAD / HTTP/1.1\r\nHost: a\r\nSlipway-App: web\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.to_lowercase().contains("\r\ncontent-length: 1234\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn chunks_and_trailers_pass() {
    let rig = Rig::start().await;
    let (app, asked) = scripted(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n",
    )
    .await;
    rig.set(1, &[app]).await;
    let answer = rig
        .raw("POST / HTTP/1.1\r\nHost: a\r\nSlipway-App: web\r\nTE: trailers\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nEND\r\n0\r\n\r\n")
        .await;
    let asked = asked.await.unwrap();
    assert!(asked.to_lowercase().contains("transfer-encoding: chunked"), "{asked}");
    assert!(answer.contains("\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 6\r\n"), "{answer}");
}

#[tokio::test]
async fn ambiguous_lengths_are_refused() {
    let rig = Rig::start().await;
    let app = App::start("app").await;
    rig.set(1, &[app.address]).await;
    for framing in [
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: +1",
        "Content-Length: 1, 2",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
    ] {
        let request =
            format!("POST / HTTP/1.1\r\nHost: a\r\nSlipway-App: web\r\n{framing}\r\n\r\nx");
        let answer = rig.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{framing}: {answer}");
    }
}

#[tokio::test]
async fn a_length_beside_chunks_does_not_go_on() {
    let rig = Rig::start().await;
    let (app, asked) = scripted(OK).await;
    rig.set(1, &[app]).await;
    let answer = rig
        .raw("POST / HTTP/1.1\r\nHost: a\r\nSlipway-App: web\r\nConnection: close\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nEND\r\n0\r\n\r\n")
        .await;
    // Refused, or passed on with one meaning only.
    if answer.starts_with("HTTP/1.1 200") {
        let asked = asked.await.unwrap().to_lowercase();
        assert!(!asked.contains("content-length"), "{asked}");
    } else {
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[tokio::test]
async fn a_request_without_an_app_is_refused() {
    let rig = Rig::start().await;
    for apps in ["", "Slipway-App: web\r\nSlipway-App: web\r\n"] {
        let answer =
            rig.raw(&format!("GET / HTTP/1.1\r\nHost: a\r\n{apps}Connection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("slipway-reason: no-app"), "{answer}");
    }
}

#[tokio::test]
async fn a_release_is_told_to_those_who_ask_and_cannot_be_made_up() {
    let rig = Rig::start().await;
    let answer = "HTTP/1.1 200 OK\r\nSlipway-Release: 99\r\nSlipway-Reason: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let head = "GET / HTTP/1.1\r\nHost: a\r\nSlipway-App: web\r\nConnection: close\r\n";
    let (app, asked) = scripted(answer).await;
    rig.set(7, &[app]).await;
    let probed = rig.raw(&format!("{head}Slipway-Probe: 1\r\n\r\n")).await.to_lowercase();
    assert!(probed.contains("\r\nslipway-release: 7\r\n"), "{probed}");
    assert!(!asked.await.unwrap().to_lowercase().contains("slipway-"));
    let (app, _asked) = scripted(answer).await;
    rig.set(8, &[app]).await;
    let plain = rig.raw(&format!("{head}\r\n")).await.to_lowercase();
    assert!(!plain.contains("slipway-"), "{plain}");
}

#[tokio::test]
async fn a_body_arrives_while_it_is_sent_and_a_slow_reader_slows_the_writer() {
    let rig = Rig::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.set(1, &[listener.local_addr().unwrap()]).await;
    let mut client = UnixStream::connect(&rig.config.listen).await.unwrap();
    let head =
        "POST / HTTP/1.1\r\nHost: a\r\nSlipway-App: web\r\nContent-Length: 1000000000\r\n\r\nfirst";
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut app, _) = listener.accept().await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"first") {
        seen.push(app.read_u8().await.unwrap());
    }
    // The app reads no more; what the client can write is then bounded by buffers.
    let chunk = vec![0_u8; 64 << 10];
    let mut written = 0_usize;
    while let Ok(it) = timeout(Duration::from_millis(300), client.write_all(&chunk)).await {
        it.unwrap();
        written += chunk.len();
        assert!(written < 64 << 20, "nothing slowed the writer down");
    }
    // The client gives up; so must the connection to the app.
    drop(client);
    let rest = timeout(Duration::from_secs(10), app.read_to_end(&mut Vec::new())).await;
    assert!(rest.is_ok(), "the app's connection stayed open");
}

#[tokio::test]
async fn an_odd_answer_is_502() {
    let rig = Rig::start().await;
    for answer in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "",
    ] {
        let (app, _asked) = scripted(answer).await;
        rig.set(1, &[app]).await;
        let (status, body) = rig.ask(Request::post("/"), "END").await;
        assert_eq!(status, 502, "{answer}: {body}");
        rig.client.remove("web").await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let rig = Rig::start().await;
    let (app, _asked) = scripted("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart").await;
    rig.set(1, &[app]).await;
    let answer =
        rig.raw("GET / HTTP/1.1\r\nHost: a\r\nSlipway-App: web\r\nConnection: close\r\n\r\n").await;
    // The promised length is not reached, and no end is made up.
    assert!(answer.ends_with("\r\n\r\npart"), "{answer}");
    assert!(answer.to_lowercase().contains("content-length: 100"), "{answer}");
}
