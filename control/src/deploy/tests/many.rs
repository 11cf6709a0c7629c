//! Several at once.

use slipway_proto::agent::v1::Phase;
use slipway_store::DeploymentState;

use super::harness::*;
use crate::fleet::fake::Stage;

#[test]
fn the_second_deployment_of_an_app_waits_and_names_who_it_waits_for() {
    let world = World::new();
    world.live(async |control| {
        let agent = control.otter(&world).await;
        agent.with(|it| it.script.hold.insert(Phase::Health));
        let first = control.deploy(image("web")).await;
        eventually(&agent, "begun", |it| !it.deployments.is_empty()).await;
        let second = control.deploy(image("web")).await;
        let third = control.deploy(image("web")).await;
        let queued = |ahead: slipway_store::OperationId| {
            move |it: &slipway_store::Event| {
                let text = format!("{:?}", it.body);
                text.contains("queued") && text.contains(&ahead.to_string())
            }
        };
        control.until(second.id, queued(first.id)).await;
        control.until(third.id, queued(second.id)).await;
        agent.with(|it| assert_eq!(it.deployments.len(), 1, "the others wait"));

        agent.with(|it| it.script.hold.clear());
        for (deployment, release) in [(first, 1), (second, 2), (third, 3)] {
            let done = control.done(deployment.id).await;
            assert!(done.success, "{:?}", done.error);
            assert_eq!(done.release, release);
        }
        agent.with(|it| assert_eq!(it.serving["web.production"], 3));
    });
}

#[test]
fn a_queued_deployment_can_be_canceled_and_lets_the_next_one_through() {
    let world = World::new();
    world.live(async |control| {
        let agent = control.otter(&world).await;
        agent.with(|it| it.script.hold.insert(Phase::Health));
        let first = control.deploy(image("web")).await;
        let second = control.deploy(image("web")).await;
        let third = control.deploy(image("web")).await;
        let queued = |it: &slipway_store::Event| format!("{:?}", it.body).contains("queued");
        control.until(second.id, queued).await;
        control.deployments.cancel(&control.user, &second.id.to_string()).await.unwrap();
        assert_eq!(control.done(second.id).await.error.unwrap().code, "SW-CANCELED");
        agent.with(|it| it.script.hold.clear());
        assert!(control.done(first.id).await.success);
        assert!(control.done(third.id).await.success);
    });
}

#[test]
fn two_apps_are_deployed_at_the_same_time() {
    let world = World::new();
    world.live(async |control| {
        let agent = control.otter(&world).await;
        agent.with(|it| it.script.hold.insert(Phase::Switch));
        let first = control.deploy(image("web")).await;
        let second = control.deploy(image("api")).await;
        eventually(&agent, "both prepared", |it| {
            it.deployments.iter().filter(|it| it.stage == Stage::Prepared).count() == 2
        })
        .await;
        agent.with(|it| it.script.hold.clear());
        assert!(control.done(first.id).await.success);
        assert!(control.done(second.id).await.success);
    });
}

#[test]
fn a_repeated_key_finds_the_same_deployment_for_its_user_alone() {
    let world = World::new();
    world.live(async |control| {
        let agent = control.otter(&world).await;
        let mut request = image("web");
        request.idempotency_key = "key".to_owned();
        let first = control.deploy(request.clone()).await;
        let again = control.deploy(request.clone()).await;
        assert_eq!(first.id, again.id);
        assert!(control.done(first.id).await.success);
        assert_eq!(control.deploy(request.clone()).await.id, first.id, "also when it has ended");
        agent.with(|it| assert_eq!(it.deployments.len(), 1));

        let bob = user(&control.store, "bob").await;
        control.server(&bob, "raven").await;
        let other = control.deployments.start(&bob, request).await.unwrap();
        assert_ne!(other.id, first.id);
    });
}

#[test]
fn a_user_has_room_for_twenty_open_deployments() {
    let world = World::new();
    world.live(async |control| {
        let agent = control.otter(&world).await;
        agent.with(|it| it.script.hold.insert(Phase::Health));
        for _ in 0..20 {
            control.deploy(image("web")).await;
        }
        let problem = control.refused(image("web")).await;
        assert_eq!(problem.code, "SW-DEPLOY-QUEUE");
    });
}

#[test]
fn any_number_of_readers_see_the_same_events_from_any_point() {
    let world = World::new();
    world.live(async |control| {
        let agent = control.otter(&world).await;
        agent.with(|it| it.script.lines = 300);
        let started = control.deploy(image("web")).await;
        let readers: Vec<_> = (0..8).map(|_| control.events(started.id)).collect();
        let seen = futures::future::join_all(readers).await;
        for other in &seen {
            assert_eq!(other, &seen[0]);
        }
        let (deployment, _) =
            control.deployments.get(control.user.id, &started.id.to_string()).await.unwrap();
        assert_eq!(deployment.state, DeploymentState::Succeeded);
        assert_eq!(usize::try_from(deployment.last_seq).unwrap(), seen[0].len());
        let rest = control.store.of(control.user.id).events(started.id, 5, 1000).await.unwrap();
        assert_eq!(rest, seen[0][5..]);
    });
}
