//! The old release retires, the new one is recorded.
//!
//! The durable moment is the app's record naming the new release. Until then an abort is heard;
//! from then on there is only forward.

use slipway_engine::Engine as _;
use slipway_host::failpoint;

use super::{
    super::{
        Error,
        deployment::{Deployment, Interrupt},
        event::{Event, Phase},
        plan::{self, Moved, Step},
        record::Mark,
    },
    Halt, again, give_up, start,
};
use crate::{
    app::{AppRecord, Release},
    world::{Outside, Traffic as _, World},
};

/// Retires the old release and keeps the new one. Safe to repeat from any point.
pub(super) async fn run<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
) -> Result<(), Error> {
    let (key, number) = (deployment.key(), deployment.opened.release);
    let before = world.apps.get(key).unwrap_or_else(|| AppRecord::new(key.clone()));
    let release = release(deployment);
    let after = before.with_serving(release.clone(), world.clock.now_micros());
    let moved = Moved {
        containers: start::seen(world, deployment).await.map_err(|it| again(it.into()))?,
        specs: world.apps.specs(key).await.map_err(again)?,
        before,
        after,
    };
    let recorded = moved.before.serving.as_ref().is_some_and(|it| it.deploy_id == deployment.id());
    let old_grace =
        moved.before.serving.as_ref().map_or(deployment.spec.stop_grace, |it| it.stop_grace);
    let mut cut = 0;
    let mut undoable = !recorded;
    let mut begun = None;
    for step in plan::commit(number, &world.names.images(key), &moved) {
        if undoable && let Some(reason) = deployment.abort_reason() {
            return give_up(deployment, Halt::Interrupt(Interrupt::Aborted(reason))).await;
        }
        if begun.is_none() && !matches!(step, Step::Drain(_)) {
            begun = Some(deployment.recorder.begin(Phase::Commit).await);
        }
        match step {
            Step::Drain(old) => cut = drain(world, deployment, old).await?,
            Step::Stop(name) => {
                failpoint!("agent.deploy.stop.before");
                let stop = || world.engine().stop(&name, old_grace);
                world.patiently(stop).await.map_err(|it| again(it.into()))?;
                failpoint!("agent.deploy.stop.after");
            }
            Step::Record(_) => {
                record(world, deployment, release.clone()).await?;
                undoable = false;
            }
            Step::Remove(name) => {
                failpoint!("agent.deploy.remove.before");
                let remove = || world.engine().remove(&name);
                world.patiently(remove).await.map_err(|it| again(it.into()))?;
                world.addresses.release(key, vec![name]).await.map_err(again)?;
                failpoint!("agent.deploy.remove.after");
            }
            Step::Untag(tag) => untag(world, &tag).await?,
            Step::Forget(old) => world.apps.remove_spec(key, old).await.map_err(again)?,
            _ => (),
        }
    }
    if let Some(begun) = begun {
        deployment.recorder.done(begun).await;
    }
    failpoint!("agent.deploy.committed.before");
    let event = Event::Committed { cut_connections: cut };
    deployment.announce(event, Mark::Committed).await?;
    failpoint!("agent.deploy.committed.after");
    Ok(())
}

/// Lets requests on the old release end, and cuts what does not. An abort ends the waiting.
async fn drain<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
    old: u64,
) -> Result<u64, Error> {
    let begun = deployment.recorder.begin(Phase::Drain).await;
    failpoint!("agent.deploy.drain.before");
    let drained = tokio::select! {
        biased;
        _ = deployment.aborted() => return Ok(0),
        drained = world.traffic().drain(deployment.key(), old, deployment.drain_timeout()) => drained,
    };
    failpoint!("agent.deploy.drain.after");
    let cut = drained.map_err(again)?;
    deployment.recorder.done(begun).await;
    Ok(cut)
}

async fn record<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
    release: Release,
) -> Result<(), Error> {
    let at = world.clock.now_micros();
    failpoint!("agent.deploy.record.before");
    let change = move |it: &mut AppRecord| {
        *it = it.with_serving(release, at);
        Ok(())
    };
    world.apps.update(deployment.key(), change).await.map_err(again)?;
    failpoint!("agent.deploy.record.after");
    let sealed = world.apps.seal_spec(deployment.opened.release, &deployment.spec).await;
    sealed.map_err(again)
}

/// Takes a name from an image; the image goes with its last one.
pub(super) async fn untag<O: Outside>(world: &World<O>, tag: &str) -> Result<(), Error> {
    failpoint!("agent.deploy.untag.before");
    let removed = world.patiently(|| world.engine().remove_image(tag)).await;
    failpoint!("agent.deploy.untag.after");
    match removed {
        Ok(()) => Ok(()),
        Err(error) if error.is_missing() => Ok(()),
        // Someone runs a container of their own from it. It stays, and hurts nobody.
        Err(slipway_engine::Error::InUse { .. }) => Ok(()),
        Err(error) => Err(again(error.into())),
    }
}

/// What is remembered of the new release.
fn release(deployment: &Deployment) -> Release {
    let facts = deployment.facts();
    let unknown = super::super::Image {
        id: String::new(),
        port: slipway_proto::spec::DEFAULT_PORT,
        git_commit: None,
        digest: None,
    };
    Release {
        release: deployment.opened.release,
        deploy_id: deployment.id(),
        service: deployment.spec.service.clone(),
        image: facts.image.clone().unwrap_or(unknown),
        containers: facts.containers.clone(),
        domains: deployment.spec.domains.clone(),
        path: deployment.spec.health.path.clone(),
        drain_timeout: deployment.spec.drain_timeout,
        stop_grace: deployment.spec.stop_grace,
    }
}
