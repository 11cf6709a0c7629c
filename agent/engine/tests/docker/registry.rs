use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use bollard::{auth::DockerCredentials, query_parameters::PushImageOptionsBuilder};
use futures::TryStreamExt as _;
use slipway_engine::{
    Engine as _, Error, Result,
    image::{Credentials, LayerPhase, LayerProgress, PulledImage},
};
use slipway_host::{Secret, exec::Program};
use tokio::{process::Child, sync::mpsc};

use crate::lab::{Lab, docker, eventually};

const USER: &str = "builder";
const PASSWORD: &str = "correct horse";

/// A registry on a loopback port that wants a password. It ends with its owner.
struct Registry {
    _process: Child,
    host: String,
    _dir: tempfile::TempDir,
}

impl Registry {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let users = Program::new("htpasswd").args(["-Bbn", USER, PASSWORD]);
        let users = users.run(Duration::from_secs(10)).await.unwrap();
        let file = dir.path().join("htpasswd");
        std::fs::write(&file, users.stdout).unwrap();
        let port = free_port();
        let host = format!("127.0.0.1:{port}");
        let config = config(dir.path(), &file, &host);
        let path = dir.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let program = Program::new("docker-registry").arg("serve").arg(path);
        let process = program.spawn(Stdio::null()).unwrap();
        let registry = Self { _process: process, host: host.clone(), _dir: dir };
        let connect = async || tokio::net::TcpStream::connect(&host).await.is_ok();
        eventually("the registry listens", connect).await;
        registry
    }
}

fn config(dir: &Path, users: &Path, host: &str) -> String {
    format!(
        "version: 0.1\nlog: {{level: error}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
         http: {{addr: '{host}'}}\n\
         auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
        dir.display(),
        users.display()
    )
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

async fn pull(
    reference: &str,
    password: Option<&str>,
) -> (Result<PulledImage>, Vec<LayerProgress>) {
    let credentials = password
        .map(|it| Credentials { username: USER.to_owned(), password: Secret::new(it.to_owned()) });
    let (events, mut heard) = mpsc::channel(16);
    let docker = docker();
    let pull = docker.pull(reference, credentials.as_ref(), events);
    let listen = async {
        let mut all = Vec::new();
        while let Some(event) = heard.recv().await {
            all.push(event);
        }
        all
    };
    tokio::join!(pull, listen)
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_worth_another_try() {
    let reference = format!("127.0.0.1:{}/web:1", free_port());
    let error = pull(&reference, None).await.0.unwrap_err();
    assert_eq!(error.code(), "SW-IMAGE-REGISTRY");
    assert_eq!(error.retry(), slipway_engine::Retry::Later);
    assert_eq!(pull("UPPER/x", None).await.0.unwrap_err().code(), "SW-IMAGE");
}

#[tokio::test]
async fn a_private_image_is_pulled_with_its_password_layer_by_layer() {
    let lab = Lab::open("registry").await;
    let registry = Registry::open().await;
    let reference = format!("{}/team/web:7", registry.host);
    let files = lab.dockerfile("RUN head -c 3000000 /dev/urandom > /noise");
    let id = lab.build(&lab.request("web"), &files).await.0.unwrap();
    lab.docker.tag(&id, &reference).await.unwrap();
    push(&registry.host).await;
    for name in [reference.as_str(), id.as_str()] {
        lab.docker.remove_image(name).await.unwrap();
    }
    for wrong in [None, Some("wrong")] {
        let error = pull(&reference, wrong).await.0.unwrap_err();
        assert!(matches!(error, Error::RegistryAuth { .. }), "{error:?}");
    }
    let absent = format!("{}/team/web:8", registry.host);
    let error = pull(&absent, Some(PASSWORD)).await.0.unwrap_err();
    assert!(matches!(error, Error::NotAtRegistry { .. }), "{error:?}");
    let (pulled, progress) = pull(&reference, Some(PASSWORD)).await;
    let pulled = pulled.unwrap();
    assert_eq!(pulled.id, id);
    let name = format!("{}/team/web@sha256:", registry.host);
    assert!(pulled.digest.starts_with(&name), "{pulled:?}");
    assert!(progress.iter().any(|it| it.phase == LayerPhase::Complete), "{progress:?}");
    let bytes = |it: &LayerProgress| it.phase == LayerPhase::Extracting && 0 < it.current_bytes;
    assert!(progress.iter().any(bytes), "{progress:?}");
    // By digest it is the same.
    lab.docker.remove_image(&reference).await.unwrap();
    let again = pull(&pulled.digest, Some(PASSWORD)).await.0.unwrap();
    assert_eq!(again, pulled);
    lab.docker.remove_image(&pulled.digest).await.unwrap();
}

async fn push(host: &str) {
    let docker = bollard::Docker::connect_with_unix_defaults().unwrap();
    let credentials = DockerCredentials {
        username: Some(USER.to_owned()),
        password: Some(PASSWORD.to_owned()),
        ..Default::default()
    };
    let options = PushImageOptionsBuilder::default().tag("7").build();
    let name = format!("{host}/team/web");
    let said: Vec<_> =
        docker.push_image(&name, Some(options), Some(credentials)).try_collect().await.unwrap();
    assert!(said.iter().all(|it| it.error_detail.is_none()), "{said:?}");
}
