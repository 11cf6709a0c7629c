//! Appending. One task takes what has piled up and commits it as one transaction, so that the cost
//! of a durable commit is shared by everything that waited for it.
//!
//! The row of the counter is locked first and for the whole transaction. So positions become
//! visible in their order, and a reader that goes on after the highest one it saw misses nothing.

use std::collections::HashMap;

use slipway_host::{Chain, clock::Clock, failpoint};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::body::{EventBody, LINE_LIMIT, NewEvent};
use crate::{
    db::{Db, Query, Tx, query},
    error::Error,
    hub::{Hub, Topic},
    id::{At, OperationId, ServerId},
    json,
    store::{Epoch, System},
};

/// Log events of one operation that are kept.
const LOG_LIMIT: i64 = 10_000;

/// What stands in the place of those that are not.
const LOG_CUT: &str = "… further output is not kept";

/// Requests that one transaction takes at most.
const GROUP: usize = 256;

/// Rows per statement, largest first. Few sizes, so that few statements are prepared.
const CHUNKS: [usize; 4] = [128, 16, 4, 1];

/// The last event's number, or why there is none.
type Reply = oneshot::Sender<Result<u64, Error>>;

/// What the writer is asked for.
#[derive(Debug)]
pub(crate) enum Request {
    Append(Append, Reply),
    /// Answer when everything before this is written, then end.
    Close(oneshot::Sender<()>),
}

/// Events of one operation, in order.
#[derive(Debug)]
pub(crate) struct Append {
    operation: OperationId,
    epoch: Epoch,
    events: Vec<NewEvent>,
    seen: Option<Seen>,
}

/// How far an agent's own events are among ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// The agent's server.
    pub server: ServerId,
    /// Number of its newest event.
    pub agent_seq: u64,
}

impl System {
    /// Appends events of an operation and returns the number of the last one, once they are
    /// durable. [`Error::Fenced`] when `epoch` is not the operation's any more.
    ///
    /// Of log events 10,000 are kept, then one line says that there were more. Longer lines than
    /// 64 KiB are cut.
    pub async fn append(
        &self,
        operation: OperationId,
        epoch: Epoch,
        events: Vec<NewEvent>,
    ) -> Result<u64, Error> {
        self.request(Append { operation, epoch, events, seen: None }).await
    }

    /// The same for events that an agent told, noting how far its own are among ours, at once: so
    /// that each of them is there once, whatever happens in between. Read it again with
    /// [`System::deployment_servers`].
    pub async fn append_seen(
        &self,
        operation: OperationId,
        epoch: Epoch,
        events: Vec<NewEvent>,
        seen: Seen,
    ) -> Result<u64, Error> {
        self.request(Append { operation, epoch, events, seen: Some(seen) }).await
    }

    async fn request(&self, append: Append) -> Result<u64, Error> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Append(append, reply);
        self.store.appends().send(request).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

/// The writer task. Ends when the store does.
pub(crate) async fn writer(db: Db, clock: Clock, hub: Hub, mut requests: mpsc::Receiver<Request>) {
    let mut waiting = Vec::with_capacity(GROUP);
    while requests.recv_many(&mut waiting, GROUP).await > 0 {
        let (mut group, mut close) = (Vec::with_capacity(waiting.len()), None);
        for request in waiting.drain(..) {
            match request {
                Request::Append(append, reply) => group.push((append, reply)),
                Request::Close(reply) => close = Some(reply),
            }
        }
        write_group(&db, &clock, &hub, group).await;
        if let Some(reply) = close {
            requests.close();
            // Whoever asked may have gone; the writer ends all the same.
            reply.send(()).unwrap_or(());
            return;
        }
    }
}

async fn write_group(db: &Db, clock: &Clock, hub: &Hub, group: Vec<(Append, Reply)>) {
    if group.is_empty() {
        return;
    }
    let at = At::from_micros(clock.now_micros());
    match write(db, at, &group).await {
        Ok(outcomes) => {
            for ((append, reply), outcome) in group.into_iter().zip(outcomes) {
                settle(hub, append.operation, reply, outcome);
            }
        }
        Err(error) if group.len() > 1 => {
            // One of them may be the cause; alone, each gets its own answer.
            warn!(error = %Chain(&error), requests = group.len(), "a group of events failed; writing each alone");
            for (append, reply) in group {
                let operation = append.operation;
                let one = [(append, reply)];
                let outcome = write(db, at, &one)
                    .await
                    .and_then(|it| it.into_iter().next().unwrap_or(Err(Error::Closed)));
                let [(_, reply)] = one;
                settle(hub, operation, reply, outcome);
            }
        }
        Err(error) => {
            if let Some((append, reply)) = group.into_iter().next() {
                settle(hub, append.operation, reply, Err(error));
            }
        }
    }
}

fn settle(hub: &Hub, operation: OperationId, reply: Reply, outcome: Result<u64, Error>) {
    if outcome.is_ok() {
        hub.poke(Topic::Events(operation));
    }
    // A caller that stopped waiting still has its events.
    drop(reply.send(outcome));
}

/// One transaction. Outer error: nothing was written; inner: this operation's was refused.
async fn write(
    db: &Db,
    at: At,
    group: &[(Append, Reply)],
) -> Result<Vec<Result<u64, Error>>, Error> {
    let mut tx = db.begin().await?;
    let mut appender = Appender::lock(&mut tx, at).await?;
    let mut outcomes = Vec::with_capacity(group.len());
    for (append, _) in group {
        match appender.append(append.operation, append.epoch, append.events.clone()).await {
            Ok(seq) => {
                appender.note(append.operation, append.seen).await?;
                outcomes.push(Ok(seq));
            }
            Err(error @ Error::Fenced { .. }) => outcomes.push(Err(error)),
            Err(error) => return Err(error),
        }
    }
    appender.finish().await?;
    failpoint!("store.append.before");
    tx.commit().await?;
    failpoint!("store.append.after");
    Ok(outcomes)
}

/// Appends within a transaction. Lock it before any other row, so that transactions agree on the
/// order of locks.
pub(crate) struct Appender<'tx> {
    tx: &'tx mut Tx,
    at: At,
    pos: i64,
    rows: Vec<Row>,
    marks: HashMap<OperationId, Mark>,
}

/// How far an operation has come in this transaction.
#[derive(Clone, Copy)]
struct Mark {
    epoch: Epoch,
    seq: i64,
    logs: i64,
}

struct Row {
    pos: i64,
    operation: OperationId,
    seq: i64,
    event: NewEvent,
}

impl<'tx> Appender<'tx> {
    pub(crate) async fn lock(tx: &'tx mut Tx, at: At) -> Result<Self, Error> {
        const LOCK: &str = "update counter set value = value where name = 'event' returning value";
        let (pos,): (i64,) = tx.one(query("lock the events", LOCK)).await?;
        Ok(Self { tx, at, pos, rows: Vec::new(), marks: HashMap::new() })
    }

    /// The transaction, for what else has to happen in it.
    pub(crate) fn tx(&mut self) -> &mut Tx {
        self.tx
    }

    /// Adds events of one operation; they are written by [`Appender::finish`].
    pub(crate) async fn append(
        &mut self,
        operation: OperationId,
        epoch: Epoch,
        events: Vec<NewEvent>,
    ) -> Result<u64, Error> {
        let mut mark = match self.marks.get(&operation).copied() {
            Some(mark) if mark.epoch == epoch => mark,
            Some(_) => return Err(Error::Fenced { operation }),
            None => self.read(operation, epoch).await?,
        };
        let (pos, kept) = (self.pos, self.rows.len());
        for event in events {
            let Some(event) = keep(event, &mut mark.logs) else { continue };
            mark.seq += 1;
            self.pos += 1;
            self.rows.push(Row { pos: self.pos, operation, seq: mark.seq, event });
        }
        if let Err(error) = self.advance(operation, mark).await {
            self.rows.truncate(kept);
            self.pos = pos;
            return Err(error);
        }
        self.marks.insert(operation, mark);
        Ok(u64::try_from(mark.seq).unwrap_or(0))
    }

    async fn note(&mut self, operation: OperationId, seen: Option<Seen>) -> Result<(), Error> {
        const NOTE: &str = "
            update deployment_server set agent_seq = $3
            where operation_id = $1 and server_id = $2 and agent_seq < $3
        ";
        let Some(Seen { server, agent_seq }) = seen else { return Ok(()) };
        let note = query("note an agent's newest event", NOTE)
            .bind(operation)
            .bind(server)
            .bind(i64::try_from(agent_seq).unwrap_or(i64::MAX));
        self.tx.execute(note).await.map(drop)
    }

    async fn read(&mut self, operation: OperationId, epoch: Epoch) -> Result<Mark, Error> {
        const READ: &str = "
            select last_seq, log_count from operation
            where operation_id = $1 and epoch = $2 and state = 'open'
        ";
        let row: Option<(i64, i64)> = self
            .tx
            .optional(query("read an operation's last event", READ).bind(operation).bind(epoch.0))
            .await?;
        let (seq, logs) = row.ok_or(Error::Fenced { operation })?;
        Ok(Mark { epoch, seq, logs })
    }

    /// The check of the epoch that counts: this locks the row.
    async fn advance(&mut self, operation: OperationId, mark: Mark) -> Result<(), Error> {
        const ADVANCE: &str = "
            update operation set last_seq = $3, log_count = $4
            where operation_id = $1 and epoch = $2 and state = 'open'
        ";
        let advance = query("count an operation's events", ADVANCE)
            .bind(operation)
            .bind(mark.epoch.0)
            .bind(mark.seq)
            .bind(mark.logs);
        match self.tx.execute(advance).await? {
            0 => Err(Error::Fenced { operation }),
            _ => Ok(()),
        }
    }

    /// Writes the events. Commit afterwards.
    pub(crate) async fn finish(self) -> Result<(), Error> {
        const ADVANCE: &str = "update counter set value = $1 where name = 'event'";
        let Self { tx, at, pos, rows, marks } = self;
        let mut rows = rows.as_slice();
        for size in CHUNKS {
            while let Some((chunk, rest)) = rows.split_at_checked(size) {
                tx.execute(insert(at, chunk)?).await?;
                rows = rest;
            }
        }
        tx.execute(query("count the events", ADVANCE).bind(pos)).await?;
        for operation in marks.into_keys() {
            tx.notify(&Topic::Events(operation).to_string()).await?;
        }
        Ok(())
    }
}

/// Cuts what is too much. None: the event is not kept.
fn keep(mut event: NewEvent, logs: &mut i64) -> Option<NewEvent> {
    if let EventBody::Log { message } = &mut event.body {
        *logs = logs.saturating_add(1);
        if *logs > LOG_LIMIT + 1 {
            return None;
        }
        if *logs > LOG_LIMIT {
            LOG_CUT.clone_into(message);
        }
        if message.len() > LINE_LIMIT {
            message.truncate(message.floor_char_boundary(LINE_LIMIT));
        }
    }
    Some(event)
}

fn insert(at: At, rows: &[Row]) -> Result<Query, Error> {
    const COLUMNS: usize = 8;
    let values = (0..rows.len())
        .map(|row| {
            let values: Vec<_> =
                (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column)).collect();
            format!("({})", values.join(", "))
        })
        .collect::<Vec<_>>()
        .join(", ");
    let mut insert = Query::built(
        "write events",
        format!(
            "insert into event (pos, operation_id, seq, at, server, phase, kind, body) values {values}"
        ),
    );
    for Row { pos, operation, seq, event } in rows {
        insert = insert
            .bind(*pos)
            .bind(*operation)
            .bind(*seq)
            .bind(at)
            .bind(&event.server)
            .bind(&*event.phase)
            .bind(event.body.kind())
            .bind(json::encode("an event", &event.body)?);
    }
    Ok(insert)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_between_characters() {
        let mut logs = 0;
        let event = NewEvent::log("build", "é".repeat(LINE_LIMIT));
        let EventBody::Log { message } = keep(event, &mut logs).unwrap().body else { panic!() };
        assert_eq!(message.len(), LINE_LIMIT);
        assert_eq!(logs, 1);
    }
}
