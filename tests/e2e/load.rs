//! Redeploying under load fails and resets no request.

use std::time::Duration;

use slipway_tests::{
    lab::{Lab, Part},
    load::{Load, Plan, websocket::WebSocket},
    sample,
};
use tokio::{sync::oneshot, task::JoinSet};

/// Echoes over one WebSocket until told to stop; gives the number of echoes.
async fn chat(mut socket: WebSocket, mut stop: oneshot::Receiver<()>) -> anyhow::Result<u64> {
    let mut echoes = 0;
    while stop.try_recv().is_err() {
        socket.echo(&format!("message {echoes}")).await?;
        echoes += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(echoes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_releases_change_and_programs_restart() {
    let lab = Lab::start().await.unwrap();
    let app = lab.scratch().join("web");
    sample::hello_of_version(&app, "1").unwrap();
    let path = app.to_str().unwrap().to_owned();
    let deploy = ["deploy", &path, "-n", "web", "--health-path", "/up"];
    lab.slipway(&deploy).await.unwrap().done().unwrap();
    let place = lab.place("web").await.unwrap();

    let load = Load::start(Plan::FULL, place.address, &place.host);
    let mut chats = JoinSet::new();
    let (hang_up, stop) = oneshot::channel();
    let socket = WebSocket::open(place.address, &place.host).await.unwrap();
    chats.spawn(chat(socket, stop));
    for version in ["2", "3", "4"] {
        sample::set_version(&app, version).unwrap();
        lab.slipway(&deploy).await.unwrap().done().unwrap();
        assert_eq!(lab.get(&place, "/version").await.unwrap().1.trim(), version);
        if version == "2" {
            // A WebSocket lives as long as its container: the drain's deadline ends it.
            hang_up_of(&mut chats, version).await;
        }
        if version == "3" {
            // Neither program is in the way of a request.
            lab.kill(Part::Agent).await.unwrap();
            lab.kill(Part::Control).await.unwrap();
            lab.up().await.unwrap();
        }
    }
    lab.slipway(&["rollback", "web"]).await.unwrap().done().unwrap();
    drop(hang_up);
    let tally = load.stop().await;
    assert_eq!(tally.failed, 0, "{:#?}\n{}", tally.failures, lab.logs());
    assert!(tally.answered > 1_000, "{tally:?}");
    for version in ["1", "2", "3", "4"] {
        assert!(tally.versions.contains_key(version), "{:?}", tally.versions);
    }
}

/// A chat on the old release goes on until the drain is over, and not a message is lost before.
async fn hang_up_of(chats: &mut JoinSet<anyhow::Result<u64>>, version: &str) {
    let limit = Duration::from_secs(1);
    if let Ok(Some(ended)) = tokio::time::timeout(limit, chats.join_next()).await {
        let ended = ended.unwrap();
        assert!(ended.is_err(), "nobody hung up: {ended:?} at {version}");
    }
}
