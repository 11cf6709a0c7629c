//! Managing apps on fake agents.

use futures::StreamExt as _;
use slipway_proto::{agent::v1::Phase, control::v1::AppTarget, problem::Kind};

use super::*;
use crate::deploy::tests::harness::*;

fn target(app: &str) -> AppTarget {
    AppTarget { app: app.to_owned(), ..AppTarget::default() }
}

async fn names(apps: &Apps, user: UserId) -> Vec<String> {
    apps.list(user).await.unwrap().into_iter().map(|it| it.app.name).collect()
}

#[test]
fn an_app_is_stopped_started_restarted_and_removed() {
    let world = World::new();
    world.live(async |control| {
        let (agent, apps, ann) = (control.otter(&world).await, control.apps(), &control.user);
        let first = control.deploy(image("web")).await;
        assert!(control.done(first.id).await.success);

        for (act, stopped) in [(Act::Stop, true), (Act::Start, false), (Act::Restart, false)] {
            let outcomes = apps.act(ann, target("web"), act).await.unwrap();
            assert!(outcomes.iter().all(|it| it.success) && outcomes.len() == 1);
            let (overview, live) = apps.get(ann.id, target("web")).await.unwrap();
            assert_eq!(overview.app.stopped, stopped, "{act:?}");
            assert_eq!(live[0].app.as_ref().unwrap().release, 1);
        }
        apps.act(ann, target("web"), Act::RemoveAll).await.unwrap();
        agent.with(|it| {
            let calls: Vec<_> = it.calls.iter().filter(|it| !it.starts_with("get")).collect();
            let expected = ["stop", "start", "restart", "remove"];
            assert_eq!(calls, expected.map(|it| format!("{it} web.production")).each_ref());
        });
        assert!(names(&apps, ann.id).await.is_empty());
        let gone = apps.act(ann, target("web"), Act::Stop).await.unwrap_err();
        assert_eq!((gone.kind, &*gone.code), (Kind::NotFound, "SW-APP-MISSING"));
        let page = control.deployments.list(ann.id, "web", 0, "").await.unwrap();
        assert_eq!(page.deployments.len(), 1, "its deployments stay readable");

        let again = control.deploy(image("web")).await;
        assert!(control.done(again.id).await.success, "the name can be used again");
    });
}

#[test]
fn a_server_that_does_not_answer_is_told_and_keeps_the_app() {
    let world = World::new();
    world.live(async |control| {
        let (agent, apps, ann) = (control.otter(&world).await, control.apps(), &control.user);
        let first = control.deploy(image("web")).await;
        assert!(control.done(first.id).await.success);
        agent.with(|it| it.script.down = true);
        let outcomes = apps.act(ann, target("web"), Act::Remove).await.unwrap();
        assert!(!outcomes[0].success);
        assert_eq!(outcomes[0].error.as_ref().unwrap().code, "SW-UNREACHABLE");
        let (_, live) = apps.get(ann.id, target("web")).await.unwrap();
        assert_eq!(live[0].app.as_ref().unwrap_err().code, "SW-UNREACHABLE");
        agent.with(|it| it.script.down = false);
        let outcomes = apps.act(ann, target("web"), Act::Remove).await.unwrap();
        assert!(outcomes[0].success);
        assert!(names(&apps, ann.id).await.is_empty());
    });
}

#[test]
fn an_app_that_is_being_deployed_is_busy_and_says_with_what() {
    let world = World::new();
    world.live(async |control| {
        let (agent, apps, ann) = (control.otter(&world).await, control.apps(), &control.user);
        let first = control.deploy(image("web")).await;
        assert!(control.done(first.id).await.success);
        agent.with(|it| it.script.hold.insert(Phase::Health));
        let second = control.deploy(image("web")).await;
        eventually(&agent, "begun", |it| it.deployments.len() == 2).await;
        let busy = apps.act(ann, target("web"), Act::Stop).await.unwrap_err();
        assert_eq!(busy.code, "SW-APP-BUSY");
        assert!(busy.message.contains(&second.id.to_string()), "{busy}");
        agent.with(|it| it.script.hold.clear());
        assert!(control.done(second.id).await.success);
        apps.act(ann, target("web"), Act::Stop).await.unwrap();
    });
}

#[test]
fn an_app_whose_first_deployment_failed_has_left_nothing() {
    let world = World::new();
    world.live(async |control| {
        let (agent, apps, ann) = (control.otter(&world).await, control.apps(), &control.user);
        agent.with(|it| it.script.hold.insert(Phase::Health));
        let first = control.deploy(image("web")).await;
        assert_eq!(names(&apps, ann.id).await, ["web"], "it shows while it is deployed");
        control.deployments.cancel(ann, &first.id.to_string()).await.unwrap();
        assert!(!control.done(first.id).await.success);
        assert!(names(&apps, ann.id).await.is_empty());
        let gone = apps.get(ann.id, target("web")).await.unwrap_err();
        assert_eq!(gone.code, "SW-APP-MISSING");
    });
}

#[test]
fn a_rollback_brings_back_image_configuration_and_secrets() {
    let world = World::new();
    world.live(async |control| {
        let (agent, apps, ann) = (control.otter(&world).await, control.apps(), &control.user);
        for value in ["one", "two"] {
            let mut request = image("web");
            let spec = request.spec.as_mut().unwrap();
            spec.env.insert("COLOR".to_owned(), value.to_owned());
            spec.secrets.insert("PASSWORD".to_owned(), format!("secret-{value}"));
            let started = control.deploy(request).await;
            assert!(control.done(started.id).await.success);
        }
        let checked = apps.rollback(ann, target("web"), 0, Check::Only).await.unwrap();
        assert_eq!(checked, (None, 1));
        let (id, release) = apps.rollback(ann, target("web"), 0, Check::AndDo).await.unwrap();
        assert_eq!(release, 1);
        let done = control.done(id.unwrap().parse().unwrap()).await;
        assert!(done.success, "{:?}", done.error);
        assert_eq!(done.release, 3, "going back is a release of its own");
        agent.with(|it| {
            let spec = it.deployments[2].start.spec.clone().unwrap();
            assert_eq!(it.deployments[2].image_id, format!("sha256:{:064x}", 1));
            assert_eq!(spec.env["COLOR"], "one");
            assert_eq!(spec.secrets["PASSWORD"], "secret-one");
        });
        let releases = apps.releases(ann.id, target("web")).await.unwrap();
        let shown: Vec<_> = releases
            .iter()
            .map(|it| (it.release.number, it.serving, it.release.source.name()))
            .collect();
        assert_eq!(shown, [(3, true, "rollback"), (2, false, "image"), (1, false, "image")]);
    });
}

#[test]
fn what_cannot_be_rolled_back_to_is_refused_with_the_reason() {
    let world = World::new();
    world.live(async |control| {
        let (agent, apps, ann) = (control.otter(&world).await, control.apps(), &control.user);
        let first = control.deploy(image("web")).await;
        assert!(control.done(first.id).await.success);
        let code = async |release| {
            let refused = apps.rollback(ann, target("web"), release, Check::Only).await;
            refused.unwrap_err().code
        };
        assert_eq!(code(0).await, "SW-RELEASE-MISSING");
        assert_eq!(code(9).await, "SW-RELEASE-MISSING");
        assert_eq!(code(1).await, "SW-RELEASE-SERVING");
        let second = control.deploy(image("web")).await;
        assert!(control.done(second.id).await.success);
        agent.with(|it| it.script.forgotten.insert(1));
        assert_eq!(code(1).await, "SW-RELEASE-GONE");
        let releases = apps.releases(ann.id, target("web")).await.unwrap();
        assert_eq!(releases.iter().map(|it| it.kept).collect::<Vec<_>>(), [true, false]);
    });
}

#[test]
fn the_output_of_all_servers_is_merged_and_a_silent_one_says_why() {
    let world = World::new();
    world.live(async |control| {
        let (agent, apps, ann) = (control.otter(&world).await, control.apps(), &control.user);
        control.server(ann, "raven").await;
        let raven = world.fleet.agent("raven");
        let mut request = image("web");
        request.servers = vec!["otter".to_owned(), "raven".to_owned()];
        let started = control.deploy(request).await;
        assert!(control.done(started.id).await.success);
        agent.with(|it| it.script.lines = 50);
        raven.with(|it| it.script.down = true);
        let logs = apps.logs(ann.id, target("web"), LogQuery::default()).await.unwrap();
        let logs: Vec<_> = logs.collect().await;
        let lines: Vec<_> = logs
            .iter()
            .filter(|it| it.server == "otter")
            .flat_map(|it| it.lines.iter().map(|it| it.text.clone()))
            .collect();
        assert_eq!(lines, (0..50).map(|it| format!("line {it}")).collect::<Vec<_>>());
        let silent: Vec<_> = logs.iter().filter(|it| it.server == "raven").collect();
        assert_eq!(silent.len(), 1);
        assert!(silent[0].error.contains("SW-UNREACHABLE"), "{}", silent[0].error);
    });
}
