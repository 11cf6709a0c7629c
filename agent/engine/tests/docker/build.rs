use std::{io, time::Duration};

use bollard::query_parameters::ListContainersOptionsBuilder;
use futures::{StreamExt as _, stream};
use slipway_engine::{
    Engine as _, Error,
    build::{BuildEvent, BuildLimits, Builder},
};
use tokio::{sync::mpsc, time::Instant};

use crate::lab::{Lab, context, eventually};

fn says(events: &[BuildEvent], text: &str) -> bool {
    events.iter().any(|it| matches!(it, BuildEvent::Line(line) if line.contains(text)))
}

/// How many containers the builder has left of builds on the lab's image.
async fn left(lab: &Lab) -> usize {
    let docker = bollard::Docker::connect_with_unix_defaults().unwrap();
    let filters = std::collections::HashMap::from([("ancestor", vec![lab.base.as_str()])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    docker.list_containers(Some(options)).await.unwrap().len()
}

#[tokio::test]
async fn a_build_makes_an_image_that_says_how_it_runs() {
    let lab = Lab::open("build-ok").await;
    let files = lab.dockerfile(
        "ENV A=b=c\nEXPOSE 8080 53/udp 80\nUSER 1000\nWORKDIR /srv\nVOLUME /data\n\
         HEALTHCHECK CMD true\nRUN echo hello there\nENTRYPOINT [\"/bin/sh\"]\nCMD [\"-c\", \"true\"]",
    );
    let request = lab.request("ok");
    let (id, events) = lab.build(&request, &files).await;
    let image = lab.docker.image(&request.tag).await.unwrap();
    assert_eq!(image.id, id.unwrap());
    assert!(events.contains(&BuildEvent::Step { current: 8, total: 11 }), "{events:?}");
    assert!(says(&events, "hello there"));
    assert_eq!(image.labels, lab.labels());
    assert_eq!(image.tags, [request.tag]);
    let config = image.config;
    assert_eq!(config.tcp_ports, [80, 8080]);
    assert_eq!((config.user.as_str(), config.workdir.as_str()), ("1000", "/srv"));
    assert_eq!(
        (config.entrypoint, config.command),
        (vec!["/bin/sh".into()], vec!["-c".into(), "true".into()])
    );
    assert!(config.env.contains(&("A".to_owned(), "b=c".to_owned())));
    assert_eq!(config.volumes, ["/data"]);
    assert!(config.healthcheck);
    assert_eq!(left(&lab).await, 0);
}

#[tokio::test]
async fn a_failing_step_tells_its_exit_code_and_leaves_nothing() {
    let lab = Lab::open("build-fail").await;
    let request = lab.request("fail");
    let (outcome, events) = lab.build(&request, &lab.dockerfile("RUN echo oh; exit 3")).await;
    match outcome {
        Err(Error::Build { exit_code: Some(3), message }) => assert!(message.contains("exit 3")),
        other => panic!("{other:?}"),
    }
    assert!(says(&events, "oh"));
    assert!(lab.docker.image(&request.tag).await.unwrap_err().is_missing());
    assert_eq!(left(&lab).await, 0);
    let (outcome, _) =
        lab.build(&request, &[("Dockerfile", b"FROM scratch\nFLY away\n".to_vec())]).await;
    assert_eq!(outcome.unwrap_err().code(), "SW-BUILD-FAILED");
    let (outcome, _) = lab.build(&request, &[("other", Vec::new())]).await;
    assert!(outcome.is_err());
}

#[tokio::test]
async fn a_dropped_build_stops() {
    let lab = Lab::open("build-drop").await;
    let request = lab.request("drop");
    let files = lab.dockerfile("RUN echo begun; sleep 300");
    let (events, mut heard) = mpsc::channel(16);
    let mut build = Box::pin(lab.docker.build(&request, context(&files), events));
    let begun = async {
        while let Some(event) = heard.recv().await {
            if event == BuildEvent::Line("begun".to_owned()) {
                return;
            }
        }
        panic!("ended early");
    };
    tokio::select! {
        out = &mut build => panic!("{out:?}"),
        () = begun => (),
    }
    assert_eq!(left(&lab).await, 1);
    drop(build);
    eventually("the builder's container is gone", async || left(&lab).await == 0).await;
    assert!(lab.docker.image(&request.tag).await.unwrap_err().is_missing());
}

#[tokio::test]
async fn a_build_keeps_to_its_limits() {
    let lab = Lab::open("build-limits").await;
    let build = async |limits, step: &str| {
        let mut request = lab.request("limits");
        request.limits = limits;
        let start = Instant::now();
        let (outcome, _) = lab.build(&request, &lab.dockerfile(step)).await;
        (outcome.unwrap_err(), start.elapsed())
    };
    let short = Duration::from_secs(2);
    let limits = BuildLimits { idle: short, ..BuildLimits::default() };
    let (error, took) = build(limits, "RUN sleep 300").await;
    assert_eq!(error.code(), "SW-BUILD-IDLE");
    assert!(took < Duration::from_secs(20), "{took:?}");
    let limits = BuildLimits { time: short, ..BuildLimits::default() };
    let (error, _) = build(limits, "RUN while true; do echo alive; sleep 0.1; done").await;
    assert_eq!(error.code(), "SW-BUILD-TIMEOUT");
    let limits = BuildLimits { memory_bytes: 16 << 20, ..BuildLimits::default() };
    let (error, _) = build(limits, "RUN tail /dev/zero").await;
    assert!(matches!(error, Error::Build { exit_code: Some(137), .. }), "{error:?}");
    eventually("the builder's containers are gone", async || left(&lab).await == 0).await;
}

#[tokio::test]
async fn a_context_that_breaks_fails_the_build_with_its_own_error() {
    let lab = Lab::open("build-context").await;
    let pieces = [Ok(bytes::Bytes::from(vec![0; 512])), Err(io::Error::other("cut short"))];
    let request = lab.request("context");
    let (events, _) = mpsc::channel(1);
    let outcome = lab.docker.build(&request, stream::iter(pieces).boxed(), events).await;
    match outcome {
        Err(Error::Context { source }) => assert_eq!(source.to_string(), "cut short"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn buildkit_builds_what_needs_it() {
    let lab = Lab::open("build-kit").await;
    let mut request = lab.request("kit");
    request.builder = Builder::BuildKit;
    let base = &lab.base;
    let text = format!(
        "FROM {base} AS first\nRUN echo hi > /x\nFROM {base}\n\
         RUN --mount=type=bind,from=first,target=/m cat /m/x > /y && echo copied\nCMD [\"true\"]\n"
    );
    let (id, events) = lab.build(&request, &[("Dockerfile", text.into())]).await;
    let image = lab.docker.image(&request.tag).await.unwrap();
    assert_eq!(image.id, id.unwrap());
    assert_eq!(image.labels, lab.labels());
    assert!(says(&events, "copied"), "{events:?}");
    let text = format!("FROM {base}\nRUN echo doomed; exit 42\n");
    let (outcome, _) = lab.build(&request, &[("Dockerfile", text.into())]).await;
    assert!(matches!(outcome, Err(Error::Build { exit_code: Some(42), .. })), "{outcome:?}");
}
