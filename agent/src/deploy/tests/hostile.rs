//! Callers that repeat themselves, come too late, crowd, or go away; disks that forget.

use proptest::prelude::*;
use slipway_engine::fake::Call;
use slipway_proto::problem::Problem;

use super::*;

#[tokio::test]
async fn the_same_start_finds_the_same_deployment() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    let (mut first, handle) = agent.attach(start(1)).await;
    let seen = until(&mut first, is_prepared).await.last().unwrap().seq;
    let (mut second, again) = agent.attach(Start { after_seq: seen, ..start(1) }).await;
    handle.activate().unwrap();
    again.commit().unwrap();
    let rest = to_end(&mut second).await;
    assert_eq!(rest.first().unwrap().seq, seen + 1);
    assert!(rest.iter().any(|it| matches!(it.event, Event::Accepted { resumed: true, .. })));
    assert_eq!(machine.containers(), names(1));
    let over = agent.open(start(1)).await.unwrap();
    assert!(over.handle.is_none());
    let mut replayed = over.events;
    well_formed(&to_end(&mut replayed).await);
    let mut observed = agent.deploys.observe(Uuid::from_u128(1), seen).await.unwrap();
    assert_eq!(to_end(&mut observed).await, rest);
}

#[tokio::test]
async fn an_id_belongs_to_one_release_of_one_app() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    let (_feed, _handle) = agent.attach(start(1)).await;
    let other = Start { release: 2, ..start(1) };
    let error = agent.open(other).await.unwrap_err();
    assert_eq!(Problem::from(error).code, "SW-DEPLOYMENT-ID");
}

#[tokio::test]
async fn a_second_deployment_of_the_app_is_told_who_is_first() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    let (mut feed, handle) = agent.attach(start(1)).await;
    let problem = Problem::from(agent.open(start(2)).await.unwrap_err());
    assert_eq!(problem.code, "SW-APP-BUSY");
    assert!(problem.message.contains(&Uuid::from_u128(1).to_string()), "{problem}");
    let stop = Problem::from(agent.deploys.claim(&key(), "stopped").await.unwrap_err());
    assert_eq!(stop.code, "SW-APP-BUSY");
    handle.abort("").unwrap();
    to_end(&mut feed).await;
    agent.deploy(start(3)).await;
}

#[tokio::test]
async fn who_has_been_overtaken_is_not_heard_any_more() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    let (mut feed, old) = agent.attach(start(1)).await;
    until(&mut feed, is_prepared).await;
    let (mut feed, new) = agent.attach(Start { epoch: 5, ..start(1) }).await;
    timeout(LIMIT, old.overtaken()).await.unwrap();
    assert_eq!(Problem::from(old.activate().unwrap_err()).code, "SW-STALE-EPOCH");
    assert_eq!(Problem::from(old.abort("").unwrap_err()).code, "SW-STALE-EPOCH");
    let late = agent.open(Start { epoch: 4, ..start(1) }).await.unwrap_err();
    assert_eq!(Problem::from(late).code, "SW-STALE-EPOCH");
    new.activate().unwrap();
    new.commit().unwrap();
    assert_eq!(*last(&to_end(&mut feed).await), Event::Committed { cut_connections: 0 });
    let agent = restart(&machine, agent).await;
    let late = agent.open(Start { epoch: 4, ..start(2) }).await.unwrap_err();
    assert_eq!(Problem::from(late).code, "SW-STALE-EPOCH");
    let old = Start { epoch: 5, deploy_id: Uuid::from_u128(77), ..start(1) };
    assert_eq!(Problem::from(agent.open(old).await.unwrap_err()).code, "SW-RELEASE-OLD");
}

async fn restart(machine: &Machine, agent: Agent) -> Agent {
    agent.kill().await;
    machine.agent().await
}

#[tokio::test]
async fn a_prepared_deployment_is_held_for_its_caller_and_then_undone() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    let held = Start { hold: Some(Duration::from_millis(1_500)), ..start(2) };
    let (mut feed, handle) = agent.attach(held.clone()).await;
    until(&mut feed, is_prepared).await;
    drop((feed, handle));
    // Came back in time: the clock starts anew when it leaves again.
    let (feed, handle) = agent.attach(held.clone()).await;
    drop((feed, handle));
    let mut feed = agent.deploys.observe(held.deploy_id, 0).await.unwrap();
    let events = to_end(&mut feed).await;
    well_formed(&events);
    assert_eq!(failure(&events).code, "SW-HOLD-EXPIRED");
    assert_eq!(machine.containers(), names(1));
}

#[tokio::test]
async fn after_the_switch_nothing_is_undone_for_want_of_a_caller() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    let held = Start { hold: Some(Duration::from_millis(50)), ..start(2) };
    let (mut feed, handle) = agent.attach(held.clone()).await;
    handle.activate().unwrap();
    until(&mut feed, is_activated).await;
    drop((feed, handle));
    let agent = restart(&machine, agent).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(agent.deploys.running(&key()), Some(held.deploy_id));
    assert_eq!(machine.running(), [names(1), names(2)].concat());
    let events = agent.deploy(held).await;
    assert_eq!(*last(&events), Event::Committed { cut_connections: 0 });
}

#[tokio::test]
async fn the_last_fifty_are_remembered() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    let missing =
        |release: u64| start_with(release, |it| it.source = Some(image("example.com/none:1")));
    for release in 1..=52 {
        assert_eq!(*last(&agent.deploy(missing(release)).await), Event::Undone);
    }
    let agent = restart(&machine, agent).await;
    assert_eq!(std::fs::read_dir(machine.dir.path().join("deploys")).unwrap().count(), 50);
    let gone = agent.deploys.observe(Uuid::from_u128(2), 0).await.unwrap_err();
    assert_eq!(Problem::from(gone).code, "SW-DEPLOYMENT-MISSING");
    let mut kept = agent.deploys.observe(Uuid::from_u128(3), 0).await.unwrap();
    well_formed(&to_end(&mut kept).await);
}

#[tokio::test]
async fn a_host_name_belongs_to_one_app() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    let named = |release, app: &str| {
        start_with(release, |it| {
            it.app = app.to_owned();
            it.domains = vec!["www.example.com".to_owned()];
        })
    };
    agent.deploy(named(1, "web")).await;
    let error = agent.open(named(2, "api")).await.unwrap_err();
    assert_eq!(Problem::from(error).code, "SW-DOMAIN-TAKEN");
    agent.deploy(named(3, "web")).await;
}

#[tokio::test]
async fn a_disk_that_cannot_hold_it_is_found_before_anything_begins() {
    let machine = Machine::new();
    let agent = machine.agent_with(|it| it.min_free_bytes = u64::MAX).await;
    let error = agent.open(start(1)).await.unwrap_err();
    assert_eq!(Problem::from(error).code, "SW-DISK-FULL");
    assert!(agent.world.apps.all().is_empty() && machine.docker.calls().is_empty());
}

#[tokio::test]
async fn an_undo_that_docker_resists_goes_on_until_it_is_done() {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    let (mut feed, handle) = agent.attach(start(2)).await;
    until(&mut feed, is_prepared).await;
    let refused = || slipway_engine::Error::Refused {
        act: "remove",
        status: 409,
        message: "busy".to_owned(),
    };
    machine.docker.fail(Call::Remove, "", 3, refused);
    handle.abort("").unwrap();
    assert_eq!(*last(&to_end(&mut feed).await), Event::Undone);
    assert_eq!(machine.containers(), names(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever a disk does to the journal of a deployment that traffic has moved to, the agent
    /// starts, exactly one complete release is served, and the app can be deployed again.
    #[test]
    fn no_damage_to_a_journal_costs_the_app(kind in 0..3_u8, at in 0.0..1.0_f64, noise in any::<u8>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let machine = Machine::new();
            let agent = machine.agent().await;
            agent.deploy(start(1)).await;
            let (mut feed, handle) = agent.attach(start(2)).await;
            handle.activate().unwrap();
            until(&mut feed, is_activated).await;
            drop((feed, handle));
            agent.kill().await;
            let path = journal(machine.dir.path(), 2);
            let mut bytes = std::fs::read(&path).unwrap();
            #[expect(clippy::as_conversions, clippy::cast_possible_truncation, clippy::cast_sign_loss,
                clippy::cast_precision_loss, reason = "a position chosen at random")]
            let at = ((bytes.len() - 1) as f64 * at) as usize;
            match kind {
                0 => bytes[at] ^= noise | 1,
                1 => bytes.truncate(at),
                _ => bytes.extend(std::iter::repeat_n(noise, at)),
            }
            std::fs::write(&path, bytes).unwrap();
            let agent = machine.agent().await;
            if agent.deploys.running(&key()).is_some() {
                let (mut feed, handle) = agent.attach(start(2)).await;
                handle.abort("").unwrap();
                assert!(last(&to_end(&mut feed).await).is_last());
            } else {
                // The journal did not even say what it was about.
                crate::watch::pass(&agent.world, &agent.deploys).await.unwrap();
            }
            let serving = agent.world.apps.get(&key()).unwrap().serving.unwrap().release;
            assert_eq!(machine.traffic.route("web").unwrap().0, serving);
            assert_eq!(machine.running(), names(serving));
            let events = agent.deploy(start(3)).await;
            assert!(matches!(last(&events), Event::Committed { .. }));
            agent.kill().await;
        });
    }
}
