//! The control socket, and what survives a restart.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use super::harness::{App, Rig, closed};
use crate::{Client, Error, Forwarder, Restored, Route, Switch as _};

#[tokio::test]
async fn a_repeated_set_changes_nothing() {
    let rig = Rig::start().await;
    let app = App::start("app").await;
    rig.set(1, &[app.address]).await;
    let written = std::fs::metadata(&rig.config.state).unwrap().modified().unwrap();
    rig.get("/").await;
    rig.set(1, &[app.address]).await;
    let status = rig.client.status().await.unwrap();
    // The counters go on, so it is the same generation still.
    assert_eq!(status.current("web").unwrap().requests, 1);
    assert_eq!(std::fs::metadata(&rig.config.state).unwrap().modified().unwrap(), written);
    rig.client.remove("web").await.unwrap();
    rig.client.remove("web").await.unwrap();
    assert!(rig.client.status().await.unwrap().apps.is_empty());
}

#[tokio::test]
async fn going_back_to_an_older_generation_works() {
    let rig = Rig::start().await;
    let (old, new) = (App::start("old").await, App::start("new").await);
    rig.set(1, &[old.address]).await;
    rig.set(2, &[new.address]).await;
    rig.set(1, &[old.address]).await;
    assert_eq!(rig.get("/").await, "old");
    assert_eq!(rig.client.drained("web", 2, Duration::ZERO).await.unwrap(), 0);
    let current = rig.client.drained("web", 1, Duration::ZERO).await.unwrap_err();
    assert!(matches!(current, Error::Current { generation: 1, .. }), "{current}");
}

#[tokio::test]
async fn the_table_survives_a_restart() {
    let mut rig = Rig::start().await;
    assert_eq!(rig.client.status().await.unwrap().restored, Restored::New);
    let app = App::start("app").await;
    rig.set(5, &[app.address]).await;
    assert_eq!(rig.finish().await, 0);
    assert!(!rig.config.listen.exists());
    let gone = rig.client.ping().await.unwrap_err();
    assert!(matches!(gone, Error::Unreachable { .. }) && gone.retry(), "{gone}");

    rig.switch = Some(Forwarder::start(rig.config.clone(), None).await.unwrap());
    assert_eq!(rig.get("/").await, "app");
    let status = rig.client.status().await.unwrap();
    assert_eq!(status.restored, Restored::Loaded);
    assert_eq!(status.current("web").unwrap().generation, 5);
}

#[tokio::test]
async fn a_second_switch_beside_the_first_is_refused() {
    let rig = Rig::start().await;
    let second = Forwarder::start(rig.config.clone(), None).await.unwrap_err();
    assert!(matches!(second, Error::InUse { .. }), "{second}");
    rig.client.ping().await.unwrap();
}

#[tokio::test]
async fn sockets_of_a_killed_switch_are_no_hindrance() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start().await;
    let mut config = rig.config.clone();
    config.listen = dir.path().join("proxy.sock");
    config.control = dir.path().join("control.sock");
    config.state = dir.path().join("routes");
    // What a kill leaves: sockets nobody listens on, and a link to one of them.
    drop(std::os::unix::net::UnixListener::bind(&config.listen).unwrap());
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("control.sock.1")).unwrap());
    std::os::unix::fs::symlink("control.sock.1", &config.control).unwrap();
    let switch = Forwarder::start(config.clone(), None).await.unwrap();
    Client::new(&config.control).ping().await.unwrap();
    assert!(!dir.path().join("control.sock.1").exists());
    let mode = |it: &std::path::Path| std::fs::metadata(it).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&config.control), mode(&config.listen)), (0o600, 0o666));
    switch.finish().await;
}

#[tokio::test]
async fn a_table_that_cannot_be_written_changes_nothing() {
    let rig = Rig::start().await;
    let app = App::start("app").await;
    rig.set(1, &[app.address]).await;
    // A folder in the way of the file's second name.
    let previous = rig.config.state.with_extension("previous");
    drop(std::fs::remove_file(&previous));
    std::fs::create_dir_all(previous.join("x")).unwrap();
    let route = Route::new(2, [closed().await]);
    let error = rig.client.set("web", &route).await.unwrap_err();
    assert!(error.retry(), "{error}");
    assert_eq!(rig.get("/").await, "app");
    std::fs::remove_dir_all(&previous).unwrap();
    rig.client.set("web", &route).await.unwrap();
}

#[tokio::test]
async fn wrong_requests_are_refused_with_a_reason() {
    let rig = Rig::start().await;
    let ask = |method: &'static str, path: &'static str, body: &'static str| {
        let socket = rig.config.control.clone();
        async move {
            let request = http::Request::builder().method(method).uri(path);
            let (status, body) = super::harness::ask(&socket, request, body).await;
            assert!(body.contains("\"error\""), "{body}");
            status
        }
    };
    assert_eq!(ask("GET", "/v1/nothing", "").await, 404);
    assert_eq!(ask("PUT", "/v1/apps/web", "{}").await, 400);
    assert_eq!(
        ask("PUT", "/v1/apps/Web!", r#"{"generation":1,"release":"1","targets":[]}"#).await,
        400
    );
    assert_eq!(
        ask("PUT", "/v1/apps/web", r#"{"generation":1,"release":"","targets":[]}"#).await,
        400
    );
    assert_eq!(ask("POST", "/v1/apps/web/generations/x/cut", "").await, 400);
    assert_eq!(ask("POST", "/v1/apps/web/generations/1/drained?limit_ms=-1", "").await, 400);
    assert_eq!(rig.client.status().await.unwrap().apps, []);
}

#[tokio::test]
async fn the_end_waits_for_what_is_open_and_then_cuts() {
    let mut rig = Rig::start().await;
    let app = App::start("app").await;
    rig.set(1, &[app.address]).await;
    let switch = rig.switch.take().unwrap();
    let slow = rig.get("/slow");
    let end = async {
        while rig.client.status().await.unwrap().current("web").unwrap().in_flight == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        switch.finish().await
    };
    let (slow, left) = tokio::join!(slow, end);
    assert_eq!((slow.as_str(), left), ("app", 0));

    rig.config.grace = Duration::from_millis(100);
    let switch = Forwarder::start(rig.config.clone(), None).await.unwrap();
    let _socket = super::harness::websocket(&rig.config.listen).await;
    assert_eq!(switch.finish().await, 1);
}
