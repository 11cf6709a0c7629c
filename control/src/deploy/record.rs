//! Writes what the agents tell into the deployment's events: in batches, each event once, however
//! often an agent repeats it.

use std::{collections::HashMap, time::Duration};

use slipway_host::{Chain, failpoint};
use slipway_store::{Epoch, Error, NewEvent, OperationId, System};
use tokio::sync::mpsc;
use tracing::warn;

use super::{drive::Heard, event::recorded};

/// Events that wait to be written before an agent has to.
pub(super) const WAITING: usize = 512;
/// Events in one write.
const BATCH: usize = 256;
/// Wait before a failed write is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// How far each agent's events are recorded, by server.
pub(super) type Cursors = HashMap<String, u64>;

/// Reads how far the agents' events were recorded by an earlier process.
pub(super) async fn cursors(system: &System, operation: OperationId) -> Result<Cursors, Error> {
    use futures::TryStreamExt as _;

    let events = system.tail(operation, 0, slipway_store::Follow::No);
    events
        .try_fold(Cursors::new(), |mut cursors, event| async move {
            if !event.server.is_empty() {
                *cursors.entry(event.server).or_default() += 1;
            }
            Ok(cursors)
        })
        .await
}

/// Writes until nobody can send any more, or until another replica has taken over.
pub(super) async fn record(
    system: System,
    operation: OperationId,
    epoch: Epoch,
    mut cursors: Cursors,
    mut heard: mpsc::Receiver<Heard>,
) -> Result<(), Error> {
    let mut waiting = Vec::with_capacity(BATCH);
    while heard.recv_many(&mut waiting, BATCH).await > 0 {
        let events: Vec<NewEvent> = waiting
            .drain(..)
            .filter(|it| {
                let cursor = cursors.entry(it.server.to_string()).or_default();
                let news = it.event.seq > *cursor;
                *cursor = (*cursor).max(it.event.seq);
                news
            })
            .map(|it| recorded(&it.server, &it.event))
            .collect();
        if events.is_empty() {
            continue;
        }
        failpoint!("control.deploy.events.before");
        append(&system, operation, epoch, events).await?;
        failpoint!("control.deploy.events.after");
    }
    Ok(())
}

/// Appends, and goes on trying when the store does not take it: an event that is lost here would be
/// a gap for every reader.
async fn append(
    system: &System,
    operation: OperationId,
    epoch: Epoch,
    events: Vec<NewEvent>,
) -> Result<(), Error> {
    loop {
        match system.append(operation, epoch, events.clone()).await {
            Ok(_) => return Ok(()),
            Err(error @ (Error::Fenced { .. } | Error::Closed)) => return Err(error),
            Err(error) => {
                warn!(operation.id = %operation, error = %Chain(&error), "could not write events");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
