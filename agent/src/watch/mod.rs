//! Brings what is back to what should be: at the start of the agent, after a restart of Docker, and
//! every now and then.
//!
//! One loop. A pass takes no input: it reads the records, looks at Docker and at the switch,
//! compares ([`plan`]), and acts. It is safe to repeat and to cut short; the next pass is the retry.
//! Apps that are being deployed or acted upon are left alone. What is not in a record is removed only
//! when it belongs to an app that has one: a lost record must not cost a running app.

pub mod plan;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use plan::{Found, Step};
use slipway_engine::{Engine as _, container::Status};
use slipway_proto::problem::Problem;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    app::{AppRecord, act},
    deploy::{
        Deploys, REPAIRED,
        run::{Making, bring_up, keep_up},
    },
    world::{Outside, Traffic as _, World},
};

/// The longest time between two passes.
const EVERY: Duration = Duration::from_secs(30);
/// Pause before Docker is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Makes passes until `stop`.
pub async fn run<O: Outside>(world: Arc<World<O>>, deploys: Deploys<O>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(problem) = pass(&world, &deploys).await {
            warn!(code = %problem.code, "{}; the next pass tries again", problem.message);
        }
        let gone = async {
            // The stream ends with the daemon. What it tells is read anew by the pass.
            if let Ok(mut events) = world.engine().events(None).await {
                while let Some(Ok(_)) = events.next().await {}
            }
            sleep(AGAIN).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(EVERY) => (),
            () = gone => (),
        }
    }
}

/// One pass over all apps. One that cannot be repaired does not keep the others from it.
///
/// # Errors
/// The last app's that could not be repaired.
pub async fn pass<O: Outside>(world: &World<O>, deploys: &Deploys<O>) -> Result<(), Problem> {
    let mut outcome = Ok(());
    for record in world.apps.all() {
        if let Err(problem) = app(world, deploys, &record).await {
            outcome = Err(problem);
        }
    }
    outcome
}

async fn app<O: Outside>(
    world: &World<O>,
    deploys: &Deploys<O>,
    record: &AppRecord,
) -> Result<(), Problem> {
    if plan::plan(record, &look(world, record).await?).is_empty() {
        return Ok(());
    }
    // Someone is at work here already.
    let Some(_claim) = deploys.try_claim(&record.key, REPAIRED) else { return Ok(()) };
    // What was seen before may have been theirs.
    let Some(record) = world.apps.get(&record.key) else { return Ok(()) };
    for step in plan::plan(&record, &look(world, &record).await?) {
        info!(app = %record.key, %step, "repairing");
        act_on(world, &record, step).await?;
    }
    Ok(())
}

async fn look<O: Outside>(world: &World<O>, record: &AppRecord) -> Result<Found, Problem> {
    let listed = world.engine().containers(&world.names.of(&record.key)).await?;
    let up = |status| matches!(status, Status::Running | Status::Restarting | Status::Paused);
    Ok(Found {
        containers: listed.into_iter().map(|it| (it.name, up(it.status))).collect(),
        generation: world.traffic().generation(&record.key).await?,
    })
}

async fn act_on<O: Outside>(
    world: &World<O>,
    record: &AppRecord,
    step: Step,
) -> Result<(), Problem> {
    match step {
        Step::Start(name) => Ok(world.engine().start(&name).await?),
        Step::Make(name) => make(world, record, &name).await,
        Step::Route(release) => {
            let Some(serving) = &record.serving else { return Ok(()) };
            world.traffic().serve(&record.site(), release, &serving.targets()).await
        }
        Step::Halt => act::halt(world, record).await,
        Step::Remove(name) => {
            world.engine().remove(&name).await?;
            world.addresses.release(&record.key, vec![name]).await
        }
        Step::Forget => {
            world.engine().remove_network(&world.names.network(&record.key)).await?;
            world.addresses.forget(&record.key).await?;
            world.apps.remove(&record.key).await
        }
    }
}

/// Makes a container of the serving release again, at the address that it had.
async fn make<O: Outside>(world: &World<O>, record: &AppRecord, name: &str) -> Result<(), Problem> {
    let Some(serving) = &record.serving else { return Ok(()) };
    let Some(spec) = world.apps.spec(&record.key, serving.release).await? else {
        return Err(Problem::internal(format!("`{name}` is lost, and so is what it was made of")));
    };
    let placed = serving.containers.iter().enumerate().find(|it| it.1.name == name);
    let Some((index, placed)) = placed else { return Ok(()) };
    let n = u16::try_from(index + 1).unwrap_or(u16::MAX);
    let making = Making {
        spec: &spec,
        release: serving.release,
        deploy_id: serving.deploy_id,
        image: &serving.image,
    };
    let container = making.container(world, (n, name, placed.address))?;
    bring_up(world, &container).await?;
    Ok(keep_up(world, name).await?)
}
