//! Deployments that nothing disturbs, and those that fail by themselves.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use slipway_engine::fake::{Behavior, Call};
use slipway_proto::problem::Problem;

use super::{super::event::Phase, *};

#[tokio::test]
async fn a_release_follows_another_and_the_old_one_is_kept_stopped() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    let events = agent.deploy(start(1)).await;
    well_formed(&events);
    assert_eq!(*last(&events), Event::Committed { cut_connections: 0 });
    machine.traffic.hold(1, 3);
    let events = agent.deploy(start(2)).await;
    well_formed(&events);
    assert_eq!(*last(&events), Event::Committed { cut_connections: 3 });
    assert_eq!(machine.running(), names(2));
    assert_eq!(machine.containers(), [names(1), names(2)].concat());
    assert_eq!(machine.traffic.route("web").unwrap().0, 2);
    agent.deploy(start(3)).await;
    assert_eq!(machine.containers(), [names(2), names(3)].concat());
    let record = agent.world.apps.get(&key()).unwrap();
    assert_eq!(record.kept.iter().map(|it| it.release).collect::<Vec<_>>(), [3, 2, 1]);
    agent.kill().await;
}

#[tokio::test]
async fn phases_come_in_order_and_each_one_ends() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    let events = agent.deploy(start(2)).await;
    let steps: Vec<String> = events
        .iter()
        .filter_map(|it| match &it.event {
            Event::Step { phase, state, .. } => Some(format!("{phase:?} {state:?}")),
            Event::Prepared { .. } => Some("prepared".to_owned()),
            Event::Activated { .. } => Some("activated".to_owned()),
            Event::Committed { .. } => Some("committed".to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(
        steps,
        [
            "Source Started",
            "Source Done",
            "Start Started",
            "Start Done",
            "Health Started",
            "Health Done",
            "prepared",
            "Switch Started",
            "Switch Done",
            "activated",
            "Drain Started",
            "Drain Done",
            "Commit Started",
            "Commit Done",
            "committed",
        ]
    );
}

#[tokio::test]
async fn nothing_moves_before_it_is_asked_for() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    let (mut events, handle) = agent.attach(start(2)).await;
    until(&mut events, is_prepared).await;
    assert_eq!(machine.traffic.route("web").unwrap().0, 1);
    assert_eq!(machine.running(), [names(1), names(2)].concat());
    handle.activate().unwrap();
    handle.activate().unwrap();
    until(&mut events, is_activated).await;
    assert_eq!(machine.traffic.route("web").unwrap().0, 2);
    assert_eq!(machine.running(), [names(1), names(2)].concat());
    handle.commit().unwrap();
    handle.commit().unwrap();
    to_end(&mut events).await;
    assert_eq!(machine.running(), names(2));
    handle.abort("too late").unwrap();
    assert_eq!(machine.running(), names(2));
}

#[tokio::test]
async fn an_abort_puts_everything_back_from_each_state() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    let images = machine.docker.statuses();
    for (release, prepared, activated) in [(2, false, false), (3, true, false), (4, true, true)] {
        let (mut events, handle) = agent.attach(start(release)).await;
        if prepared {
            until(&mut events, is_prepared).await;
        }
        if activated {
            handle.activate().unwrap();
            until(&mut events, is_activated).await;
        }
        handle.abort("changed my mind").unwrap();
        let rest = to_end(&mut events).await;
        assert_eq!(*last(&rest), Event::Undone);
        assert!(!rest.iter().any(|it| matches!(it.event, Event::Failed(_))));
        assert_eq!(machine.docker.statuses(), images);
        assert_eq!(machine.traffic.route("web").unwrap().0, 1);
        assert_eq!(agent.world.apps.specs(&key()).await.unwrap(), [1]);
    }
    agent.deploy(start(5)).await;
}

#[tokio::test]
async fn of_a_first_deployment_that_fails_nothing_is_left() {
    let machine = Machine::new();
    machine.docker.publish(
        "example.com/web:1",
        config(),
        Behavior::crashes(3, "no database"),
        None,
    );
    let agent = machine.agent().await;
    let events = agent.deploy(start(1)).await;
    well_formed(&events);
    let failure = failure(&events);
    assert_eq!(failure.code, "SW-HEALTH-EXITED");
    assert_eq!((failure.exit_code, failure.phase), (Some(3), Phase::Health));
    assert_eq!(failure.last_lines, ["no database"]);
    assert_eq!(*last(&events), Event::Undone);
    assert!(machine.containers().is_empty());
    assert!(agent.world.apps.all().is_empty());
    assert!(machine.traffic.route("web").is_none());
    assert!(!machine.dir.path().join("apps/web").exists());
}

#[tokio::test]
async fn an_app_that_never_answers_is_given_up_and_the_old_one_serves() {
    let machine = Machine::new();
    machine.docker.publish("example.com/web:2", config(), Behavior::answers(503), None);
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    let events = agent.deploy(start(2)).await;
    let failure = failure(&events);
    assert_eq!(failure.code, "SW-HEALTH-TIMEOUT");
    assert_eq!(
        failure.message,
        "`slipway-web-web-2-1` was not healthy after 2s: `/up` answered 503"
    );
    assert_eq!(machine.running(), names(1));
    assert_eq!(machine.containers(), names(1));
}

#[tokio::test]
async fn a_release_that_is_not_seen_through_nginx_is_taken_back() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    machine.traffic.refuse(2);
    let events = agent.deploy(start(2)).await;
    assert_eq!(failure(&events).code, "SW-PROXY-PROBE");
    assert_eq!(machine.traffic.route("web").unwrap().0, 1);
    assert_eq!(machine.containers(), names(1));
}

#[tokio::test]
async fn a_rollback_is_a_deployment_of_a_kept_image() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    agent.deploy(start(2)).await;
    let image_id = agent.world.apps.get(&key()).unwrap().kept[1].image_id.clone();
    let back = |release, image_id: &str| {
        let source = wire::ReleaseSource { image_id: image_id.to_owned() };
        let kind = Some(wire::source::Kind::Release(source));
        start_with(release, |it| it.source = Some(wire::Source { kind }))
    };
    let events = agent.deploy(back(3, &image_id)).await;
    assert_eq!(*last(&events), Event::Committed { cut_connections: 0 });
    assert_eq!(agent.world.apps.get(&key()).unwrap().serving.unwrap().image.id, image_id);
    let gone = format!("sha256:{}", "0".repeat(64));
    let events = agent.deploy(back(4, &gone)).await;
    assert_eq!(failure(&events).code, "SW-RELEASE-GONE");
    assert_eq!(machine.running(), names(3));
}

#[tokio::test]
async fn docker_may_go_away_for_a_moment_at_any_step() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    for (release, call) in
        (1..).zip([Call::EnsureNetwork, Call::Create, Call::Start, Call::Inspect])
    {
        let away = || slipway_engine::Error::Timeout { act: "do it", limit: LIMIT };
        machine.docker.fail(call, "", 2, away);
        let events = agent.deploy(start(release)).await;
        assert_eq!(*last(&events), Event::Committed { cut_connections: 0 }, "{call}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_left_to_its_owner() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    let taken = || slipway_engine::Error::AddressTaken {
        what: slipway_engine::Object::Container,
        name: "x".to_owned(),
        message: "in use".to_owned(),
    };
    machine.docker.fail(Call::Start, "web-1-1", 1, taken);
    let events = agent.deploy(start_with(1, |it| it.replicas = 1)).await;
    assert_eq!(*last(&events), Event::Committed { cut_connections: 0 });
    let addresses: Vec<_> = machine.traffic.route("web").unwrap().1;
    assert!(!addresses.iter().any(|it| it.ip().to_string().ends_with(".0.2")), "{addresses:?}");
}

#[tokio::test]
async fn secrets_reach_the_container_and_nothing_else() {
    let machine = Machine::new();
    let told = Behavior {
        lines: vec![(false, "the key is SENTINEL-1".to_owned())],
        ..Behavior::crashes(1, "")
    };
    machine.docker.publish("example.com/web:2", config(), told, None);
    let agent = machine.agent().await;
    let secret = |it: &mut wire::AppSpec| {
        it.secrets.insert("KEY".to_owned(), "SENTINEL-1".to_owned());
    };
    agent.deploy(start_with(1, secret)).await;
    assert_eq!(machine.docker.env(&names(1)[0], "KEY").unwrap(), "SENTINEL-1");
    assert_eq!(machine.docker.env(&names(1)[0], "PORT").unwrap(), "8080");
    let events = agent.deploy(start_with(2, secret)).await;
    assert_eq!(failure(&events).last_lines.first().unwrap(), "the key is [redacted]");
    for release in [1, 2] {
        let bytes = std::fs::read(journal(machine.dir.path(), release)).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("SENTINEL-1"));
    }
}

fn archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in
        [("Dockerfile", "FROM busybox\nCMD [\"x\"]\n".to_owned()), ("big", "x".repeat(900_000))]
    {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(text.len()).unwrap());
        header.set_mode(0o644);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(super) fn archive_start(release: u64, bytes: &[u8]) -> Start {
    let sha256 = Bytes::copy_from_slice(&Sha256::digest(bytes));
    let size_bytes = u64::try_from(bytes.len()).unwrap();
    let source = wire::ArchiveSource { size_bytes, sha256, build: None };
    let kind = Some(wire::source::Kind::Archive(source));
    start_with(release, |it| it.source = Some(wire::Source { kind }))
}

#[tokio::test]
async fn an_upload_goes_on_at_any_byte_after_any_break() {
    let machine = Machine::new();
    let bytes = archive();
    let mut agent = machine.agent().await;
    let (feed, handle) = agent.attach(archive_start(1, &bytes)).await;
    drop((feed, handle));
    let mut sent = 0;
    for (n, size) in [1, 100_000, 333_333, 7, 250_000].into_iter().enumerate() {
        if n % 2 == 1 {
            agent.kill().await;
            agent = machine.agent().await;
        }
        let (mut feed, handle) = agent.attach(archive_start(1, &bytes)).await;
        let accepted = until(
            &mut feed,
            |it| matches!(it, Event::Accepted { source_offset, .. } if *source_offset == u64::try_from(sent).unwrap()),
        );
        accepted.await;
        let offset = u64::try_from(sent).unwrap();
        handle.chunk(offset, Bytes::copy_from_slice(&bytes[sent..sent + size])).await.unwrap();
        sent += size;
    }
    let (mut feed, handle) = agent.attach(archive_start(1, &bytes)).await;
    let gap = handle.chunk(u64::try_from(sent + 1).unwrap(), Bytes::from_static(b"x")).await;
    assert_eq!(Problem::from(gap.unwrap_err()).code, "SW-UPLOAD-INCOMPLETE");
    handle
        .chunk(u64::try_from(sent).unwrap(), Bytes::copy_from_slice(&bytes[sent..]))
        .await
        .unwrap();
    handle.source_end().unwrap();
    handle.activate().unwrap();
    handle.commit().unwrap();
    let events = to_end(&mut feed).await;
    well_formed(&events);
    assert_eq!(*last(&events), Event::Committed { cut_connections: 0 });
    let left = machine.dir.path().join("deploys").join(Uuid::from_u128(1).to_string());
    assert_eq!(std::fs::read_dir(left).unwrap().count(), 1, "only the journal stays");
}

#[tokio::test]
async fn an_archive_that_is_not_whole_or_not_the_announced_one_is_not_built() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    let bytes = archive();
    let (mut feed, handle) = agent.attach(archive_start(1, &bytes)).await;
    handle.chunk(0, Bytes::copy_from_slice(&bytes[..1000])).await.unwrap();
    handle.source_end().unwrap();
    let events = to_end(&mut feed).await;
    assert_eq!(failure(&events).code, "SW-UPLOAD-INCOMPLETE");
    let mut other = bytes.clone();
    other[700_000] ^= 1;
    let (mut feed, handle) = agent.attach(archive_start(2, &bytes)).await;
    handle.chunk(0, Bytes::from(other)).await.unwrap();
    handle.source_end().unwrap();
    let events = to_end(&mut feed).await;
    assert_eq!(failure(&events).code, "SW-ARCHIVE-DIGEST");
    assert!(!machine.docker.calls().iter().any(|it| it.starts_with("build")));
    for release in [1, 2] {
        let left = journal(machine.dir.path(), release).with_file_name("source");
        assert!(!left.exists(), "the archive of an undone deployment stays on the disk");
    }
}
