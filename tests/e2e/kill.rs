//! kill -9 at every step of a deployment: it ends, done or undone; the app serves all along; the events
//! have no gap.

use std::{collections::BTreeSet, path::Path, time::Duration};

use slipway_tests::{
    lab::{Lab, Part},
    load::{Load, Plan},
    process::Process,
    sample,
};

const WATCH: Plan = Plan { closed: 2, paced: 4, pace: Duration::from_millis(50), slow: 0 };

/// Every failpoint that a redeployment passes in this part.
async fn points(lab: &Lab, part: Part, deploy: &[&str]) -> BTreeSet<String> {
    let log = lab.scratch().join(format!("{}.points", part.name()));
    let vars = [("SLIPWAY_FAILPOINT_LOG", log.to_str().unwrap())];
    let mut process = lab.restart_with(part, &vars).await.unwrap();
    settle(lab, &mut process).await;
    lab.slipway(deploy).await.unwrap().done().unwrap();
    process.kill().await.unwrap();
    lab.up().await.unwrap();
    lines(&log)
}

/// Waits until the part works, or has met its failpoint while it started and was brought back.
async fn settle(lab: &Lab, process: &mut Process) {
    let mut said = None;
    for _ in 0..300 {
        if process.ended(Duration::from_millis(100)).await.is_ok() {
            return lab.up().await.unwrap();
        }
        let answer = lab.slipway(&["server", "health", "--json"]).await.unwrap();
        if answer.done().is_ok() {
            return;
        }
        said = Some(answer);
    }
    // Neither ready nor dead: this fails with what it said last.
    said.unwrap().done().unwrap();
}

fn lines(path: &Path) -> BTreeSet<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

async fn survives_every_kill(part: Part) {
    let lab = Lab::start().await.unwrap();
    let app = lab.scratch().join("web");
    sample::hello_of_version(&app, "0").unwrap();
    let path = app.to_str().unwrap().to_owned();
    let deploy = ["deploy", &path, "-n", "web", "--health-path", "/up", "--json"];
    lab.slipway(&deploy).await.unwrap().done().unwrap();
    let place = lab.place("web").await.unwrap();
    let points = points(&lab, part, &deploy).await;
    assert!(points.len() > 5, "{points:?}");
    let mut serving = "0".to_owned();
    for (number, point) in points.iter().enumerate() {
        let version = (number + 1).to_string();
        sample::set_version(&app, &version).unwrap();
        let load = Load::start(WATCH, place.address, &place.host);
        let mut process =
            lab.restart_with(part, &[("SLIPWAY_FAILPOINT", point.as_str())]).await.unwrap();
        settle(&lab, &mut process).await;
        let ends = async {
            // It may also outlive a point that this deployment does not pass again.
            drop(process.ended(Duration::from_secs(60)).await);
            lab.up().await.unwrap();
        };
        let (said, ()) = tokio::join!(lab.slipway(&deploy), ends);
        let said = said.unwrap();
        let events = said.objects().unwrap();
        if part == Part::Control && events.iter().all(|it| it["type"] == "error") {
            // It was killed before it had accepted anything: the caller was told, and nothing is left.
            let (status, body) = lab.get(&place, "/version").await.unwrap();
            assert_eq!((status, body.trim()), (200, serving.as_str()), "{point}: {said}");
            assert_eq!(load.stop().await.failed, 0, "{point}\n{}", lab.logs());
            continue;
        }
        let seqs: Vec<u64> = events.iter().filter_map(|it| it["seq"].as_u64()).collect();
        let whole: Vec<u64> = (1..).take(seqs.len()).collect();
        assert_eq!(seqs, whole, "{point}: {said}\n{}", lab.logs());
        let last = events.last().unwrap();
        assert_eq!(last["type"], "done", "{point}: {said}\n{}", lab.logs());
        if last["success"] == true {
            serving = version;
        }
        let (status, body) = lab.get(&place, "/version").await.unwrap();
        assert_eq!(
            (status, body.trim()),
            (200, serving.as_str()),
            "{point}: {said}\n{}",
            lab.logs()
        );
        let tally = load.stop().await;
        assert_eq!(tally.failed, 0, "{point}: {:#?}\n{}", tally.failures, lab.logs());
    }
    // And it goes on as if nothing had happened.
    sample::set_version(&app, "last").unwrap();
    lab.slipway(&deploy).await.unwrap().done().unwrap();
    assert_eq!(lab.get(&place, "/version").await.unwrap().1.trim(), "last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_ends_wherever_the_agent_is_killed() {
    survives_every_kill(Part::Agent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_ends_wherever_the_control_plane_is_killed() {
    survives_every_kill(Part::Control).await;
}
