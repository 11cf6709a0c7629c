//! Everything as it was before, from wherever the deployment stands.

use std::time::Duration;

use slipway_engine::Engine as _;
use slipway_host::failpoint;
use slipway_proto::problem::Problem;
use tokio::time::Instant;
use tracing::warn;

use super::{
    super::{
        Error,
        deployment::Deployment,
        event::{Event, Phase},
        plan::{self, Halfway, Step},
        record::Mark,
    },
    acquire, again, commit, start,
};
use crate::{
    app::AppRecord,
    world::{Outside, STOPPED, Traffic as _, World},
};

/// How long requests on the abandoned release may still run.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the old release may take to answer again.
const OLD_LIMIT: Duration = Duration::from_mins(1);

/// Puts everything back. Safe to repeat from any point.
pub(super) async fn run<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
) -> Result<(), Error> {
    let begun = deployment.recorder.begin(Phase::Undo).await;
    let (key, number) = (deployment.key(), deployment.opened.release);
    let record = world.apps.get(key).unwrap_or_else(|| AppRecord::new(key.clone()));
    if record.serving.as_ref().is_some_and(|it| it.deploy_id == deployment.id()) {
        // The record is the durable moment of a commit; a journal that says less was damaged.
        return deployment.announce(Event::Committed { cut_connections: 0 }, Mark::Committed).await;
    }
    let halfway = Halfway {
        containers: start::seen(world, deployment).await.map_err(|it| again(it.into()))?,
        generation: world.traffic().generation(key).await.map_err(again)?,
        image: world.names.image(key, number),
        record,
    };
    for step in plan::undo(number, &deployment.id().to_string(), &halfway) {
        failpoint!("agent.deploy.undo.before");
        one(world, deployment, &halfway.record, step).await?;
        failpoint!("agent.deploy.undo.after");
    }
    // An archive may be as large as the disk guard lets it be; the journal alone is remembered.
    acquire::discard(deployment).await;
    deployment.recorder.done(begun).await;
    failpoint!("agent.deploy.undone.before");
    deployment.announce(Event::Undone, Mark::Undone).await?;
    failpoint!("agent.deploy.undone.after");
    Ok(())
}

async fn one<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
    record: &AppRecord,
    step: Step,
) -> Result<(), Error> {
    let key = deployment.key();
    let docker = |it: slipway_engine::Error| again(it.into());
    match step {
        Step::Start(name) => world.patiently(|| world.engine().start(&name)).await.map_err(docker),
        Step::AwaitOld => await_old(world, record).await.map_err(again),
        Step::RouteBack(_) => {
            let Some(old) = &record.serving else { return Ok(()) };
            route(world, record, old.release, old.targets()).await
        }
        Step::RouteNowhere => route(world, record, STOPPED, Vec::new()).await,
        Step::Unroute => world.traffic().remove(key).await.map_err(again),
        Step::Drain(release) => {
            let limit = deployment.drain_timeout().min(DRAIN);
            world.traffic().drain(key, release, limit).await.map(drop).map_err(again)
        }
        Step::Stop(name) => {
            let grace = deployment.spec.stop_grace;
            world.patiently(|| world.engine().stop(&name, grace)).await.map_err(docker)
        }
        Step::Remove(name) => {
            // First asked, so that the app can close what it has open; then gone.
            let grace = deployment.spec.stop_grace;
            world.patiently(|| world.engine().stop(&name, grace)).await.map_err(docker)?;
            world.patiently(|| world.engine().remove(&name)).await.map_err(docker)?;
            world.addresses.release(key, vec![name]).await.map_err(again)
        }
        Step::Untag(tag) => commit::untag(world, &tag).await,
        Step::Forget(release) => world.apps.remove_spec(key, release).await.map_err(again),
        Step::ForgetApp => {
            let network = world.names.network(key);
            world.patiently(|| world.engine().remove_network(&network)).await.map_err(docker)?;
            world.addresses.forget(key).await.map_err(again)?;
            world.apps.remove(key).await.map_err(again)
        }
        Step::Make(_) | Step::Record(_) => Ok(()),
    }
}

async fn route<O: Outside>(
    world: &World<O>,
    record: &AppRecord,
    generation: u64,
    targets: Vec<std::net::SocketAddr>,
) -> Result<(), Error> {
    failpoint!("agent.deploy.route-back.before");
    world.traffic().serve(&record.site(), generation, &targets).await.map_err(again)?;
    failpoint!("agent.deploy.route-back.after");
    Ok(())
}

/// Waits until the old release answers again, after it was stopped for a commit that did not come.
async fn await_old<O: Outside>(world: &World<O>, record: &AppRecord) -> Result<(), Problem> {
    let Some(old) = &record.serving else { return Ok(()) };
    let Some(spec) = world.apps.spec(&record.key, old.release).await? else { return Ok(()) };
    let deadline = Instant::now() + OLD_LIMIT.min(spec.health.timeout);
    for placed in &old.containers {
        let check = start::Check {
            health: &spec.health,
            port: old.image.port,
            deadline,
            age: start::Age::Old,
        };
        if let Err(problem) = check.passes(world, placed).await {
            // It is what was there before; there is nothing better to go back to.
            warn!(code = %problem.code, "{}", problem.message);
        }
    }
    Ok(())
}
