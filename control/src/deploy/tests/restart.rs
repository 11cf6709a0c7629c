//! Any two lines may be the last ones: the control plane is killed, agents are cut off, and the
//! deployment still ends, with each event once and in order.

use std::time::Duration;

use slipway_proto::agent::v1::Phase;
use slipway_store::{Event, OperationId};

use super::harness::*;
use crate::fleet::fake::{Stage, State};

/// Looks at the events of a deployment that has ended well: each thing was told once.
fn check(events: &[Event], lines_of_build: usize) {
    let lines = lines(events);
    for phase in ["source", "build", "start", "health", "switch", "drain", "commit"] {
        for state in ["Started", "Done"] {
            let line = format!("otter {phase} {state}");
            assert_eq!(lines.iter().filter(|it| **it == line).count(), 1, "{line}: {lines:#?}");
        }
    }
    let text = lines.join("\n");
    for line in 0..lines_of_build {
        assert_eq!(text.matches(&format!("line {line} ")).count(), 1, "line {line}: {text}");
    }
}

fn stage(stage: Stage) -> impl Fn(&mut State) -> bool {
    move |it| it.deployments.first().is_some_and(|it| it.stage == stage)
}

#[test]
fn a_kill_at_every_stage_is_gone_on_from() {
    for (held, reached) in [
        (Phase::Health, Stage::Preparing),
        (Phase::Switch, Stage::Prepared),
        (Phase::Drain, Stage::Active),
    ] {
        let mut world = World::new();
        world.timing.patience.first = Duration::from_secs(10);
        let (id, seen) = world.live(async |control| {
            let agent = control.otter(&world).await;
            agent.with(|it| it.script.hold.insert(held));
            let started = control.deploy(image("web")).await;
            eventually(&agent, "held", stage(reached)).await;
            (started.id, events_now(&control, started.id).await)
        });
        world.live(async |control| {
            let agent = control.otter(&world).await;
            eventually(&agent, "come back", |it| it.deployments[0].streams == 2).await;
            agent.with(|it| it.script.hold.clear());
            let done = control.done(id).await;
            assert!(done.success, "{held:?}: {:?}", done.error);
            let events = control.events(id).await;
            assert_eq!(events[..seen.len()], seen, "what was seen stays as it was");
            check(&events, 0);
            agent.with(|it| {
                assert_eq!(it.deployments.len(), 1);
                assert_eq!(it.serving["web.production"], 1);
            });
        });
    }
}

async fn events_now(control: &Control, id: OperationId) -> Vec<Event> {
    control.store.of(control.user.id).events(id, 0, 1000).await.unwrap()
}

#[test]
fn a_kill_at_any_time_is_gone_on_from() {
    let (bytes, end) = archive();
    for delay in (0..90).step_by(6) {
        let world = World::new();
        world.fleet.agent("otter").with(|it| it.script.lines = 40);
        let id = world.live(async |control| {
            control.otter(&world).await;
            let started = control.deploy(code_of("web")).await;
            let id = send(started, &bytes, end.clone()).await;
            tokio::time::sleep(Duration::from_millis(delay)).await;
            id
        });
        let done = world.live(async |control| {
            let agent = control.otter(&world).await;
            let done = control.done(id).await;
            let events = control.events(id).await;
            if done.success {
                check(&events, 40);
                agent.with(|it| assert_eq!(it.deployments[0].received, bytes));
            } else {
                agent.with(|it| assert!(it.deployments.is_empty(), "{:?}", done.error));
            }
            done
        });
        if let Some(error) = done.error {
            // The one thing that a restart cannot get back: bytes that were not complete.
            assert_eq!(error.code, "SW-UPLOAD-INCOMPLETE", "after {delay} ms");
        }
    }
}

#[test]
fn an_undo_is_gone_on_with_after_a_kill() {
    let world = World::new();
    let id = world.live(async |control| {
        let agent = control.otter(&world).await;
        agent.with(|it| it.script.hold.insert(Phase::Switch));
        let started = control.deploy(image("web")).await;
        eventually(&agent, "prepared", stage(Stage::Prepared)).await;
        agent.with(|it| it.script.down = true);
        control.deployments.cancel(&control.user, &started.id.to_string()).await.unwrap();
        control.store.system().steps(started.id).await.map(|_| ()).unwrap();
        for _ in 0..400 {
            if control.store.system().steps(started.id).await.unwrap().contains_key("abort") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        started.id
    });
    world.fleet.agent("otter").with(|it| it.script.down = false);
    world.live(async |control| {
        let done = control.done(id).await;
        assert_eq!(done.error.unwrap().code, "SW-CANCELED", "the reason outlasts the restart");
        let agent = control.otter(&world).await;
        agent.with(|it| assert_eq!(it.deployments[0].stage, Stage::Undone));
    });
}

#[test]
fn an_upload_does_not_outlast_a_restart_and_leaves_nothing() {
    let world = World::new();
    let id = world.live(async |control| {
        control.otter(&world).await;
        let started = control.deploy(code_of("web")).await;
        let (id, upload) = (started.id, started.upload.unwrap());
        let upload = upload.chunk(vec![7; 1000].into()).await;
        assert!(upload.is_some());
        id
    });
    world.live(async |control| {
        let done = control.done(id).await;
        assert_eq!(done.error.unwrap().code, "SW-UPLOAD-INCOMPLETE");
        let agent = control.otter(&world).await;
        agent.with(|it| assert!(it.deployments.is_empty()));
    });
}

#[test]
fn a_stream_that_breaks_after_any_event_is_opened_again() {
    let (bytes, end) = archive();
    for cut in 1..18 {
        let world = World::new();
        world.live(async |control| {
            let agent = control.otter(&world).await;
            agent.with(|it| it.script.cut_after.insert(cut));
            let started = control.deploy(code_of("web")).await;
            let id = send(started, &bytes, end.clone()).await;
            let done = control.done(id).await;
            assert!(done.success, "cut after {cut}: {:?}", done.error);
            check(&control.events(id).await, 0);
            agent.with(|it| assert_eq!(it.deployments[0].received, bytes));
        });
    }
}

#[test]
fn an_agent_that_is_away_for_a_while_after_traffic_moved_is_waited_for() {
    let mut world = World::new();
    world.timing.patience.later = Duration::from_secs(10);
    world.live(async |control| {
        let agent = control.otter(&world).await;
        agent.with(|it| it.script.hold.insert(Phase::Drain));
        let started = control.deploy(image("web")).await;
        eventually(&agent, "active", stage(Stage::Active)).await;
        agent.with(|it| it.script.down = true);
        tokio::time::sleep(Duration::from_millis(300)).await;
        agent.with(|it| {
            it.script.down = false;
            it.script.hold.clear();
        });
        let done = control.done(started.id).await;
        assert!(done.success, "{:?}", done.error);
        check(&control.events(started.id).await, 0);
    });
}

#[test]
fn an_agent_that_never_comes_back_after_traffic_moved_needs_a_person() {
    let world = World::new();
    world.live(async |control| {
        let agent = control.otter(&world).await;
        agent.with(|it| it.script.hold.insert(Phase::Drain));
        let started = control.deploy(image("web")).await;
        eventually(&agent, "active", stage(Stage::Active)).await;
        agent.with(|it| it.script.down = true);
        let done = control.done(started.id).await;
        assert!(!done.success);
        let (deployment, _) =
            control.deployments.get(control.user.id, &started.id.to_string()).await.unwrap();
        assert_eq!(deployment.state, slipway_store::DeploymentState::Stuck);
    });
}
