use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use futures::{StreamExt as _, stream};
use slipway_host::Secret;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};

use super::*;
use crate::{
    build::BuildRequest,
    container::{ContainerSpec, Restart, tests::spec},
    engine::Engine,
    error::Retry,
    image::Credentials,
    logs::LogQuery,
    network::{Attachment, NetworkSpec},
};

const NAME: &str = "slipway-web-web-3-1";

/// A fake with a network and a container of this behavior, on an address of its own.
async fn with(host: u8, behavior: Behavior, restart: Restart) -> (Fake, ContainerSpec) {
    let fake = Fake::default();
    let image = fake.add_image("web:1", ImageConfig::default(), behavior);
    let subnet = "127.213.7.0/26".parse().unwrap();
    let network = NetworkSpec { name: "slipway-web".to_owned(), subnet, labels: BTreeMap::new() };
    fake.ensure_network(&network).await.unwrap();
    let address = Ipv4Addr::new(127, 213, 7, host);
    let network = Attachment { address, ..spec().network };
    let spec = ContainerSpec { image, network, restart, mounts: Vec::new(), ..spec() };
    fake.create(&spec).await.unwrap();
    (fake, spec)
}

#[tokio::test]
async fn a_container_that_serves_really_answers_until_it_stops() {
    let (fake, spec) = with(2, Behavior::serves("hello"), Restart::UnlessStopped).await;
    fake.start(NAME).await.unwrap();
    let mut socket = TcpStream::connect((spec.network.address, 8080)).await.unwrap();
    socket.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("hello"), "{answer}");
    fake.stop(NAME, Duration::ZERO).await.unwrap();
    assert_eq!(fake.wait(NAME).await.unwrap(), 143);
    assert_eq!(fake.inspect(NAME).await.unwrap().restart_count, 0);
    // Started again, it can have its port again.
    fake.start(NAME).await.unwrap();
    assert!(fake.inspect(NAME).await.unwrap().running());
}

#[tokio::test]
async fn a_crashed_container_is_started_again_only_if_its_policy_says_so() {
    let (fake, _) = with(3, Behavior::idles(), Restart::OnFailure(1)).await;
    fake.start(NAME).await.unwrap();
    fake.crash(NAME, Exit { code: 137, oom: true, ..Exit::default() }).unwrap();
    fake.until(|all| all.iter().any(|it| it.running() && it.restart_count == 1)).await;
    fake.crash(NAME, Exit { code: 1, ..Exit::default() }).unwrap();
    assert_eq!(fake.wait(NAME).await.unwrap(), 1);
    assert_eq!(fake.statuses(), [(NAME.to_owned(), Status::Exited)]);
}

#[tokio::test]
async fn the_same_spec_finds_the_container_and_another_does_not() {
    let (fake, spec) = with(4, Behavior::idles(), Restart::Never).await;
    let id = fake.create(&spec).await.unwrap();
    assert_eq!(fake.inspect(NAME).await.unwrap().id, id);
    let other = ContainerSpec { command: Vec::new(), ..spec };
    assert!(matches!(fake.create(&other).await, Err(Error::Taken { .. })));
    fake.remove(NAME).await.unwrap();
    fake.remove(NAME).await.unwrap();
    fake.stop(NAME, Duration::ZERO).await.unwrap();
    assert!(fake.inspect(NAME).await.unwrap_err().is_missing());
}

#[tokio::test]
async fn scripted_failures_strike_as_often_as_told() {
    let (fake, _) = with(5, Behavior::idles(), Restart::Never).await;
    fake.fail(Call::Start, "web", 1, || Error::Timeout {
        act: "start a container",
        limit: Duration::from_secs(60),
    });
    assert_eq!(fake.start(NAME).await.unwrap_err().retry(), Retry::Later);
    fake.start(NAME).await.unwrap();
    fake.go_down();
    assert_eq!(fake.ping().await.unwrap_err().code(), "SW-DOCKER-UNREACHABLE");
    fake.come_up();
    assert!(fake.inspect(NAME).await.unwrap().running());
}

#[tokio::test]
async fn a_gate_holds_calls_until_it_goes() {
    let (fake, _) = with(6, Behavior::idles(), Restart::Never).await;
    let mut gate = fake.hold(Call::Start);
    let start = fake.start(NAME);
    tokio::pin!(start);
    tokio::select! {
        _ = &mut start => panic!("went through"),
        () = gate.reached() => (),
    }
    drop(gate);
    start.await.unwrap();
}

#[tokio::test]
async fn logs_follow_until_the_container_ends() {
    let (fake, _) = with(7, Behavior::crashes(3, "boom"), Restart::Never).await;
    let mut events = fake.events(None).await.unwrap();
    fake.start(NAME).await.unwrap();
    let follow = LogQuery { follow: true, ..LogQuery::default() };
    let lines: Vec<_> = fake.logs(NAME, &follow).await.unwrap().collect().await;
    let texts: Vec<_> = lines.into_iter().flat_map(Result::unwrap).map(|it| it.text()).collect();
    assert_eq!(texts, ["boom"]);
    assert_eq!(events.next().await.unwrap().unwrap().what, What::Started);
    assert_eq!(events.next().await.unwrap().unwrap().what, What::Died { exit_code: 3 });
    fake.go_down();
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn builds_go_as_scripted() {
    let fake = Fake::default();
    let build = |piece: std::io::Result<bytes::Bytes>| {
        let (events, heard) = mpsc::channel(8);
        let fake = fake.clone();
        async move {
            let request = BuildRequest::new("web:1", BTreeMap::new());
            (fake.build(&request, stream::iter([piece]).boxed(), events).await, heard)
        }
    };
    let lines = vec!["Step 1".to_owned()];
    let failure = Some(("exit 3".to_owned(), Some(3)));
    fake.next_build(BuildScript { lines, failure, ..BuildScript::default() });
    let (failed, mut heard) = build(Ok("tar".into())).await;
    assert_eq!(failed.unwrap_err().code(), "SW-BUILD-FAILED");
    assert!(heard.recv().await.is_some());
    let id = build(Ok("tar".into())).await.0.unwrap();
    assert_eq!(fake.image("web:1").await.unwrap().id, id);
    let other = build(Ok("other".into())).await.0.unwrap();
    assert_eq!(fake.image("web:1").await.unwrap().id, other);
    let broken = build(Err(std::io::Error::other("cut"))).await.0;
    assert_eq!(broken.unwrap_err().code(), "SW-BUILD-CONTEXT");
}

#[tokio::test]
async fn a_private_image_wants_the_right_password() {
    let fake = Fake::default();
    let credentials = |password: &str| Credentials {
        username: "me".to_owned(),
        password: Secret::new(password.to_owned()),
    };
    let id = fake.publish(
        "r.test/web:1",
        ImageConfig::default(),
        Behavior::idles(),
        Some(credentials("right")),
    );
    let pull = |password: Option<&str>| {
        let (fake, credentials) = (fake.clone(), password.map(credentials));
        async move { fake.pull("r.test/web:1", credentials.as_ref(), mpsc::channel(8).0).await }
    };
    assert_eq!(pull(None).await.unwrap_err().code(), "SW-IMAGE-AUTH");
    assert_eq!(pull(Some("wrong")).await.unwrap_err().code(), "SW-IMAGE-AUTH");
    assert_eq!(pull(Some("right")).await.unwrap().id, id);
}
