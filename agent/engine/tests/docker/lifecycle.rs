use std::time::Duration;

use futures::StreamExt as _;
use slipway_engine::{
    Engine as _, Error,
    container::{ContainerSpec, Health, Restart, Status},
    event::{Event, Events, What},
    network::Attachment,
};
use slipway_host::Secret;
use tokio::time::timeout;

use crate::lab::{Lab, eventually};

/// The next event of this container that `wanted` means.
async fn event(events: &mut Events, name: &str, wanted: impl Fn(&What) -> bool) -> Event {
    let search = async {
        loop {
            let event = events.next().await.unwrap().unwrap();
            if event.name == name && wanted(&event.what) {
                return event;
            }
        }
    };
    timeout(Duration::from_secs(20), search).await.unwrap()
}

#[tokio::test]
async fn a_container_keeps_its_address_from_creation_to_removal() {
    let lab = Lab::open("life").await;
    let mut spec =
        lab.spec("web", "trap 'exit 7' TERM; echo up $SECRET; while true; do sleep 0.1; done");
    spec.env.insert("SECRET".to_owned(), Secret::new("hush".to_owned()));
    spec.restart = Restart::UnlessStopped;
    let id = lab.docker.create(&spec).await.unwrap();
    assert_eq!(lab.docker.create(&spec).await.unwrap(), id);
    let created = lab.docker.inspect(&spec.name).await.unwrap();
    assert_eq!((created.status, created.exit_code), (Status::Created, None));
    assert_eq!(created.address, Some(spec.network.address));
    assert_eq!((created.started_at, created.pid), (None, None));
    for _ in 0..2 {
        lab.docker.start(&spec.name).await.unwrap();
        lab.docker.start(&id).await.unwrap();
        let running = lab.docker.inspect(&id).await.unwrap();
        assert!(running.running() && running.pid.is_some() && running.started_at.is_some());
        assert_eq!((running.exit_code, running.image.clone()), (None, lab.image.clone()));
        assert_eq!(running.address, Some(spec.network.address));
        eventually("it has spoken", async || {
            lab.docker.last_lines(&id, 1).await.unwrap().iter().any(|it| it.text() == "up hush")
        })
        .await;
        lab.docker.stop(&spec.name, Duration::from_secs(10)).await.unwrap();
        lab.docker.stop(&spec.name, Duration::from_secs(10)).await.unwrap();
        let stopped = lab.docker.inspect(&id).await.unwrap();
        assert_eq!((stopped.status, stopped.exit_code), (Status::Exited, Some(7)));
        assert_eq!(stopped.address, Some(spec.network.address));
        assert!(stopped.finished_at > stopped.started_at);
    }
    let listed = lab.docker.containers(&lab.ours()).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].name, spec.name);
    assert_eq!(listed[0].address, Some(spec.network.address));
    let other = ContainerSpec { stop_grace: Duration::from_secs(9), ..spec.clone() };
    assert!(matches!(lab.docker.create(&other).await, Err(Error::Taken { .. })));
    lab.docker.remove(&spec.name).await.unwrap();
    assert!(lab.docker.inspect(&spec.name).await.unwrap_err().is_missing());
}

#[tokio::test]
async fn removing_and_stopping_what_is_not_there_is_success() {
    let lab = Lab::open("absent").await;
    let name = lab.name("nobody");
    lab.docker.stop(&name, Duration::ZERO).await.unwrap();
    lab.docker.kill(&name).await.unwrap();
    lab.docker.remove(&name).await.unwrap();
    lab.docker.remove_network(&name).await.unwrap();
    lab.docker.remove_volume(&name).await.unwrap();
    lab.docker.remove_image(&name).await.unwrap();
    assert!(lab.docker.start(&name).await.unwrap_err().is_missing());
    assert!(lab.docker.wait(&name).await.unwrap_err().is_missing());
    assert!(lab.docker.last_lines(&name, 1).await.unwrap_err().is_missing());
    let spec = lab.spec("web", "true");
    let unknown = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let missing = lab.docker.create(&ContainerSpec { image: unknown, ..spec.clone() }).await;
    assert_eq!(missing.unwrap_err().code(), "SW-IMAGE-MISSING");
    // Two removals at once, of one that runs.
    let name = lab.run(&lab.spec("twice", "sleep 300")).await;
    let (first, second) = tokio::join!(lab.docker.remove(&name), lab.docker.remove(&name));
    first.unwrap();
    second.unwrap();
    lab.docker.kill(&lab.run(&lab.spec("done", "true")).await).await.unwrap();
}

#[tokio::test]
async fn want_of_memory_is_told_apart_from_a_crash() {
    let lab = Lab::open("oom").await;
    let mut events = lab.docker.events(None).await.unwrap();
    let mut greedy = lab.spec("greedy", "tail /dev/zero");
    greedy.limits.memory_bytes = 16 << 20;
    let crash = lab.spec("crash", "echo so sorry >&2; exit 3");
    let (greedy, crash) = (lab.run(&greedy).await, lab.run(&crash).await);
    assert_eq!(lab.docker.wait(&greedy).await.unwrap(), 137);
    assert_eq!(lab.docker.wait(&crash).await.unwrap(), 3);
    assert!(lab.docker.inspect(&greedy).await.unwrap().oom_killed);
    assert!(!lab.docker.inspect(&crash).await.unwrap().oom_killed);
    let last = lab.docker.last_lines(&crash, 5).await.unwrap();
    assert_eq!((last.len(), last[0].stderr, last[0].text().as_str()), (1, true, "so sorry"));
    let died = event(&mut events, &crash, |it| matches!(it, What::Died { .. })).await;
    assert_eq!(died.what, What::Died { exit_code: 3 });
    assert_eq!(died.labels.get("dev.slipway.app"), Some(&lab.key));
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let lab = Lab::open("start").await;
    let mut spec = lab.spec("nope", "");
    spec.command = vec!["/no/such/program".to_owned()];
    lab.docker.create(&spec).await.unwrap();
    match lab.docker.start(&spec.name).await {
        Err(Error::Start { message, .. }) => assert!(message.contains("/no/such/program")),
        other => panic!("{other:?}"),
    }
    // Two containers cannot have one address.
    let first = lab.spec("first", "sleep 300");
    let second = ContainerSpec {
        network: Attachment { address: first.network.address, ..first.network.clone() },
        ..lab.spec("second", "sleep 300")
    };
    lab.run(&first).await;
    lab.docker.create(&second).await.unwrap();
    let clash = lab.docker.start(&second.name).await;
    assert!(matches!(clash, Err(Error::AddressTaken { .. })), "{clash:?}");
}

#[tokio::test]
async fn a_container_has_the_few_rights_it_needs_and_no_more() {
    let lab = Lab::open("rights").await;
    let script = "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; ulimit -c; \
        touch /f && chown 1000:1000 /f && chmod 600 /f && echo owner ok; \
        mknod /dev/x b 1 1 2>/dev/null || echo no device; \
        mount -t tmpfs x /mnt 2>/dev/null || echo no mount; \
        ls /proc | grep -c '^[0-9]'";
    let name = lab.run(&lab.spec("rights", script)).await;
    assert_eq!(lab.docker.wait(&name).await.unwrap(), 0);
    let lines = lab.docker.last_lines(&name, 20).await.unwrap();
    let text: Vec<_> = lines.iter().map(|it| it.text().replace('\t', " ")).collect();
    for wanted in [
        "CapEff: 00000000000004eb",
        "CapBnd: 00000000000004eb",
        "NoNewPrivs: 1",
        "0",
        "owner ok",
        "no device",
        "no mount",
    ] {
        assert!(text.iter().any(|it| it == wanted), "{wanted}: {text:?}");
    }
    // It sees its own processes only.
    assert!(text.last().unwrap().parse::<u32>().unwrap() < 10, "{text:?}");
}

#[tokio::test]
async fn an_images_own_health_check_is_seen_and_told() {
    let lab = Lab::open("health").await;
    let files = lab.dockerfile("HEALTHCHECK --interval=1s --retries=1 CMD test ! -e /sick");
    let image = lab.build(&lab.request("health"), &files).await.0.unwrap();
    let mut events = lab.docker.events(None).await.unwrap();
    let spec = lab.spec("health", "sleep 4; touch /sick; sleep 300");
    let name = lab.run(&ContainerSpec { image, ..spec }).await;
    assert!(lab.docker.inspect(&name).await.unwrap().health.is_some());
    event(&mut events, &name, |it| *it == What::Started).await;
    event(&mut events, &name, |it| *it == What::Health(Health::Healthy)).await;
    event(&mut events, &name, |it| *it == What::Health(Health::Unhealthy)).await;
    assert_eq!(lab.docker.inspect(&name).await.unwrap().health, Some(Health::Unhealthy));
}

#[tokio::test]
async fn a_restart_policy_can_be_changed_while_it_runs() {
    let lab = Lab::open("policy").await;
    let name = lab.run(&lab.spec("policy", "read line < /never || sleep 1; exit 1")).await;
    lab.docker.set_restart(&name, Restart::OnFailure(2)).await.unwrap();
    eventually("it was started again twice and then left", async || {
        let it = lab.docker.inspect(&name).await.unwrap();
        it.restart_count == 2 && it.status == Status::Exited
    })
    .await;
}
