//! Writes what the agents tell into the deployment's events: in batches, and each event once,
//! however often an agent repeats it. How far an agent's events are written is noted with them.

use std::{collections::HashMap, time::Duration};

use slipway_host::{Chain, failpoint};
use slipway_store::{Error as StoreError, EventBody, NewEvent, Seen, ServerId};
use tokio::sync::mpsc;
use tracing::warn;

use super::{drive::Heard, event::recorded};
use crate::operation::{Error, Run};

/// Events that wait to be written before an agent has to.
pub(super) const WAITING: usize = 512;
/// Events in one write.
const BATCH: usize = 256;
/// Log lines of one phase in a row that are still written each as its own event.
const LINES: usize = 16;
/// Longest event that lines are put together to.
const TOGETHER: usize = 16 << 10;
/// Wait before a failed write is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// How far each agent's events are recorded.
pub(super) type Cursors = HashMap<ServerId, u64>;

/// Writes until nobody can send any more, or until another replica has taken over.
pub(super) async fn record(
    run: Run,
    mut cursors: Cursors,
    mut heard: mpsc::Receiver<Heard>,
) -> Result<(), Error> {
    let mut waiting = Vec::with_capacity(BATCH);
    while heard.recv_many(&mut waiting, BATCH).await > 0 {
        for (server, told) in by_server(waiting.drain(..)) {
            let cursor = cursors.entry(server).or_default();
            let news: Vec<_> = told.into_iter().filter(|it| *cursor < it.event.seq).collect();
            let Some(newest) = news.iter().map(|it| it.event.seq).max() else { continue };
            *cursor = newest;
            let events = together(news.iter().filter_map(|it| recorded(&it.server, &it.event)));
            failpoint!("control.deploy.events.before");
            append(&run, events, Seen { server, agent_seq: newest }).await?;
            failpoint!("control.deploy.events.after");
        }
    }
    Ok(())
}

/// Sorts what was heard by server, each in its own order.
fn by_server(heard: impl Iterator<Item = Heard>) -> Vec<(ServerId, Vec<Heard>)> {
    let mut sorted: Vec<(ServerId, Vec<Heard>)> = Vec::new();
    for it in heard {
        match sorted.iter_mut().find(|(server, _)| *server == it.server_id) {
            Some((_, told)) => told.push(it),
            None => sorted.push((it.server_id, vec![it])),
        }
    }
    sorted
}

/// Puts many log lines in a row together, and keeps only the last of several reports of progress.
fn together(events: impl Iterator<Item = NewEvent>) -> Vec<NewEvent> {
    let mut out: Vec<NewEvent> = Vec::new();
    let mut lines = 0;
    for event in events {
        let same = out.last().is_some_and(|it| it.phase == event.phase);
        lines = if same { lines + 1 } else { 0 };
        match (out.last_mut().filter(|_| same).map(|it| &mut it.body), &event.body) {
            (Some(EventBody::Log { message }), EventBody::Log { message: line })
                if LINES <= lines && message.len() + line.len() < TOGETHER =>
            {
                message.push('\n');
                message.push_str(line);
            }
            (
                Some(EventBody::Progress { current, total, unit, item }),
                EventBody::Progress { current: c, total: t, unit: u, item: i },
            ) if unit == u && item == i => {
                (*current, *total) = (*c, *t);
            }
            _ => out.push(event),
        }
    }
    out
}

/// Appends, and goes on trying when the store does not take it: an event that is lost here would be
/// a gap for every reader.
async fn append(run: &Run, events: Vec<NewEvent>, seen: Seen) -> Result<(), Error> {
    loop {
        match run.append_seen(events.clone(), seen).await {
            Ok(_) => return Ok(()),
            Err(Error::Store { source, action })
                if !matches!(source, StoreError::Fenced { .. } | StoreError::Closed) =>
            {
                let id = run.id();
                warn!(operation.id = %id, error = %Chain(&source), "could not {action}");
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(events: Vec<NewEvent>) -> Vec<String> {
        let show = |it: NewEvent| match it.body {
            EventBody::Log { message } => format!("{} {}", it.phase, message.replace('\n', "/")),
            EventBody::Progress { current, item, .. } => format!("{} {item} {current}", it.phase),
            other => format!("{} {other:?}", it.phase),
        };
        together(events.into_iter()).into_iter().map(show).collect()
    }

    fn progress(item: &str, current: u64) -> NewEvent {
        let body =
            EventBody::Progress { current, total: 9, unit: "bytes".into(), item: item.to_owned() };
        NewEvent::new("source", body)
    }

    #[test]
    fn a_flood_of_lines_becomes_few_events_and_loses_none() {
        let lines = (0..200).map(|it| NewEvent::log("build", format!("line {it}")));
        let events = shown(lines.chain([NewEvent::log("start", "x")]).collect());
        assert!(events.len() < 30, "{}", events.len());
        assert_eq!(events.last().unwrap(), "start x");
        let all = events.join("/");
        for line in 0..200 {
            assert!(all.contains(&format!("line {line}")), "line {line}");
        }
    }

    #[test]
    fn few_lines_stay_apart() {
        let lines = (0..3).map(|it| NewEvent::log("build", it.to_string())).collect();
        assert_eq!(shown(lines), ["build 0", "build 1", "build 2"]);
    }

    #[test]
    fn of_progress_the_last_report_of_each_part_is_kept() {
        let events = vec![progress("a", 1), progress("a", 2), progress("b", 1), progress("b", 3)];
        assert_eq!(shown(events), ["source a 2", "source b 3"]);
    }
}
