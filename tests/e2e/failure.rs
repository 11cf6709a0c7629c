//! Deployments that fail leave everything as it was, and say why.

use std::time::Duration;

use slipway_tests::{docker, lab::Lab, sample};

/// A lab with version 1 of an app in it, and how to deploy it again.
async fn with_app() -> (Lab, Vec<String>) {
    let lab = Lab::start().await.unwrap();
    let app = lab.scratch().join("web");
    sample::hello_of_version(&app, "1").unwrap();
    let words = ["deploy", app.to_str().unwrap(), "-n", "web", "--health-path", "/up"];
    lab.slipway(&words).await.unwrap().done().unwrap();
    sample::set_version(&app, "2").unwrap();
    (lab, words.iter().map(|it| (*it).to_owned()).collect())
}

fn and<'a>(words: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    words.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

async fn serves_one(lab: &Lab) {
    let place = lab.place("web").await.unwrap();
    assert_eq!(lab.get(&place, "/version").await.unwrap(), (200, "1\n".to_owned()));
    let ps = lab.slipway(&["ps", "web", "--all", "--json"]).await.unwrap();
    let apps: serde_json::Value = serde_json::from_str(&ps.stdout).unwrap();
    let containers = apps[0]["servers"][0]["app"]["containers"].as_array().unwrap();
    let running: Vec<_> = containers.iter().filter(|it| it["state"] == "running").collect();
    assert_eq!(running.len(), 1, "{ps}");
    assert_eq!(running[0]["release"], 1, "{ps}");
}

#[tokio::test]
async fn an_app_that_never_gets_healthy_does_not_go_live() {
    let (lab, deploy) = with_app().await;
    let sick = ["-e", "MISBEHAVE=sick", "--timeout", "4s"];
    let said = lab.slipway(&and(&deploy, &sick)).await.unwrap();
    said.refused("SW-HEALTH").unwrap();
    assert!(said.stderr.contains("hello 2 starts on port"), "{said}");
    serves_one(&lab).await;
    let crash = ["-e", "MISBEHAVE=crash"];
    let said = lab.slipway(&and(&deploy, &crash)).await.unwrap();
    said.refused("SW-HEALTH-EXITED").unwrap();
    assert!(said.stderr.contains("the configuration is missing its heart"), "{said}");
    serves_one(&lab).await;
}

#[tokio::test]
async fn a_build_that_fails_shows_its_output_and_leaves_nothing() {
    let (lab, deploy) = with_app().await;
    let app = lab.scratch().join("web");
    std::fs::write(app.join("Dockerfile"), "FROM busybox:latest\nRUN echo sinking; exit 7\n")
        .unwrap();
    let said = lab.slipway(&and(&deploy, &[])).await.unwrap();
    said.refused("SW-BUILD").unwrap();
    assert!(said.stderr.contains("sinking"), "{said}");
    serves_one(&lab).await;
}

#[tokio::test]
async fn a_deployment_can_be_canceled() {
    let (lab, deploy) = with_app().await;
    let slow = ["-e", "MISBEHAVE=sick", "--timeout", "10m", "--detach"];
    let said = lab.slipway(&and(&deploy, &slow)).await.unwrap();
    said.done().unwrap();
    let id = said.stdout.trim().to_owned();
    lab.slipway(&["deployments", "cancel", &id]).await.unwrap().done().unwrap();
    let events = lab.slipway(&["events", &id, "-f", "--json"]).await.unwrap();
    assert_eq!(events.code, 1, "{events}");
    let last = events.objects().unwrap().pop().unwrap();
    assert_eq!((&last["type"], &last["success"]), (&"done".into(), &false.into()), "{events}");
    serves_one(&lab).await;
}

#[tokio::test]
async fn two_deployments_of_one_app_do_not_mix_and_those_of_two_apps_both_run() {
    let (lab, deploy) = with_app().await;
    let other = sample::site();
    let other = ["deploy", other.to_str().unwrap(), "-n", "site", "--health-path", "/up"];
    let slow = and(&deploy, &["-e", "MISBEHAVE=slow-start"]);
    let again = and(&deploy, &[]);
    let (first, second, third) =
        tokio::join!(lab.slipway(&slow), lab.slipway(&again), lab.slipway(&other));
    let (first, second, third) = (first.unwrap(), second.unwrap(), third.unwrap());
    third.done().unwrap();
    // Each went through in its turn, or was refused by name.
    for said in [&first, &second] {
        assert!(said.code == 0 || said.stderr.contains("SW-APP-BUSY"), "{said}");
    }
    assert!(first.code == 0 || second.code == 0, "{first}{second}");
    let place = lab.place("web").await.unwrap();
    assert_eq!(lab.get(&place, "/version").await.unwrap().1, "2\n");
}

#[tokio::test]
async fn nothing_is_left_in_docker_when_a_lab_goes() {
    let lab = Lab::start().await.unwrap();
    let site = sample::site();
    lab.deploy(&[site.to_str().unwrap(), "-n", "fleeting"]).await.unwrap();
    let docker = docker::connect().await.unwrap();
    let label = "dev.slipway.app=fleeting";
    assert_eq!(docker::containers(&docker, label).await.unwrap().len(), 1);
    drop(lab);
    tokio::time::timeout(Duration::from_secs(30), async {
        while !docker::containers(&docker, label).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
}
