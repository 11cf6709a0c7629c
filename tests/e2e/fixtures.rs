//! The fixtures themselves do what the tests take for granted.

use std::time::Duration;

use slipway_host::exec::Program;
use slipway_tests::{base, docker, git::GitServer, registry, registry::Registry, sample};

#[tokio::test]
async fn the_git_server_serves_clones_and_keeps_strangers_out() {
    let dir = tempfile::tempdir().unwrap();
    let server = GitServer::start(dir.path().join("git"), Some("s3cret".to_owned())).await.unwrap();
    let repository = server.repository("hello").await.unwrap();
    let first = repository.commit(&sample::hello(), "main", "first").await.unwrap();
    repository.tag("v1", &first).await.unwrap();
    let clone = |url: &str| {
        Program::new("git")
            .args(["-c", "credential.helper=", "clone", "--quiet", "--branch", "v1", url])
            .arg(dir.path().join("clone"))
            .var("GIT_TERMINAL_PROMPT", "0")
    };
    let limit = Duration::from_secs(30);
    assert!(!clone(&server.url("hello")).run(limit).await.unwrap().ok());
    let url = server.url("hello").replace("http://", "http://x:s3cret@");
    let output = clone(&url).run(limit).await.unwrap();
    assert!(output.ok(), "{}", output.stderr);
    assert!(dir.path().join("clone/app.py").exists());
}

#[tokio::test]
async fn the_registry_takes_an_image_from_those_who_log_in() {
    let docker = docker::connect().await.unwrap();
    base::ensure(&docker, &base::cache()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start(dir.path(), true).await.unwrap();
    let image = registry.image("base/busybox:1");
    assert!(docker::push(&docker, base::BUSYBOX, &image, None).await.is_err());
    let login = Some((registry::USER, registry::PASSWORD));
    docker::push(&docker, base::BUSYBOX, &image, login).await.unwrap();
    docker::remove_image(&docker, &image).await;
}
