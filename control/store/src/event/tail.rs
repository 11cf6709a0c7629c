//! Reading, and following. Level-triggered: whatever wakes a follower, it reads what is there after
//! the last event it gave out.

use std::collections::VecDeque;

use futures::{Stream, stream};

use super::body::{Event, EventBody};
use crate::{
    db::{Db, query},
    error::{Error, What},
    hub::{Changes, Topic},
    id::{At, OperationId},
    json::JsonText,
    store::{Owner, Store, System},
};

/// Events that one read takes.
const PAGE: u32 = 500;

/// What to do at the end of what is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Follow {
    /// Wait for more, until the last event.
    Yes,
    /// End.
    No,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    pos: i64,
    operation_id: OperationId,
    seq: i64,
    at: At,
    server: String,
    phase: String,
    body: JsonText<EventBody>,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Self {
        let EventRow { pos, operation_id, seq, at, server, phase, body } = row;
        let seq = u64::try_from(seq).unwrap_or(0);
        Self { body: body.0, seq, at, server, phase, operation: operation_id, pos }
    }
}

impl Owner {
    /// Reads the events of one of the user's operations after `after`, at most `limit`.
    pub async fn events(
        &self,
        operation: OperationId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Event>, Error> {
        self.own(operation).await?;
        read(self.db(), operation, after, limit).await
    }

    /// Replays the events of one of the user's operations after `after`, then follows it until its
    /// last event. Misses none, from any point.
    pub async fn tail(
        &self,
        operation: OperationId,
        after: u64,
        follow: Follow,
    ) -> Result<impl Stream<Item = Result<Event, Error>> + Send + use<>, Error> {
        self.own(operation).await?;
        Ok(self.store.system().tail(operation, after, follow))
    }

    async fn own(&self, operation: OperationId) -> Result<(), Error> {
        const OWN: &str = "select 1 as one from operation where operation_id = $1 and user_id = $2";
        let own: Option<(i32,)> = self
            .db()
            .optional(query("look up an operation", OWN).bind(operation).bind(self.user))
            .await?;
        own.map(drop).ok_or(Error::Missing { what: What::Operation })
    }
}

impl System {
    /// The same for anybody's operation.
    pub fn tail(
        &self,
        operation: OperationId,
        after: u64,
        follow: Follow,
    ) -> impl Stream<Item = Result<Event, Error>> + Send + use<> {
        let tail = Tail {
            changes: self.store.hub().watch(Topic::Events(operation)),
            store: self.store.clone(),
            operation,
            after,
            follow,
            read: VecDeque::new(),
            ended: false,
        };
        stream::unfold(tail, Tail::next)
    }
}

struct Tail {
    store: Store,
    changes: Changes,
    operation: OperationId,
    after: u64,
    follow: Follow,
    read: VecDeque<Event>,
    ended: bool,
}

impl Tail {
    async fn next(mut self) -> Option<(Result<Event, Error>, Self)> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(event) = self.read.pop_front() {
                self.after = event.seq;
                self.ended = event.is_last();
                return Some((Ok(event), self));
            }
            match read(self.store.db(), self.operation, self.after, PAGE).await {
                Err(error) => {
                    self.ended = true;
                    return Some((Err(error), self));
                }
                Ok(events) if events.is_empty() => match self.follow {
                    Follow::No => return None,
                    Follow::Yes => self.changes.wait().await,
                },
                Ok(events) => self.read = events.into(),
            }
        }
    }
}

async fn read(
    db: &Db,
    operation: OperationId,
    after: u64,
    limit: u32,
) -> Result<Vec<Event>, Error> {
    const READ: &str = "
        select pos, operation_id, seq, at, server, phase, body from event
        where operation_id = $1 and seq > $2 order by seq limit $3
    ";
    let rows: Vec<EventRow> = db
        .all(
            query("read events", READ)
                .bind(operation)
                .bind(i64::try_from(after).unwrap_or(i64::MAX))
                .bind(i64::from(limit)),
        )
        .await?;
    Ok(rows.into_iter().map(Event::from).collect())
}
