//! Stopping, starting, restarting, removing and reading apps, against an in-memory Docker.

use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use slipway_engine::{Engine as _, fake::Exit, logs::LogQuery};
use slipway_proto::{agent::v1 as wire, problem::Problem};
use tokio::time::timeout;

use super::{Acts, AppState, Views, Volumes, logs, logs::Batch};
use crate::{
    deploy::tests::{Agent, LIMIT, Machine, Outside, key, names, start, start_with},
    world::STOPPED,
};

fn acts(agent: &Agent) -> Acts<Outside> {
    Acts::new(Arc::clone(&agent.world), agent.deploys.clone())
}

async fn state(agent: &Agent) -> AppState {
    let views = Views::new(Arc::clone(&agent.world), agent.deploys.clone());
    views.one(&key()).await.unwrap().state
}

#[tokio::test]
async fn a_stopped_app_stays_stopped_until_it_is_started() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    let acts = acts(&agent);
    assert_eq!(state(&agent).await, AppState::Running);
    acts.stop(&key()).await.unwrap();
    acts.stop(&key()).await.unwrap();
    assert_eq!(state(&agent).await, AppState::Stopped);
    assert!(machine.running().is_empty());
    assert_eq!(machine.traffic.route("web").unwrap(), (STOPPED, Vec::new()));
    crate::watch::pass(&agent.world, &agent.deploys).await.unwrap();
    assert!(machine.running().is_empty());
    acts.start(&key()).await.unwrap();
    acts.start(&key()).await.unwrap();
    assert_eq!((machine.running(), state(&agent).await), (names(1), AppState::Running));
    assert_eq!(machine.traffic.route("web").unwrap().0, 1);
}

#[tokio::test]
async fn a_restart_takes_one_container_after_the_other_out_of_traffic() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    machine.docker.clear_calls();
    // The machine's watcher fails the test when a container that gets requests does not run.
    acts(&agent).restart(&key()).await.unwrap();
    let calls = machine.docker.calls();
    let changes: Vec<_> =
        calls.iter().filter(|it| it.starts_with("st")).map(String::as_str).collect();
    let [one, two] = [&names(1)[0], &names(1)[1]];
    assert_eq!(
        changes,
        [
            format!("stop {one}"),
            format!("start {one}"),
            format!("stop {two}"),
            format!("start {two}")
        ]
    );
    assert_eq!(machine.traffic.route("web").unwrap().1.len(), 2);
}

#[tokio::test]
async fn of_a_removed_app_nothing_is_left_but_its_volumes() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    let with_volume = |release| {
        start_with(release, |it| {
            it.volumes = vec![wire::Volume { name: "data".to_owned(), path: "/data".to_owned() }];
        })
    };
    agent.deploy(with_volume(1)).await;
    agent.deploy(with_volume(2)).await;
    let acts = acts(&agent);
    acts.remove(&key(), Volumes::Keep).await.unwrap();
    let engine = agent.world.engine();
    assert!(machine.containers().is_empty());
    assert!(agent.world.apps.all().is_empty());
    assert!(machine.traffic.route("web").is_none());
    let ours = agent.world.names.ours();
    assert_eq!(engine.volumes(&ours).await.unwrap().len(), 1);
    assert!(engine.image("slipway/web:2").await.unwrap_err().is_missing());
    acts.remove(&key(), Volumes::Remove).await.unwrap();
    assert!(engine.volumes(&ours).await.unwrap().is_empty());
    let error = acts.stop(&key()).await.unwrap_err();
    assert_eq!(error.code, "SW-APP-MISSING");
    agent.deploy(with_volume(3)).await;
}

async fn batch(
    lines: &mut (impl Stream<Item = Result<Batch, Problem>> + Unpin),
) -> Option<Vec<String>> {
    let batch = timeout(LIMIT, lines.next()).await.unwrap()?.unwrap();
    let text = |it: &logs::Line| format!("{} {}", it.container.split_at(16).1, it.line.text());
    Some(batch.lines.iter().map(text).collect())
}

#[tokio::test]
async fn lines_of_several_containers_come_in_the_order_of_time_and_then_as_they_are_written() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    for n in 0..4 {
        machine.docker.print(&names(1)[n % 2], false, &format!("line {n}")).unwrap();
    }
    let world = || Arc::clone(&agent.world);
    let whole = logs::read(world(), key(), LogQuery::default()).await.unwrap();
    let mut whole = Box::pin(whole);
    let backlog = ["1-1 line 0", "1-2 line 1", "1-1 line 2", "1-2 line 3"];
    assert_eq!(batch(&mut whole).await.unwrap(), backlog);
    assert_eq!(batch(&mut whole).await, None);

    let query = LogQuery { follow: true, ..LogQuery::default() };
    let mut follow = Box::pin(logs::read(world(), key(), query).await.unwrap());
    assert_eq!(batch(&mut follow).await.unwrap(), backlog);
    machine.docker.print(&names(1)[0], false, "live").unwrap();
    assert_eq!(batch(&mut follow).await.unwrap(), ["1-1 live"]);
    // A deployment's containers join in.
    agent.deploy(start(2)).await;
    machine.docker.print(&names(2)[1], true, "new").unwrap();
    assert_eq!(batch(&mut follow).await.unwrap(), ["2-2 new"]);
}

#[tokio::test]
async fn a_container_that_ended_shows() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    machine.docker.crash(&names(1)[0], Exit { code: 3, ..Exit::default() }).unwrap();
    let views = Views::new(Arc::clone(&agent.world), agent.deploys.clone());
    let all = views.all().await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].containers.len(), 2);
    assert_eq!(all[0].kept.len(), 1);
    assert_eq!(all[0].urls, ["http://web"]);
}

#[tokio::test]
async fn an_app_that_is_only_being_deployed_says_so() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    let (feed, handle) = agent.attach(start(1)).await;
    let views = Views::new(Arc::clone(&agent.world), agent.deploys.clone());
    let view = views.one(&key()).await.unwrap();
    assert_eq!((view.state, view.release), (AppState::Deploying, 0));
    assert_eq!(view.deploy_id, Some(start(1).deploy_id));
    drop((feed, handle));
}
