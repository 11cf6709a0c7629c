//! What was lost comes back, what is nobody's goes, and who is at work is not disturbed.

use expect_test::{Expect, expect};
use slipway_engine::Engine as _;

use super::{
    pass,
    plan::{Found, plan},
};
use crate::{
    app::AppRecord,
    deploy::tests::{Machine, is_prepared, key, names, start, until},
    world::STOPPED,
};

#[track_caller]
fn check(record: &AppRecord, containers: &str, generation: Option<u64>, expected: Expect) {
    let one = |it: &str| (it.trim_end_matches('!').to_owned(), it.ends_with('!'));
    let containers = containers.split_whitespace().map(one).collect();
    let steps = plan(record, &Found { containers, generation });
    let lines: Vec<_> = steps.iter().map(ToString::to_string).collect();
    expected.assert_eq(&lines.join("\n"));
}

#[tokio::test]
async fn an_app_becomes_what_its_record_says() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    agent.deploy(start(2)).await;
    let record = agent.world.apps.get(&key()).unwrap();
    let (one, two) = (&names(2)[0], &names(2)[1]);
    let kept = names(1).join(" ");
    check(&record, &format!("{kept} {one}! {two}!"), Some(2), expect![""]);
    check(
        &record,
        &format!("{kept} {two}"),
        Some(1),
        expect![[r#"
        make slipway-web-web-2-1 again
        start slipway-web-web-2-2
        route to release 2"#]],
    );
    check(
        &record,
        &format!("stray! {one}! {two}!"),
        None,
        expect![[r#"
        route to release 2
        remove stray"#]],
    );
    let stopped = AppRecord { stopped: true, ..record.clone() };
    check(&stopped, &format!("{one} {two}"), Some(STOPPED), expect![""]);
    check(&stopped, &format!("{one}! {two}"), Some(STOPPED), expect!["stop the app"]);
    let never = AppRecord { serving: None, ..record };
    check(
        &never,
        "stray",
        None,
        expect![[r#"
        remove stray
        forget the app"#]],
    );
}

#[tokio::test]
async fn a_container_that_was_removed_by_hand_comes_back_as_it_was() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    let before = machine.traffic.route("web");
    // The machine's watcher would rightly fail the test for what happens now.
    crate::world::Traffic::remove(&machine.traffic, &key()).await.unwrap();
    machine.docker.remove(&names(1)[0]).await.unwrap();
    machine.docker.stop(&names(1)[1], std::time::Duration::ZERO).await.unwrap();
    pass(&agent.world, &agent.deploys).await.unwrap();
    assert_eq!(machine.running(), names(1));
    assert_eq!(machine.traffic.route("web"), before);
    machine.docker.clear_calls();
    pass(&agent.world, &agent.deploys).await.unwrap();
    assert_eq!(machine.docker.calls(), ["containers"], "a second pass has nothing to do");
}

#[tokio::test]
async fn an_app_that_is_being_deployed_is_left_alone() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    let (mut feed, _handle) = agent.attach(start(2)).await;
    until(&mut feed, is_prepared).await;
    pass(&agent.world, &agent.deploys).await.unwrap();
    assert_eq!(machine.running(), [names(1), names(2)].concat());
}
