//! The agent is killed at every call to Docker, at every call to the way in and after every event.
//! While it is away one complete release is served (the machine's watcher sees to that at every
//! change), and after it is back the deployment ends as its caller wants.

use std::future::Future;

use super::*;

/// What the caller wants in the end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Want {
    Commit,
    Abort,
}

/// Runs a deployment of release 2 over release 1, kills the agent when `moment` comes, starts it
/// again, and lets the caller come back. Returns whether the moment came before the end.
async fn killed_at<F: Future<Output = ()>>(
    moment: impl FnOnce(Machine2) -> F,
    want: Want,
    label: &str,
) -> bool {
    let machine = Machine::new();
    let agent = machine.agent().await;
    agent.deploy(start(1)).await;
    machine.docker.clear_calls();
    let (mut feed, handle) = agent.attach(start(2)).await;
    handle.activate().unwrap();
    handle.commit().unwrap();
    let observed = agent.deploys.observe(start(2).deploy_id, 0).await.unwrap();
    let seen = Machine2 {
        docker: machine.docker.clone(),
        traffic: machine.traffic.clone(),
        feed: observed,
    };
    let came = tokio::select! {
        () = moment(seen) => true,
        _ = to_end(&mut feed) => false,
    };
    drop((feed, handle));
    agent.kill().await;
    let (release, targets) = machine.traffic.route("web").unwrap();
    assert_eq!(targets.len(), 2, "{label}: release {release} is served in part");

    let agent = machine.agent().await;
    let Attached { mut events, handle } = agent.open(start(2)).await.unwrap();
    if let Some(handle) = &handle {
        match want {
            Want::Commit => {
                handle.activate().unwrap();
                handle.commit().unwrap();
            }
            Want::Abort => handle.abort("").unwrap(),
        }
    }
    let events = to_end(&mut events).await;
    well_formed(&events);
    let committed = matches!(last(&events), Event::Committed { .. });
    assert!(committed || want == Want::Abort, "{label}: {events:?}");
    let serving = if committed { 2 } else { 1 };
    assert_eq!(machine.traffic.route("web").unwrap().0, serving, "{label}");
    assert_eq!(machine.running(), names(serving), "{label}");
    let kept = if committed { [names(1), names(2)].concat() } else { names(1) };
    assert_eq!(machine.containers(), kept, "{label}");
    assert_eq!(agent.world.apps.get(&key()).unwrap().serving.unwrap().release, serving, "{label}");
    assert_eq!(agent.deploys.running(&key()), None, "{label}");
    agent.kill().await;
    came
}

/// What a moment can be told by.
struct Machine2 {
    docker: Fake,
    traffic: FakeTraffic,
    feed: Feed,
}

#[tokio::test]
async fn killed_at_every_call_to_docker() {
    for want in [Want::Commit, Want::Abort] {
        for n in 1.. {
            let moment = async |it: Machine2| {
                let docker = it.docker.clone();
                it.docker.until(|_| n <= docker.calls().len()).await;
            };
            if !killed_at(moment, want, &format!("{want:?} at call {n}")).await {
                assert!(10 < n, "the deployment made only {n} calls");
                break;
            }
        }
    }
}

#[tokio::test]
async fn killed_at_every_call_to_the_way_in() {
    for want in [Want::Commit, Want::Abort] {
        // The first release made one.
        for n in 2.. {
            let moment = async |it: Machine2| it.traffic.until(n).await;
            if !killed_at(moment, want, &format!("{want:?} at call {n}")).await {
                assert!(3 < n, "the deployment made only {n} calls");
                break;
            }
        }
    }
}

#[tokio::test]
async fn killed_after_every_event() {
    for want in [Want::Commit, Want::Abort] {
        for seq in 1.. {
            let moment = async |mut it: Machine2| loop {
                match it.feed.next().await.unwrap() {
                    Some(stamped) if seq <= stamped.seq => return,
                    Some(_) => (),
                    None => std::future::pending().await,
                }
            };
            if !killed_at(moment, want, &format!("{want:?} after event {seq}")).await {
                assert!(10 < seq, "the deployment had only {seq} events");
                break;
            }
        }
    }
}
