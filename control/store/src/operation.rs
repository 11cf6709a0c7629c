//! Operations: their rows, claims, leases and finished steps.
//!
//! An operation is open until [`System::finish`], and has at most one owner at a time. An owner
//! holds it by a lease that it renews; whoever claims it next gets a higher [`Epoch`], and from
//! then on every write of the former owner is refused as [`Error::Fenced`].

use std::{collections::HashMap, time::Duration};

use slipway_host::failpoint;

use crate::{
    db::{Query, Tx, query},
    error::{Error, What},
    event::{Appender, Done, EventBody, NewEvent},
    hub::{Changes, Topic},
    id::{AppId, At, OperationId, UserId},
    json,
    store::{Claimant, Epoch, Owner, System},
};

/// How an operation stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum OperationState {
    /// Not ended.
    Open,
    /// Ended, well or not: its last event says which.
    Done,
}

/// An operation.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Operation {
    /// Its id.
    #[sqlx(rename = "operation_id")]
    pub id: OperationId,
    /// Whose it is.
    #[sqlx(rename = "user_id")]
    pub user: UserId,
    /// What kind of work; names its handler.
    pub kind: String,
    /// How it stands.
    pub state: OperationState,
    /// The handler's own, as JSON.
    pub input: String,
    /// Replica that works on it or did last.
    pub owner: Option<String>,
    /// Fencing number of the newest claim.
    pub epoch: Epoch,
    /// When it has to give up.
    pub deadline_at: At,
    /// Whether it was asked to stop.
    pub cancel_requested: bool,
    /// Number of its newest event.
    pub last_seq: i64,
    /// When it was accepted.
    pub created_at: At,
    /// When it ended.
    pub ended_at: Option<At>,
}

/// An operation to be recorded.
#[derive(Clone, Debug)]
pub struct NewOperation {
    /// Its id, chosen by the caller, so that what belongs to it can be sealed before.
    pub id: OperationId,
    /// What kind of work.
    pub kind: &'static str,
    /// The handler's own, as JSON. No secret in it.
    pub input: String,
    /// Key under which a repetition by the same user finds it.
    pub idempotency_key: Option<String>,
    /// After how long it has to give up.
    pub deadline: Duration,
    /// Its first event.
    pub first: NewEvent,
}

/// The outcome of recording an operation.
#[derive(Clone, Debug)]
pub enum Recorded<T> {
    /// It is new; the claimant that was given holds it.
    New(T),
    /// It was recorded before, under the same idempotency key.
    Existing(T),
}

impl<T> Recorded<T> {
    /// What was recorded, now or before.
    pub fn into_inner(self) -> T {
        match self {
            Self::New(it) | Self::Existing(it) => it,
        }
    }
}

const COLUMNS: &str = "operation_id, user_id, kind, state, input, owner, epoch, deadline_at, \
    cancel_requested, last_seq, created_at, ended_at";

impl Owner {
    /// Records an operation with its first event. With a claimant, that one holds it at once;
    /// without, the next that looks for work gets it.
    pub async fn create_operation(
        &self,
        new: NewOperation,
        claimant: Option<&Claimant>,
    ) -> Result<Recorded<Operation>, Error> {
        let id = new.id;
        let mut tx = self.db().begin().await?;
        let mut appender = Appender::lock(&mut tx, self.store.now()).await?;
        if let Some(key) = &new.idempotency_key
            && let Some(operation) = self.find_by_key(appender.tx(), key).await?
        {
            return Ok(Recorded::Existing(operation));
        }
        self.insert_operation(&mut appender, new, claimant).await?;
        appender.finish().await?;
        tx.notify(&Topic::Queue.to_string()).await?;
        failpoint!("store.create.before");
        tx.commit().await?;
        failpoint!("store.create.after");
        self.store.hub().poke(Topic::Queue);
        self.operation(id).await.map(Recorded::New)
    }

    /// Reads one of the user's operations.
    pub async fn operation(&self, id: OperationId) -> Result<Operation, Error> {
        let text =
            format!("select {COLUMNS} from operation where operation_id = $1 and user_id = $2");
        let read = Query::built("read an operation", text).bind(id).bind(self.user);
        self.db().optional(read).await?.ok_or(Error::Missing { what: What::Operation })
    }

    /// Asks an operation to stop. Success when it has ended already.
    pub async fn request_cancel(&self, id: OperationId) -> Result<(), Error> {
        const CANCEL: &str = "
            update operation set cancel_requested = true
            where operation_id = $1 and user_id = $2 and state = 'open'
        ";
        let mut tx = self.db().begin().await?;
        let changed =
            tx.execute(query("cancel an operation", CANCEL).bind(id).bind(self.user)).await?;
        tx.notify(&Topic::Cancel(id).to_string()).await?;
        tx.commit().await?;
        self.store.hub().poke(Topic::Cancel(id));
        if changed == 0 { self.operation(id).await.map(drop) } else { Ok(()) }
    }

    pub(crate) async fn find_by_key(
        &self,
        tx: &mut Tx,
        key: &str,
    ) -> Result<Option<Operation>, Error> {
        let text =
            format!("select {COLUMNS} from operation where user_id = $1 and idempotency_key = $2");
        let find = Query::built("look up an idempotency key", text);
        tx.optional(find.bind(self.user).bind(key)).await
    }

    /// Inserts the row and hands the first event to the appender. The appender's lock also makes
    /// creations with the same idempotency key follow each other.
    pub(crate) async fn insert_operation(
        &self,
        appender: &mut Appender<'_>,
        new: NewOperation,
        claimant: Option<&Claimant>,
    ) -> Result<Epoch, Error> {
        const INSERT: &str = "
            insert into operation
                (operation_id, user_id, kind, state, input, idempotency_key, owner, lease_until,
                epoch, run_at, deadline_at, cancel_requested, last_seq, log_count, created_at)
            values ($1, $2, $3, 'open', $4, $5, $6, $7, $8, $9, $10, false, 0, 0, $11)
        ";
        let NewOperation { id, kind, input, idempotency_key, deadline, first } = new;
        let created = self.store.now();
        let tx = appender.tx();
        let now = self.store.lease_now(tx).await?;
        let epoch = match claimant {
            Some(_) => next_epoch(tx).await?,
            None => Epoch(0),
        };
        let lease_until = claimant.map_or(At::default(), |it| now.plus(it.lease));
        let insert = query("record an operation", INSERT)
            .bind(id)
            .bind(self.user)
            .bind(kind)
            .bind(input)
            .bind(idempotency_key)
            .bind(claimant.map(|it| it.owner.clone()))
            .bind(lease_until)
            .bind(epoch.0)
            .bind(now)
            .bind(created.plus(deadline))
            .bind(created);
        tx.execute(insert).await?;
        appender.append(id, epoch, vec![first]).await?;
        Ok(epoch)
    }
}

impl System {
    /// Claims one operation that is new, or whose owner let its lease end. The oldest first.
    pub async fn claim(&self, claimant: &Claimant) -> Result<Option<Operation>, Error> {
        const WAITING: &str = "
            select 1 as one from operation
            where state = 'open' and lease_until <= $1 and run_at <= $1 limit 1
        ";
        let mut tx = self.db().begin().await?;
        let now = self.store.lease_now(&mut tx).await?;
        // Most looks find nothing; those write nothing.
        let waiting: Option<(i32,)> =
            tx.optional(query("look for work", WAITING).bind(now)).await?;
        if waiting.is_none() {
            return Ok(None);
        }
        let skip = if tx.is_postgres() { "for update skip locked" } else { "" };
        let text = format!(
            "update operation set owner = $1, lease_until = $2, epoch = $3
            where operation_id = (
                select operation_id from operation
                where state = 'open' and lease_until <= $4 and run_at <= $4
                order by run_at, operation_id limit 1 {skip}
            ) and lease_until <= $4
            returning {COLUMNS}"
        );
        let epoch = next_epoch(&mut tx).await?;
        let claim = Query::built("claim an operation", text)
            .bind(&claimant.owner)
            .bind(now.plus(claimant.lease))
            .bind(epoch.0)
            .bind(now);
        let Some(operation) = tx.optional(claim).await? else { return Ok(None) };
        failpoint!("store.claim.before");
        tx.commit().await?;
        failpoint!("store.claim.after");
        Ok(Some(operation))
    }

    /// Claims every open operation that `claimant` held before this store was opened, whatever its
    /// lease: those of before a restart. What it has claimed since has a higher epoch and is left
    /// alone.
    pub async fn claim_own(&self, claimant: &Claimant) -> Result<Vec<Operation>, Error> {
        const OWN: &str = "
            select operation_id from operation
            where state = 'open' and owner = $1 and epoch <= $2 order by run_at, operation_id
        ";
        let mut tx = self.db().begin().await?;
        let now = self.store.lease_now(&mut tx).await?;
        let own =
            query("look for own work", OWN).bind(&claimant.owner).bind(self.store.opened_at().0);
        let own: Vec<(OperationId,)> = tx.all(own).await?;
        let mut claimed = Vec::with_capacity(own.len());
        for (id,) in own {
            let text = format!(
                "update operation set lease_until = $3, epoch = $4
                where operation_id = $1 and owner = $2 and state = 'open' returning {COLUMNS}"
            );
            let epoch = next_epoch(&mut tx).await?;
            let claim = Query::built("claim an own operation", text)
                .bind(id)
                .bind(&claimant.owner)
                .bind(now.plus(claimant.lease))
                .bind(epoch.0);
            claimed.extend(tx.optional::<Operation>(claim).await?);
        }
        tx.commit().await?;
        Ok(claimed)
    }

    /// Renews a lease; tells whether the operation was asked to stop.
    pub async fn renew(
        &self,
        id: OperationId,
        epoch: Epoch,
        lease: Duration,
    ) -> Result<bool, Error> {
        const RENEW: &str = "
            update operation set lease_until = $3
            where operation_id = $1 and epoch = $2 and state = 'open' returning cancel_requested
        ";
        let mut tx = self.db().begin().await?;
        let until = self.store.lease_now(&mut tx).await?.plus(lease);
        let renew = query("renew a lease", RENEW).bind(id).bind(epoch.0).bind(until);
        let row: Option<(bool,)> = tx.optional(renew).await?;
        let (cancel,) = row.ok_or(Error::Fenced { operation: id })?;
        tx.commit().await?;
        Ok(cancel)
    }

    /// Gives an operation back, so that another claims it at once: at an orderly stop.
    pub async fn release(&self, id: OperationId, epoch: Epoch) -> Result<(), Error> {
        const RELEASE: &str = "
            update operation set lease_until = 0
            where operation_id = $1 and epoch = $2 and state = 'open'
        ";
        let mut tx = self.db().begin().await?;
        let changed =
            tx.execute(query("give an operation back", RELEASE).bind(id).bind(epoch.0)).await?;
        if changed == 0 {
            return Err(Error::Fenced { operation: id });
        }
        tx.notify(&Topic::Queue.to_string()).await?;
        tx.commit().await?;
        self.store.hub().poke(Topic::Queue);
        Ok(())
    }

    /// Replaces an operation's input, for what becomes known after it was accepted.
    pub async fn set_input(
        &self,
        id: OperationId,
        epoch: Epoch,
        input: String,
    ) -> Result<(), Error> {
        const SET: &str = "
            update operation set input = $3
            where operation_id = $1 and epoch = $2 and state = 'open'
        ";
        let set = query("write an operation's input", SET).bind(id).bind(epoch.0).bind(input);
        match self.db().execute(set).await? {
            0 => Err(Error::Fenced { operation: id }),
            _ => Ok(()),
        }
    }

    /// What the finished steps of an operation gave, as JSON, by name.
    pub async fn steps(&self, id: OperationId) -> Result<HashMap<String, String>, Error> {
        const READ: &str = "select name, result from step where operation_id = $1";
        let rows: Vec<(String, String)> =
            self.db().all(query("read finished steps", READ).bind(id)).await?;
        Ok(rows.into_iter().collect())
    }

    /// Records that a step has finished. A repetition changes nothing.
    pub async fn finish_step(
        &self,
        id: OperationId,
        epoch: Epoch,
        name: &str,
        result: &str,
    ) -> Result<(), Error> {
        const INSERT: &str = "
            insert into step (operation_id, name, result, at) values ($1, $2, $3, $4)
            on conflict (operation_id, name) do nothing
        ";
        let mut tx = self.db().begin().await?;
        self.store.fence(&mut tx, id, epoch).await?;
        let insert = query("record a finished step", INSERT)
            .bind(id)
            .bind(name)
            .bind(result)
            .bind(self.now());
        tx.execute(insert).await?;
        failpoint!("store.step.before");
        tx.commit().await?;
        failpoint!("store.step.after");
        Ok(())
    }

    /// Ends an operation that is no deployment: its last event, its locks, its state, at once.
    pub async fn finish(&self, id: OperationId, epoch: Epoch, done: Done) -> Result<(), Error> {
        let mut tx = self.db().begin().await?;
        let freed = self.end(&mut tx, id, epoch, done).await?;
        failpoint!("store.finish.before");
        tx.commit().await?;
        failpoint!("store.finish.after");
        self.ended(id, freed);
        Ok(())
    }

    /// The part of finishing that every kind of operation shares. Locks the events first.
    pub(crate) async fn end(
        &self,
        tx: &mut Tx,
        id: OperationId,
        epoch: Epoch,
        done: Done,
    ) -> Result<Vec<AppId>, Error> {
        const END: &str = "
            update operation set state = 'done', ended_at = $3, lease_until = 0
            where operation_id = $1 and epoch = $2 and state = 'open'
        ";
        const UNLOCK: &str = "delete from app_lock where operation_id = $1 returning app_id";
        let now = self.now();
        let mut appender = Appender::lock(tx, now).await?;
        appender.append(id, epoch, vec![NewEvent::new("", EventBody::Done(done))]).await?;
        appender.finish().await?;
        let end = query("end an operation", END).bind(id).bind(epoch.0).bind(now);
        if tx.execute(end).await? == 0 {
            return Err(Error::Fenced { operation: id });
        }
        let freed: Vec<(AppId,)> =
            tx.all(query("free what an operation held", UNLOCK).bind(id)).await?;
        for (app,) in &freed {
            tx.notify(&Topic::App(*app).to_string()).await?;
        }
        Ok(freed.into_iter().map(|(app,)| app).collect())
    }

    pub(crate) fn ended(&self, id: OperationId, freed: Vec<AppId>) {
        self.store.hub().poke(Topic::Events(id));
        for app in freed {
            self.store.hub().poke(Topic::App(app));
        }
    }

    /// Open operations, oldest first.
    pub async fn open_operations(&self) -> Result<Vec<Operation>, Error> {
        let text =
            format!("select {COLUMNS} from operation where state = 'open' order by operation_id");
        self.db().all(Query::built("list open operations", text)).await
    }

    /// Reads anybody's operation.
    pub async fn operation(&self, id: OperationId) -> Result<Operation, Error> {
        let text = format!("select {COLUMNS} from operation where operation_id = $1");
        let read = Query::built("read an operation", text).bind(id);
        self.db().optional(read).await?.ok_or(Error::Missing { what: What::Operation })
    }

    /// Wakes when there may be an operation to claim.
    pub fn watch_queue(&self) -> Changes {
        self.store.hub().watch(Topic::Queue)
    }

    /// Wakes when an operation may have been asked to stop.
    pub fn watch_cancel(&self, id: OperationId) -> Changes {
        self.store.hub().watch(Topic::Cancel(id))
    }
}

/// The next fencing number. Its row is a lock, so that numbers become visible in their order.
async fn next_epoch(tx: &mut Tx) -> Result<Epoch, Error> {
    const NEXT: &str = "update counter set value = value + 1 where name = 'epoch' returning value";
    let (epoch,): (Epoch,) = tx.one(query("take a fencing number", NEXT)).await?;
    Ok(epoch)
}

/// Writes a handler's input as JSON, for [`NewOperation::input`].
pub fn encode_input(input: &impl serde::Serialize) -> Result<String, Error> {
    json::encode("an operation's input", input)
}
