//! What should happen.

use super::harness::*;
use crate::fleet::fake::Stage;

#[test]
fn each_source_ends_as_the_serving_release() {
    let world = World::new();
    world.live(async |control| {
        control.server(&control.user.clone(), "otter").await;
        for (request, release) in [(image("web"), 1), (git("web"), 2), (code_of("web"), 3)] {
            let started = control.deploy(request).await;
            let id = started.id;
            if started.upload.is_some() {
                let (bytes, end) = archive();
                send(started, &bytes, end).await;
            }
            let done = control.done(id).await;
            assert!(done.success, "{:?}", done.error);
            assert_eq!(done.release, release);
            assert_eq!(done.servers[0].urls, ["http://fake/"]);
        }
    });
    let (bytes, _) = archive();
    world.fleet.agent("otter").with(|agent| {
        assert_eq!(agent.serving["web.production"], 3);
        assert!(agent.deployments.iter().all(|it| it.stage == Stage::Committed));
        assert_eq!(agent.deployments[2].received, bytes);
        let spec = agent.deployments[1].start.spec.clone().unwrap();
        assert_eq!(spec.secrets["PASSWORD"], "hunter2-secret");
    });
}
