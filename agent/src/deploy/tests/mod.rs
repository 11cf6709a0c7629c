//! The whole state machine against an in-memory Docker and an in-memory way in. Containers listen on
//! loopback addresses, so health checks are real.

mod crash;
mod flow;
mod hostile;

use std::{path::Path, sync::Arc, time::Duration};

use slipway_engine::{Fake, container::Status, fake::Behavior, image::ImageConfig};
use slipway_host::{clock::Clock, redact::Redactor};
use slipway_proto::{agent::v1 as wire, spec::AppSpec, value::AppKey};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{Attached, Deploys, Error, Event, Feed, Handle, Stamped, Start};
use crate::{
    app::{Addresses, Store},
    world::{Names, Parts, Settings, World, fake::FakeTraffic, probe::Direct},
};

pub(crate) type Outside = Parts<Fake, FakeTraffic, Direct>;

/// Longer than anything here may take, on a machine that is busy with other things.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A machine: what outlives the agent.
pub(crate) struct Machine {
    pub(crate) dir: TempDir,
    pub(crate) docker: Fake,
    pub(crate) traffic: FakeTraffic,
    pub(crate) second: u8,
    _watcher: JoinSet<()>,
}

/// An agent on it.
pub(crate) struct Agent {
    pub(crate) world: Arc<World<Outside>>,
    pub(crate) deploys: Deploys<Outside>,
}

/// Each test has loopback addresses of its own, since all share one machine.
fn second() -> u8 {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(0);
    // Tests also run as processes of their own, side by side.
    let pid = u8::try_from(std::process::id() % 97).unwrap();
    100_u8.wrapping_add(pid).wrapping_add(NEXT.fetch_add(1, Ordering::SeqCst)).max(2)
}

impl Machine {
    pub(crate) fn new() -> Self {
        let docker = Fake::default();
        let traffic = FakeTraffic::new();
        for release in 1..=9 {
            let reference = format!("example.com/web:{release}");
            let behavior = Behavior::serves(format!("release {release}"));
            docker.publish(&reference, config(), behavior, None);
        }
        let mut watcher = JoinSet::new();
        watcher.spawn(watch(docker.clone(), traffic.clone()));
        let dir = tempfile::tempdir().unwrap();
        Self { dir, docker, traffic, second: second(), _watcher: watcher }
    }

    pub(crate) async fn agent(&self) -> Agent {
        self.agent_with(|_| ()).await
    }

    pub(crate) async fn agent_with(&self, change: impl FnOnce(&mut Settings)) -> Agent {
        let state_dir = self.dir.path().to_owned();
        let pool = format!("127.{}.0.0/16", self.second).parse().unwrap();
        let outside = Parts {
            engine: self.docker.clone(),
            traffic: self.traffic.clone(),
            probe: Direct::default(),
        };
        let mut settings = Settings {
            min_free_bytes: 1,
            docker_root: state_dir.clone(),
            patience: Duration::from_secs(20),
            ..Settings::default()
        };
        change(&mut settings);
        let world = Arc::new(World {
            outside,
            apps: Store::open(&state_dir.join("apps")).unwrap(),
            addresses: Addresses::open(&state_dir.join("network.json"), pool, 40_000..=40_999)
                .unwrap(),
            names: Names::new("slipway"),
            settings,
            state_dir,
            redactor: Redactor::new(),
            clock: Clock::system(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        let deploys = Deploys::new(Arc::clone(&world));
        deploys.recover().await.unwrap();
        Agent { world, deploys }
    }

    /// Names of the containers that run.
    pub(crate) fn running(&self) -> Vec<String> {
        let all = self.docker.statuses().into_iter();
        all.filter(|it| it.1 == Status::Running).map(|it| it.0).collect()
    }

    pub(crate) fn containers(&self) -> Vec<String> {
        self.docker.statuses().into_iter().map(|it| it.0).collect()
    }
}

fn config() -> ImageConfig {
    ImageConfig { tcp_ports: vec![8080], ..ImageConfig::default() }
}

/// At every change of the world: whatever gets requests runs, and is one complete release.
async fn watch(docker: Fake, traffic: FakeTraffic) {
    let seen = docker.clone();
    docker
        .until(|containers| {
            let Some((release, targets)) = traffic.route("web") else { return false };
            for target in &targets {
                let serves = containers
                    .iter()
                    .any(|it| it.running() && it.address.map(Into::into) == Some(target.ip()));
                assert!(
                    serves,
                    "release {release} gets requests at {target}, where nothing runs: {:?}",
                    seen.calls()
                );
            }
            false
        })
        .await;
}

impl Agent {
    /// Ends the agent at the next point at which it waits, wherever that is; nothing is cleaned up.
    pub(crate) async fn kill(self) {
        self.world.stop.cancel();
        self.world.tasks.close();
        timeout(LIMIT, self.world.tasks.wait()).await.expect("a task outlived its agent");
    }

    pub(crate) async fn open(&self, start: Start) -> Result<Attached, Error> {
        timeout(LIMIT, self.deploys.open(start)).await.expect("opening took too long")
    }

    pub(crate) async fn attach(&self, start: Start) -> (Feed, Handle) {
        let Attached { events, handle } = self.open(start).await.unwrap();
        (events, handle.expect("the deployment is over"))
    }

    /// Deploys to the end.
    pub(crate) async fn deploy(&self, start: Start) -> Vec<Stamped> {
        let Attached { mut events, handle } = self.open(start).await.unwrap();
        if let Some(handle) = &handle {
            handle.activate().unwrap();
            handle.commit().unwrap();
        }
        to_end(&mut events).await
    }
}

/// All events to the end of the stream.
pub(crate) async fn to_end(feed: &mut Feed) -> Vec<Stamped> {
    let mut all = Vec::new();
    while let Some(stamped) = timeout(LIMIT, feed.next()).await.expect("no event came").unwrap() {
        all.push(stamped);
    }
    all
}

/// Events up to the first one that is meant.
pub(crate) async fn until(feed: &mut Feed, meant: impl Fn(&Event) -> bool) -> Vec<Stamped> {
    let mut all = Vec::new();
    while let Some(stamped) = timeout(LIMIT, feed.next()).await.expect("no event came").unwrap() {
        let found = meant(&stamped.event);
        all.push(stamped);
        if found {
            return all;
        }
    }
    panic!("the events ended before: {all:?}");
}

pub(crate) fn is_prepared(event: &Event) -> bool {
    matches!(event, Event::Prepared { .. })
}

pub(crate) fn is_activated(event: &Event) -> bool {
    matches!(event, Event::Activated { .. })
}

pub(crate) fn failure(events: &[Stamped]) -> &super::event::Failure {
    let failed = events.iter().find_map(|it| match &it.event {
        Event::Failed(failure) => Some(failure),
        _ => None,
    });
    failed.unwrap_or_else(|| panic!("nothing failed: {events:?}"))
}

pub(crate) fn last(events: &[Stamped]) -> &Event {
    &events.last().expect("no event came").event
}

pub(crate) fn key() -> AppKey {
    "web".parse().unwrap()
}

/// The n-th release: an image of a registry, two containers, an HTTP check.
pub(crate) fn start(release: u64) -> Start {
    start_with(release, |_| ())
}

pub(crate) fn start_with(release: u64, change: impl FnOnce(&mut wire::AppSpec)) -> Start {
    let mut wire = wire::AppSpec {
        app: "web".to_owned(),
        source: Some(image(&format!("example.com/web:{release}"))),
        replicas: 2,
        health: Some(wire::HealthCheck {
            path: "/up".to_owned(),
            interval: Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }),
            timeout: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
        }),
        ..Default::default()
    };
    change(&mut wire);
    Start {
        deploy_id: Uuid::from_u128(release.into()),
        epoch: 1,
        release,
        spec: AppSpec::try_from(wire).unwrap(),
        hold: None,
        after_seq: 0,
    }
}

pub(crate) fn image(reference: &str) -> wire::Source {
    let reference = reference.to_owned();
    let source = wire::ImageSource { reference, ..Default::default() };
    wire::Source { kind: Some(wire::source::Kind::Image(source)) }
}

pub(crate) fn names(release: u64) -> Vec<String> {
    vec![format!("slipway-web-web-{release}-1"), format!("slipway-web-web-{release}-2")]
}

pub(crate) fn journal(dir: &Path, release: u64) -> std::path::PathBuf {
    dir.join("deploys").join(Uuid::from_u128(release.into()).to_string()).join("journal")
}

/// Numbers without a gap, and exactly one last event, at the end.
#[track_caller]
pub(crate) fn well_formed(events: &[Stamped]) {
    let seqs: Vec<u64> = events.iter().map(|it| it.seq).collect();
    assert!(seqs.windows(2).all(|it| it[1] == it[0] + 1), "{seqs:?}");
    assert_eq!(events.iter().filter(|it| it.event.is_last()).count(), 1, "{events:?}");
    assert!(last(events).is_last());
}
