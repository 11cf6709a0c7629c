//! Traffic to the new release.

use slipway_host::failpoint;
use slipway_proto::problem::Problem;

use super::{
    super::{
        deployment::Deployment,
        event::{Failure, Phase},
    },
    failed, site_of,
};
use crate::world::{Outside, Traffic as _, World};

/// Moves new requests to the new release, and returns where it was seen answering. The old one still
/// runs, and still finishes what it was given.
pub(super) async fn run<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
) -> Result<Vec<String>, Failure> {
    let phase = Phase::Switch;
    let begun = deployment.recorder.begin(phase).await;
    let lost = || Failure::new(Problem::internal("the app's record is gone"), phase);
    let record = world.apps.get(deployment.key()).ok_or_else(lost)?;
    let site = site_of(deployment, &record);
    let targets: Vec<_> = {
        let facts = deployment.facts();
        let port = facts.image.as_ref().map_or(slipway_proto::spec::DEFAULT_PORT, |it| it.port);
        facts.containers.iter().map(|it| (it.address, port).into()).collect()
    };
    failpoint!("agent.deploy.switch.before");
    let served = world.traffic().serve(&site, deployment.opened.release, &targets).await;
    failpoint!("agent.deploy.switch.after");
    served.map_err(failed(phase))?;
    deployment.recorder.done(begun).await;
    Ok(world.traffic().urls(&site))
}
