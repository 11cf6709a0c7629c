//! The states of a deployment and the way from one to the next.
//!
//! [`drive`] looks at the state, does what belongs to it, records the next one, and looks again; a
//! restart enters at whatever state the journal holds. The parts, in order:
//!
//! * [`acquire`]: source to image.
//! * [`start`]: image to healthy containers.
//! * [`switch`]: traffic to them.
//! * [`commit`]: the old release retires.
//! * [`undo`]: everything back.
//!
//! What one part proves the next one takes as a value that only it can make: `Acquired`, `Started`,
//! `Healthy`.

mod acquire;
mod commit;
mod start;

mod switch;
mod undo;

pub(crate) use start::{Age, Check, Making, bring_up, keep_up};

use std::time::Duration;

use slipway_host::Chain;
use slipway_proto::problem::{Kind, Problem};
use tracing::{info, warn};

use super::{
    Error,
    deployment::{Deployment, Interrupt},
    event::{Event, Failure, Phase},
    record::{Mark, State},
};
use crate::{
    app::AppRecord,
    world::{Outside, Site, World},
};

/// Takes a deployment from where it stands to its end, or until the agent goes down.
pub(super) async fn drive<O: Outside>(world: &World<O>, deployment: &Deployment) {
    let mut pause = Duration::from_millis(250);
    while !deployment.state().is_over() {
        let outcome = tokio::select! {
            biased;
            () = world.stop.cancelled() => return,
            outcome = advance(world, deployment) => outcome,
        };
        match outcome {
            Ok(()) => pause = Duration::from_millis(250),
            Err(error) => {
                // Nothing here is given up: the next attempt starts from what is true by then.
                warn!(error = %Chain(&error), state = ?deployment.state(), "the step is tried again");
                tokio::select! {
                    () = world.stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => (),
                }
                pause = (pause * 2).min(Duration::from_secs(15));
            }
        }
    }
    info!(state = ?deployment.state(), "the deployment is over");
}

/// Does what belongs to the present state. An error means that it is to be tried again.
async fn advance<O: Outside>(world: &World<O>, deployment: &Deployment) -> Result<(), Error> {
    match deployment.state() {
        State::Preparing => {
            let prepared = tokio::select! {
                biased;
                interrupt = deployment.interrupted() => Err(Halt::Interrupt(interrupt)),
                prepared = Box::pin(prepare(world, deployment)) => prepared.map_err(Halt::Failure),
            };
            match prepared {
                Ok(healthy) => healthy.record(deployment).await,
                Err(halt) => give_up(deployment, halt).await,
            }
        }
        State::Prepared => {
            let halt = tokio::select! {
                biased;
                interrupt = deployment.interrupted() => Some(interrupt),
                () = deployment.ordered(|it| it.activate) => None,
            };
            match halt {
                Some(interrupt) => give_up(deployment, Halt::Interrupt(interrupt)).await,
                None => deployment.mark(Mark::Activating).await,
            }
        }
        State::Activating => {
            let switched = tokio::select! {
                biased;
                reason = deployment.aborted() => Err(Halt::Interrupt(Interrupt::Aborted(reason))),
                switched = Box::pin(switch::run(world, deployment)) => switched.map_err(Halt::Failure),
            };
            match switched {
                Ok(urls) => {
                    let event = Event::Activated { urls: urls.clone() };
                    deployment.announce(event, Mark::Active { urls }).await
                }
                Err(halt) => give_up(deployment, halt).await,
            }
        }
        State::Active => {
            let reason = tokio::select! {
                biased;
                reason = deployment.aborted() => Some(reason),
                () = deployment.ordered(|it| it.commit) => None,
            };
            match reason {
                Some(reason) => {
                    give_up(deployment, Halt::Interrupt(Interrupt::Aborted(reason))).await
                }
                None => deployment.mark(Mark::Committing).await,
            }
        }
        State::Committing => Box::pin(commit::run(world, deployment)).await,
        State::Undoing => Box::pin(undo::run(world, deployment)).await,
        State::Committed | State::Undone => Ok(()),
    }
}

async fn prepare<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
) -> Result<start::Healthy, Failure> {
    if deployment.facts().failed {
        // It failed just before the agent went down; what failed is in the events already.
        let problem = Problem::new(Kind::Conflict, "SW-FAILED", "the deployment had failed");
        return Err(Failure::new(problem, Phase::Undo));
    }
    let acquired = Box::pin(acquire::run(world, deployment)).await?;
    let started = Box::pin(start::run(world, deployment, acquired)).await?;
    started.healthy(world, deployment).await
}

/// Why a deployment turns back.
enum Halt {
    Failure(Failure),
    Interrupt(Interrupt),
}

/// Says why, and turns back.
async fn give_up(deployment: &Deployment, halt: Halt) -> Result<(), Error> {
    let failure = match halt {
        Halt::Failure(failure) => failure,
        Halt::Interrupt(Interrupt::Aborted(reason)) => {
            let reason = if reason.is_empty() { "on request".to_owned() } else { reason };
            deployment.say(Phase::Undo, format!("putting everything back: {reason}")).await;
            return deployment.mark(Mark::Undoing).await;
        }
        Halt::Interrupt(Interrupt::HoldOver) => {
            let hold = deployment.opened.hold;
            let message = format!("its caller has been gone for {hold:?}");
            let problem =
                Problem::new(Kind::Timeout, "SW-HOLD-EXPIRED", message).hint("deploy again");
            Failure::new(problem, Phase::Undo)
        }
    };
    if deployment.facts().failed {
        return deployment.mark(Mark::Undoing).await;
    }
    let failure = deployment.redacted(failure);
    deployment.recorder.broke(failure.phase).await;
    warn!(code = failure.code, phase = ?failure.phase, "{}", failure.message);
    deployment.announce(Event::Failed(failure), Mark::Undoing).await
}

/// Where the app is served once this deployment's release is.
fn site_of(deployment: &Deployment, record: &AppRecord) -> Site {
    let domains = deployment.opened.spec.domains.clone();
    let port = if domains.is_empty() { record.port } else { None };
    let path = deployment.opened.spec.health.path.clone();
    Site { key: deployment.key().clone(), domains, port, path }
}

/// A problem as the failure of a phase.
fn failed(phase: Phase) -> impl Fn(Problem) -> Failure {
    move |problem| Failure::new(problem, phase)
}

/// What Docker said as the failure of a phase.
fn engine_failed(phase: Phase) -> impl Fn(slipway_engine::Error) -> Failure {
    move |error| Failure::new(error.into(), phase)
}

/// A record that could not be written as the failure of a phase.
fn journal_failed(phase: Phase) -> impl Fn(Error) -> Failure {
    move |error| Failure::new(error.into(), phase)
}

/// What kept a step that must succeed from succeeding now.
fn again(problem: Problem) -> Error {
    Error::Refused(problem)
}
