//! The whole control plane in this process, over its real listeners.

use std::{collections::HashMap, os::unix::fs::PermissionsExt as _, path::Path};

use slipway_proto::{
    control::v1::{
        self as wire, server_service_client::ServerServiceClient,
        user_service_client::UserServiceClient,
    },
    problem::Problem,
};
use slipway_transport::{CONTROL_NAME, Channel};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::config::{Flags, Layer, load_with};

fn config(dir: &Path) -> Config {
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let layer = Layer {
        data_dir: Some(dir.join("state")),
        http: any,
        grpc: any,
        bootstrap_token_file: Some(dir.join("token")),
        ..Layer::default()
    };
    // A file that names nothing, so that the machine's own is not read.
    let file = dir.join("control.toml");
    std::fs::write(&file, "").unwrap();
    let none = HashMap::<String, String>::new();
    load_with(Flags { config: Some(file), layer }, |name| none.get(name).cloned()).unwrap()
}

async fn start_in(dir: &Path) -> Running {
    start(config(dir), CancellationToken::new()).await.unwrap()
}

fn channel(running: &Running, token: &str) -> Channel {
    let pin = slipway_proto::token::ApiToken::parse(token).unwrap().pin().clone();
    let tls = ClientTls::pinned(pin);
    let address = running.grpc.to_string();
    Channel::tls(&address, CONTROL_NAME, tls).unwrap()
}

async fn http(running: &Running, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(running.http).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn it_starts_answers_stops_and_starts_again_as_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    let running = start_in(dir.path()).await;
    let token = std::fs::read_to_string(dir.path().join("token")).unwrap().trim().to_owned();
    let mode = std::fs::metadata(dir.path().join("token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    assert!(http(&running, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(http(&running, "/readyz").await.starts_with("HTTP/1.1 200"));
    let open = channel(&running, &token).with_token(&token).unwrap();
    let me = UserServiceClient::new(open.clone()).get_me(wire::GetMeRequest {}).await.unwrap();
    let user = me.into_inner().user.unwrap();
    assert!(user.admin && user.name == "admin");
    assert!(http(&running, "/metrics").await.contains("slipway_rpc_total"));

    let taken = start(config(dir.path()), CancellationToken::new()).await.unwrap_err();
    assert!(matches!(taken, Error::Taken { .. }), "{taken}");

    let anyone = channel(&running, &token);
    let refused = UserServiceClient::new(anyone).get_me(wire::GetMeRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);

    running.stop().await;
    let running = start_in(dir.path()).await;
    let open = channel(&running, &token).with_token(&token).unwrap();
    let again = UserServiceClient::new(open).get_me(wire::GetMeRequest {}).await.unwrap();
    assert_eq!(again.into_inner().user.unwrap().user_id, user.user_id);
    running.stop().await;
}

#[tokio::test]
async fn reflection_and_health_answer_who_has_a_token_and_nobody_else() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    let dir = tempfile::tempdir().unwrap();
    let running = start_in(dir.path()).await;
    let token = std::fs::read_to_string(dir.path().join("token")).unwrap().trim().to_owned();
    let ask = |channel: Channel| async move {
        HealthClient::new(channel).check(HealthCheckRequest::default()).await
    };
    let open = channel(&running, &token).with_token(&token).unwrap();
    for _ in 0..50 {
        if ask(open.clone()).await.unwrap().into_inner().status == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ask(open).await.unwrap().into_inner().status, 1);
    assert!(ask(channel(&running, &token)).await.is_err());
    running.stop().await;
}

#[tokio::test]
async fn the_agents_key_follows_the_digitalocean_token_of_the_first_user() {
    let dir = tempfile::tempdir().unwrap();
    let keys = async |token: Option<&str>| {
        let mut config = config(dir.path());
        config.do_token = token.map(|it| Secret::new(it.to_owned()));
        let stop = CancellationToken::new();
        let home = Home::take(&config.data_dir, Duration::ZERO).await.unwrap();
        let parts = assemble(&config, &home.replica, &TaskTracker::new(), &stop).await.unwrap();
        let users = parts.store.system().users().await.unwrap();
        let user = users.first().unwrap().id.to_string();
        let key = parts.keys.key(&user).await.unwrap().expose().to_owned();
        parts.store.close().await;
        (user, key)
    };
    let (_, own) = keys(None).await;
    assert_eq!(keys(None).await.1, own, "without a token it is this installation's own");
    let (user, key) = keys(Some("dop_v1_one")).await;
    assert_eq!(key, slipway_proto::key::NodeKey::derive(b"dop_v1_one", &user).expose());
    assert_eq!(keys(None).await.1, key, "it was sealed");
    assert_ne!(keys(Some("dop_v1_two")).await.1, key, "and is replaced");
}

#[tokio::test]
async fn a_problem_keeps_its_code_over_the_wire() {
    let dir = tempfile::tempdir().unwrap();
    let running = start_in(dir.path()).await;
    let token = std::fs::read_to_string(dir.path().join("token")).unwrap().trim().to_owned();
    let open = channel(&running, &token).with_token(&token).unwrap();
    let request = wire::GetServerRequest { server: "nowhere".to_owned() };
    let status = ServerServiceClient::new(open).get_server(request).await.unwrap_err();
    assert_eq!(Problem::from_status(&status).code, "SW-SERVER-MISSING");
    running.stop().await;
}
