//! One process takes over from another. Both live in this one; they know each other by their sockets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Request;
use tokio::{task::JoinSet, time::sleep};

use super::harness::{App, Rig, ask, echo, websocket};
use crate::{Forwarder, Switch as _};

const LONG: Duration = Duration::from_secs(10);

/// Starts the one that takes over from `rig`.
async fn successor(rig: &Rig) -> Forwarder {
    let old = rig.switch.as_ref().unwrap();
    let mut config = rig.config.clone();
    config.predecessor = Some(old.private().to_owned());
    Forwarder::start(config, Some(old.inheritance())).await.unwrap()
}

#[tokio::test]
async fn a_successor_counts_what_the_older_process_still_has_open() {
    let mut rig = Rig::start().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    rig.set(1, &[old.address]).await;
    let mut socket = websocket(&rig.config.listen).await;

    let next = successor(&rig).await;
    assert_eq!(rig.get("/").await, "old");
    rig.set(2, &[new.address]).await;
    assert_eq!(rig.get("/").await, "new");
    echo(&mut socket).await;
    let status = rig.client.status().await.unwrap();
    assert!(status.predecessor);
    let retired = &status.apps[0].retired[0];
    assert_eq!((retired.generation, retired.in_flight, retired.upgraded), (1, 1, 1));
    assert_eq!(rig.client.drained("web", 1, Duration::from_millis(20)).await.unwrap(), 1);
    assert_eq!(rig.client.cut("web", 1).await.unwrap(), 1);
    assert_eq!(rig.client.drained("web", 1, LONG).await.unwrap(), 0);
    drop(socket);

    assert_eq!(rig.finish().await, 0);
    assert!(rig.config.listen.exists(), "the socket belongs to the successor now");
    assert_eq!(rig.get("/").await, "new");
    assert!(!rig.client.status().await.unwrap().predecessor);
    next.finish().await;
}

#[tokio::test]
async fn a_request_that_still_reaches_the_older_process_is_passed_on() {
    let rig = Rig::start().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    rig.set(1, &[old.address]).await;
    // A connection that the older process accepted, and uses only later.
    let stream = tokio::net::UnixStream::connect(&rig.config.listen).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = || {
        let request = Request::get("/").header("slipway-app", "web").header("slipway-probe", "1");
        request.header("host", "a").body(String::new()).unwrap()
    };
    let first = sender.send_request(request()).await.unwrap();
    assert_eq!(first.headers()["slipway-release"], "1");

    let next = successor(&rig).await;
    rig.set(2, &[new.address]).await;
    sender.ready().await.unwrap();
    let late = sender.send_request(request()).await.unwrap();
    assert_eq!(late.headers()["slipway-release"], "2");
    assert_eq!(late.headers()["connection"], "close");
    next.finish().await;
}

#[tokio::test]
async fn no_request_fails_while_processes_take_over_from_each_other() {
    let mut rig = Rig::start().await;
    let app = App::start("app").await;
    rig.set(1, &[app.address]).await;
    let mut clients = JoinSet::new();
    let asked = Arc::new(AtomicU64::new(0));
    for nth in 0..8 {
        let (listen, asked) = (rig.config.listen.clone(), Arc::clone(&asked));
        clients.spawn(async move {
            loop {
                let (status, body) = match nth % 2 {
                    0 => ask(&listen, Request::get("/"), "").await,
                    _ => ask(&listen, Request::post("/echo"), "body").await,
                };
                assert_eq!(status, 200, "{body}");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for _ in 0..10 {
        let before = asked.load(Ordering::Relaxed);
        let next = successor(&rig).await;
        rig.finish().await;
        rig.switch = Some(next);
        while asked.load(Ordering::Relaxed) < before + 50 {
            assert!(clients.try_join_next().is_none(), "a client gave up");
            sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(clients.try_join_next().is_none(), "a client gave up");
}

#[tokio::test]
async fn a_successor_that_does_not_come_up_changes_nothing() {
    let mut rig = Rig::start().await;
    let app = App::start("app").await;
    rig.set(1, &[app.address]).await;
    rig.finish().await;
    rig.config.successor = vec!["false".into()];
    rig.switch = Some(Forwarder::start(rig.config.clone(), None).await.unwrap());
    let error = rig.switch.as_ref().unwrap().hand_over().await.unwrap_err();
    assert!(error.to_string().contains("ended with"), "{error}");
    assert_eq!(rig.get("/").await, "app");
    rig.set(2, &[app.address]).await;

    // One that dies halfway: the older process has already stepped back.
    rig.switch.as_ref().unwrap().shared().retire().await;
    let error = rig.switch.as_ref().unwrap().hand_over().await.unwrap_err();
    assert!(error.to_string().contains("ended with"), "{error}");
    assert_eq!(rig.get("/").await, "app");
    rig.set(3, &[app.address]).await;
    assert_eq!(rig.client.status().await.unwrap().current("web").unwrap().generation, 3);
}
