//! What goes wrong, and what is left of it: nothing.

use slipway_proto::agent::v1::Phase;
use slipway_store::{DeploymentState, Done};

use super::harness::*;
use crate::fleet::fake::Stage;

/// The code that a deployment failed with.
fn code(done: &Done) -> &str {
    assert!(!done.success);
    &done.error.as_ref().unwrap().code
}

#[test]
fn a_failure_in_any_phase_is_put_back_and_the_old_release_serves() {
    for phase in [Phase::Source, Phase::Build, Phase::Start, Phase::Health, Phase::Switch] {
        let world = World::new();
        world.live(async |control| {
            let agent = control.otter(&world).await;
            let first = control.deploy(image("web")).await;
            assert!(control.done(first.id).await.success);

            agent.with(|it| it.script.fail.insert(phase));
            let second = control.deploy(image("web")).await;
            let done = control.done(second.id).await;
            assert_eq!(code(&done), "SW-FAKE", "{phase:?}");
            let error = done.error.unwrap();
            assert_eq!(error.exit_code, Some(3));
            assert_eq!(error.last_lines, ["last words "]);
            assert_eq!(done.release, 1, "the serving release is told");
            assert_eq!(done.servers[0].error.as_ref().unwrap().code, "SW-FAKE");

            let (deployment, _) =
                control.deployments.get(control.user.id, &second.id.to_string()).await.unwrap();
            assert_eq!(deployment.state, DeploymentState::Failed);
            agent.with(|it| {
                assert_eq!(it.serving["web.production"], 1);
                assert_eq!(it.deployments[1].stage, Stage::Undone);
            });

            agent.with(|it| it.script.fail.clear());
            let third = control.deploy(image("web")).await;
            assert!(control.done(third.id).await.success, "nothing stands in the way");
        });
    }
}

#[test]
fn one_failing_server_puts_the_others_back_even_after_traffic_moved() {
    let world = World::new();
    world.live(async |control| {
        let agent = control.otter(&world).await;
        control.server(&control.user, "raven").await;
        let raven = world.fleet.agent("raven");
        raven.with(|it| it.script.fail.insert(Phase::Switch));
        let mut request = image("web");
        request.servers = vec!["otter".to_owned(), "raven".to_owned()];
        let started = control.deploy(request).await;
        let done = control.done(started.id).await;
        assert_eq!(code(&done), "SW-FAKE");
        assert_eq!(done.servers.len(), 2, "every outcome is told");
        for agent in [agent, raven] {
            agent.with(|it| {
                assert!(it.serving.is_empty());
                assert_eq!(it.deployments[0].stage, Stage::Undone);
            });
        }
    });
}

#[test]
fn no_server_moves_before_all_are_prepared() {
    let world = World::new();
    world.live(async |control| {
        let agent = control.otter(&world).await;
        control.server(&control.user, "raven").await;
        let raven = world.fleet.agent("raven");
        raven.with(|it| it.script.hold.insert(Phase::Health));
        let mut request = image("web");
        request.servers = vec!["otter".to_owned(), "raven".to_owned()];
        let started = control.deploy(request).await;
        let prepared = |it: &mut crate::fleet::fake::State| {
            it.deployments.iter().any(|it| it.stage == Stage::Prepared)
        };
        eventually(&agent, "prepared", prepared).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        agent.with(|it| assert_eq!(it.deployments[0].stage, Stage::Prepared));
        raven.with(|it| it.script.hold.clear());
        assert!(control.done(started.id).await.success);
    });
}

#[test]
fn a_server_that_never_answers_is_told_and_nothing_waits_for_it() {
    let world = World::new();
    world.live(async |control| {
        let agent = control.otter(&world).await;
        agent.with(|it| it.script.down = true);
        let started = control.deploy(image("web")).await;
        let done = control.done(started.id).await;
        assert_eq!(code(&done), "SW-UNREACHABLE");
        assert!(done.error.unwrap().message.contains("`otter`"));
        agent.with(|it| assert!(it.deployments.is_empty()));
    });
}

#[test]
fn an_archive_that_is_cut_short_or_another_one_reaches_no_server() {
    let world = World::new();
    world.live(async |control| {
        let agent = control.otter(&world).await;
        let (bytes, end) = archive();

        let started = control.deploy(code_of("web")).await;
        let id = started.id;
        let upload = started.upload.unwrap().chunk(bytes.clone().into()).await;
        assert!(upload.is_none(), "a chunk of more than 256 KiB is refused");
        assert_eq!(code(&control.done(id).await), "SW-UPLOAD-CHUNK");

        let started = control.deploy(code_of("web")).await;
        let id = started.id;
        let upload = started.upload.unwrap().chunk(bytes[..9].to_vec().into()).await;
        drop(upload);
        assert_eq!(code(&control.done(id).await), "SW-UPLOAD-INCOMPLETE");

        let started = control.deploy(code_of("web")).await;
        let mut other = end.clone();
        other.sha256 = vec![7; 32].into();
        let id = send(started, &bytes, other).await;
        assert_eq!(code(&control.done(id).await), "SW-ARCHIVE-DIGEST");

        let garbage = vec![7; 4096];
        let end = end_of(&garbage);
        let started = control.deploy(code_of("web")).await;
        let id = send(started, &garbage, end).await;
        assert_eq!(code(&control.done(id).await), "SW-ARCHIVE-FORMAT");

        agent.with(|it| assert!(it.deployments.is_empty(), "no server saw a byte"));
    });
}

#[test]
fn what_is_wrong_is_refused_before_anything_is_stored() {
    let world = World::new();
    world.live(async |control| {
        let problem = control.refused(image("web")).await;
        assert_eq!(problem.code, "SW-SERVER-NONE");
        control.otter(&world).await;
        let change = |change: fn(&mut slipway_proto::agent::v1::AppSpec)| {
            let mut request = image("web");
            change(request.spec.as_mut().unwrap());
            request
        };
        for (request, code) in [
            (change(|it| it.app = "Web".to_owned()), "SW-NAME"),
            (change(|it| it.source = None), "SW-SOURCE"),
            (change(|it| it.port = 70_000), "SW-PORT"),
            (change(|it| it.replicas = 21), "SW-REPLICAS"),
            (slipway_proto::control::v1::StartDeployment::default(), "SW-NAME"),
        ] {
            assert_eq!(control.refused(request).await.code, code);
        }
        let mut request = image("web");
        request.servers = vec!["nowhere".to_owned()];
        assert_eq!(control.refused(request).await.code, "SW-SERVER-MISSING");
        let mut request = image("web");
        request.idempotency_key = "x".repeat(129);
        assert_eq!(control.refused(request).await.code, "SW-IDEMPOTENCY-KEY");
        control.server(&control.user, "raven").await;
        assert_eq!(control.refused(image("web")).await.code, "SW-SERVER-CHOICE");

        let page = control.deployments.list(control.user.id, "", 0, "").await.unwrap();
        assert!(page.deployments.is_empty());
        assert!(control.store.of(control.user.id).apps().await.unwrap().is_empty());
    });
}

#[test]
fn a_cancel_puts_everything_back_at_any_moment_before_the_commit() {
    for phase in [Phase::Health, Phase::Switch] {
        let world = World::new();
        world.live(async |control| {
            let agent = control.otter(&world).await;
            agent.with(|it| it.script.hold.insert(phase));
            let started = control.deploy(image("web")).await;
            eventually(&agent, "begun", |it| !it.deployments.is_empty()).await;
            let id = started.id.to_string();
            control.deployments.cancel(&control.user, &id).await.unwrap();
            let done = control.done(started.id).await;
            assert_eq!(code(&done), "SW-CANCELED", "{phase:?}");
            agent.with(|it| {
                assert!(it.serving.is_empty());
                assert_eq!(it.deployments[0].stage, Stage::Undone);
            });
            let again = control.deployments.cancel(&control.user, &id).await.unwrap();
            assert_eq!(again.0.state, DeploymentState::Failed, "a second cancel tells how it is");
        });
    }
}

#[test]
fn a_cancel_during_the_upload_reaches_no_server() {
    let world = World::new();
    world.live(async |control| {
        let agent = control.otter(&world).await;
        let started = control.deploy(code_of("web")).await;
        let id = started.id.to_string();
        control.deployments.cancel(&control.user, &id).await.unwrap();
        assert_eq!(code(&control.done(started.id).await), "SW-CANCELED");
        agent.with(|it| assert!(it.deployments.is_empty()));
    });
}

#[test]
fn secrets_are_sealed_and_show_in_no_event() {
    let world = World::new();
    world.live(async |control| {
        let agent = control.otter(&world).await;
        agent.with(|it| {
            it.script.lines = 3;
            it.script.says = "hunter2-secret hunter2-token".to_owned();
            it.script.fail.insert(Phase::Health);
        });
        let started = control.deploy(git("web")).await;
        let events = control.events(started.id).await;
        let text = format!("{events:?}");
        assert!(text.contains("line 2"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        control.store.close().await;
    });
    for entry in std::fs::read_dir(world.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(7).any(|it| it == b"hunter2");
            assert!(!found, "{}", path.display());
        }
    }
}
