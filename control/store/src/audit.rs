//! The audit log: who did what, in rows that are only ever added. Each row's hash covers the row
//! before it, and the newest hash is kept apart, so that a changed, missing or cut row shows.
//!
//! An [`Entry`] is appended in the transaction of what it tells of.

use sha2::{Digest as _, Sha256};

use crate::{
    db::{Tx, query},
    error::Error,
    id::At,
    store::System,
};

/// Rows that one read of a verification takes.
const PAGE: i64 = 1000;

/// Something that somebody did. No secret in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Who: `user:<name>`, `agent:<id>`, `system`.
    pub actor: String,
    /// What: `token.create`, `server.remove`, …
    pub action: String,
    /// To what.
    pub object: String,
    /// How it ended: `ok`, or an `SW-` code.
    pub result: String,
}

impl Entry {
    /// Something that was done.
    pub fn done(
        actor: impl Into<String>,
        action: impl Into<String>,
        object: impl Into<String>,
    ) -> Self {
        Self {
            actor: actor.into(),
            action: action.into(),
            object: object.into(),
            result: "ok".to_owned(),
        }
    }

    /// Something that was tried.
    #[must_use]
    pub fn failed(mut self, code: impl Into<String>) -> Self {
        self.result = code.into();
        self
    }

    pub(crate) async fn append(self, tx: &mut Tx, at: At) -> Result<(), Error> {
        const NEXT: &str = "
            update audit_head set seq = seq + 1 where name = 'head' returning seq, hash
        ";
        const INSERT: &str = "
            insert into audit (seq, at, actor, action, object, result, prev_hash, hash)
            values ($1, $2, $3, $4, $5, $6, $7, $8)
        ";
        const HEAD: &str = "update audit_head set hash = $1 where name = 'head'";
        let (seq, prev_hash): (i64, String) = tx.one(query("lock the audit log", NEXT)).await?;
        let Self { actor, action, object, result } = self;
        let mut row =
            AuditRow { seq, at, actor, action, object, result, prev_hash, hash: String::new() };
        row.hash = row.digest();
        let insert = query("write the audit log", INSERT)
            .bind(row.seq)
            .bind(row.at)
            .bind(row.actor)
            .bind(row.action)
            .bind(row.object)
            .bind(row.result)
            .bind(row.prev_hash)
            .bind(&row.hash);
        tx.execute(insert).await?;
        tx.execute(query("write the audit log", HEAD).bind(row.hash)).await?;
        Ok(())
    }
}

/// A row of the log.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct AuditRow {
    /// Position, from 1, without gaps.
    pub seq: i64,
    /// When.
    pub at: At,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub object: String,
    /// How it ended.
    pub result: String,
    /// Hash of the row before; empty in the first.
    pub prev_hash: String,
    /// SHA-256 over the row and `prev_hash`, lower-case hex.
    pub hash: String,
}

impl AuditRow {
    /// The hash that the row should have. Each part is preceded by its length, so that no text can
    /// pass for the end of another.
    fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.seq.to_be_bytes());
        hash.update(self.at.micros().to_be_bytes());
        let parts = [&self.actor, &self.action, &self.object, &self.result, &self.prev_hash];
        for part in parts {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        hex::encode(hash.finalize())
    }
}

/// What a verification found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verified {
    /// Every row is as it was written.
    Whole {
        /// How many rows there are.
        rows: i64,
        /// Hash of the newest.
        head: String,
    },
    /// The first row that is not.
    Broken {
        /// Its position.
        seq: i64,
    },
}

impl System {
    /// Records something that changed no row.
    pub async fn audit(&self, entry: Entry) -> Result<(), Error> {
        let mut tx = self.db().begin().await?;
        entry.append(&mut tx, self.now()).await?;
        tx.commit().await
    }

    /// Rows after `after`, oldest first.
    pub async fn audit_rows(&self, after: i64, limit: u32) -> Result<Vec<AuditRow>, Error> {
        self.read_audit(after, i64::from(limit)).await
    }

    /// Recomputes every hash.
    pub async fn verify_audit(&self) -> Result<Verified, Error> {
        const HEAD: &str = "select seq, hash from audit_head where name = 'head'";
        // Read first: rows that are added meanwhile come after it.
        let (last, head): (i64, String) =
            self.db().one(query("read the audit log's head", HEAD)).await?;
        let (mut seq, mut hash) = (0, String::new());
        while seq < last {
            let rows = self.read_audit(seq, PAGE.min(last - seq)).await?;
            if rows.is_empty() {
                return Ok(Verified::Broken { seq: seq + 1 });
            }
            for row in rows {
                if row.seq != seq + 1 || row.prev_hash != hash || row.hash != row.digest() {
                    return Ok(Verified::Broken { seq: seq + 1 });
                }
                (seq, hash) = (row.seq, row.hash);
            }
        }
        if hash == head {
            Ok(Verified::Whole { rows: seq, head })
        } else {
            Ok(Verified::Broken { seq })
        }
    }

    async fn read_audit(&self, after: i64, limit: i64) -> Result<Vec<AuditRow>, Error> {
        const READ: &str = "
            select seq, at, actor, action, object, result, prev_hash, hash
            from audit where seq > $1 order by seq limit $2
        ";
        self.db().all(query("read the audit log", READ).bind(after).bind(limit)).await
    }
}
