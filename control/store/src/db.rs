//! The two databases behind one shape: a [`Query`] is text and values, and runs on either.
//!
//! SQLite has one writing connection and a pool of reading ones, so that writers wait in our
//! queue and not in its lock, and readers never wait. PostgreSQL has one pool.

use std::{fs::File, io, path::Path, str::FromStr as _, time::Duration};

use sqlx::{
    AssertSqlSafe, FromRow, PgPool, Postgres, SqlSafeStr as _, SqlStr, Sqlite, SqlitePool,
    Transaction,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};

use crate::{
    error::Error,
    id::{AppId, At, CredentialId, OperationId, ServerId, UserId},
};

type Result<T> = std::result::Result<T, Error>;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// A row that both databases can give.
pub(crate) trait Row:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}
impl<T> Row for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{}

/// A value of a query.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Text(Option<String>),
    Int(Option<i64>),
    Bool(bool),
}

macro_rules! arg {
    ($($from:ty => |$it:ident| $value:expr;)+) => {
        $(impl From<$from> for Arg {
            fn from($it: $from) -> Self {
                $value
            }
        })+
    };
}
arg! {
    &str => |it| Self::Text(Some(it.to_owned()));
    String => |it| Self::Text(Some(it));
    &String => |it| Self::Text(Some(it.clone()));
    Option<&str> => |it| Self::Text(it.map(str::to_owned));
    Option<String> => |it| Self::Text(it);
    i64 => |it| Self::Int(Some(it));
    Option<i64> => |it| Self::Int(it);
    At => |it| Self::Int(Some(it.micros()));
    Option<At> => |it| Self::Int(it.map(At::micros));
    bool => |it| Self::Bool(it);
    UserId => |it| Self::Text(Some(it.to_string()));
    Option<UserId> => |it| Self::Text(it.map(|it| it.to_string()));
    ServerId => |it| Self::Text(Some(it.to_string()));
    AppId => |it| Self::Text(Some(it.to_string()));
    OperationId => |it| Self::Text(Some(it.to_string()));
    CredentialId => |it| Self::Text(Some(it.to_string()));
}

/// One statement with its values, and what it is for, in the words of an error.
#[derive(Debug)]
pub(crate) struct Query {
    action: &'static str,
    text: SqlStr,
    args: Vec<Arg>,
}

/// Begins a query. `action` completes the sentence "could not …".
pub(crate) fn query(action: &'static str, text: &'static str) -> Query {
    Query { action, text: text.into_sql_str(), args: Vec::new() }
}

impl Query {
    /// A query whose text was put together. It must hold no outside value.
    pub(crate) fn built(action: &'static str, text: String) -> Self {
        Self { action, text: AssertSqlSafe(text).into_sql_str(), args: Vec::new() }
    }

    pub(crate) fn bind(mut self, arg: impl Into<Arg>) -> Self {
        self.args.push(arg.into());
        self
    }
}

macro_rules! bound {
    ($query:expr, $args:expr) => {{
        let mut query = $query;
        for arg in $args {
            query = match arg {
                Arg::Text(it) => query.bind(it),
                Arg::Int(it) => query.bind(it),
                Arg::Bool(it) => query.bind(it),
            };
        }
        query
    }};
}

macro_rules! optional {
    ($t:ty, $db:ty, $query:expr, $on:expr) => {
        bound!(sqlx::query_as::<$db, $t>($query.text), $query.args).fetch_optional($on).await
    };
}

macro_rules! all {
    ($t:ty, $db:ty, $query:expr, $on:expr) => {
        bound!(sqlx::query_as::<$db, $t>($query.text), $query.args).fetch_all($on).await
    };
}

macro_rules! execute {
    ($db:ty, $query:expr, $on:expr) => {
        bound!(sqlx::query::<$db>($query.text), $query.args)
            .execute($on)
            .await
            .map(|it| it.rows_affected())
    };
}

fn failed(action: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    move |source| match source {
        sqlx::Error::PoolClosed => Error::Closed,
        source => Error::Database { action, source },
    }
}

/// The pools.
#[derive(Clone, Debug)]
pub(crate) enum Db {
    Sqlite { reads: SqlitePool, write: SqlitePool },
    Postgres(PgPool),
}

impl Db {
    /// Opens the database and brings its schema up to date.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        if url.starts_with("sqlite:") {
            Self::open_sqlite(url).await
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let db = Self::open_postgres(url).await?;
            db.migrate().await?;
            Ok(db)
        } else {
            Err(Error::Url { url: without_password(url) })
        }
    }

    /// `synchronous = full`: every commit reaches the disk. An operation that was accepted, and an
    /// epoch that an agent has seen, must survive a power cut; with `normal` the last commits
    /// before it are lost. What that costs is shared, because appends commit in groups.
    async fn open_sqlite(url: &str) -> Result<Self> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|source| Error::Open { source })?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(true)
            .pragma("temp_store", "memory")
            .pragma("cache_size", "-8000");
        let alone = alone(options.get_filename()).await?;
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await
            .map_err(|source| Error::Open { source })?;
        let reads = SqlitePoolOptions::new()
            .max_connections(4)
            .idle_timeout(Duration::from_secs(60))
            .connect_lazy_with(options.read_only(true));
        let db = Self::Sqlite { reads, write };
        db.migrate().await?;
        drop(alone);
        Ok(db)
    }

    async fn open_postgres(url: &str) -> Result<Self> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|source| Error::Open { source })?
            .application_name("slipway");
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await
            .map_err(|source| Error::Open { source })?;
        Ok(Self::Postgres(pool))
    }

    /// Brings the schema up to date. Does nothing when it is.
    pub(crate) async fn migrate(&self) -> Result<()> {
        match self {
            Self::Sqlite { write, .. } => MIGRATIONS.run(write).await,
            Self::Postgres(pool) => MIGRATIONS.run(pool).await,
        }
        .map_err(|source| Error::Migrate { source })
    }

    /// The pool of PostgreSQL, when it is that.
    pub(crate) fn postgres(&self) -> Option<&PgPool> {
        match self {
            Self::Sqlite { .. } => None,
            Self::Postgres(pool) => Some(pool),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { reads, write } => {
                reads.close().await;
                write.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }

    /// Reads at most one row.
    pub(crate) async fn optional<T: Row>(&self, query: Query) -> Result<Option<T>> {
        match self {
            Self::Sqlite { reads, .. } => optional!(T, Sqlite, query, reads),
            Self::Postgres(pool) => optional!(T, Postgres, query, pool),
        }
        .map_err(failed(query.action))
    }

    /// Reads one row that must be there.
    pub(crate) async fn one<T: Row>(&self, query: Query) -> Result<T> {
        let action = query.action;
        self.optional(query)
            .await?
            .ok_or(Error::Database { action, source: sqlx::Error::RowNotFound })
    }

    /// Reads all rows.
    pub(crate) async fn all<T: Row>(&self, query: Query) -> Result<Vec<T>> {
        match self {
            Self::Sqlite { reads, .. } => all!(T, Sqlite, query, reads),
            Self::Postgres(pool) => all!(T, Postgres, query, pool),
        }
        .map_err(failed(query.action))
    }

    /// Writes with one statement that is its own transaction; tells how many rows it touched.
    pub(crate) async fn execute(&self, query: Query) -> Result<u64> {
        match self {
            Self::Sqlite { write, .. } => execute!(Sqlite, query, write),
            Self::Postgres(pool) => execute!(Postgres, query, pool),
        }
        .map_err(failed(query.action))
    }

    /// Begins a transaction that writes. Dropped without [`Tx::commit`], it is rolled back.
    pub(crate) async fn begin(&self) -> Result<Tx> {
        Ok(match self {
            Self::Sqlite { write, .. } => Tx::Sqlite(
                write.begin_with("begin immediate").await.map_err(failed("begin a transaction"))?,
            ),
            Self::Postgres(pool) => {
                Tx::Postgres(pool.begin().await.map_err(failed("begin a transaction"))?)
            }
        })
    }
}

/// A transaction.
#[derive(Debug)]
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    pub(crate) async fn optional<T: Row>(&mut self, query: Query) -> Result<Option<T>> {
        match self {
            Self::Sqlite(tx) => optional!(T, Sqlite, query, &mut **tx),
            Self::Postgres(tx) => optional!(T, Postgres, query, &mut **tx),
        }
        .map_err(failed(query.action))
    }

    pub(crate) async fn one<T: Row>(&mut self, query: Query) -> Result<T> {
        let action = query.action;
        self.optional(query)
            .await?
            .ok_or(Error::Database { action, source: sqlx::Error::RowNotFound })
    }

    pub(crate) async fn all<T: Row>(&mut self, query: Query) -> Result<Vec<T>> {
        match self {
            Self::Sqlite(tx) => all!(T, Sqlite, query, &mut **tx),
            Self::Postgres(tx) => all!(T, Postgres, query, &mut **tx),
        }
        .map_err(failed(query.action))
    }

    pub(crate) async fn execute(&mut self, query: Query) -> Result<u64> {
        match self {
            Self::Sqlite(tx) => execute!(Sqlite, query, &mut **tx),
            Self::Postgres(tx) => execute!(Postgres, query, &mut **tx),
        }
        .map_err(failed(query.action))
    }

    /// Tells other replicas about a topic once this transaction commits.
    pub(crate) async fn notify(&mut self, payload: &str) -> Result<()> {
        if matches!(self, Self::Postgres(_)) {
            const NOTIFY: &str = "select 1 from (select pg_notify('slipway', $1)) as notified";
            let _one: Option<(i32,)> =
                self.optional(query("wake the other replicas", NOTIFY).bind(payload)).await?;
        }
        Ok(())
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    pub(crate) async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
        .map_err(failed("commit"))
    }
}

/// Waits until nobody else opens this file of SQLite. PostgreSQL has a lock of its own for the time
/// of the migrations.
async fn alone(database: &Path) -> Result<File> {
    let mut path = database.as_os_str().to_owned();
    path.push(".opening");
    let lock = move || {
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        file.lock()?;
        Ok(file)
    };
    tokio::task::spawn_blocking(lock)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|source| Error::Open { source: sqlx::Error::Io(source) })
}

fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unknown_database_is_refused_without_its_password() {
        let error = Db::open("mysql://root:hunter2@db/slipway").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "`mysql://…@db/slipway` is no database URL; use sqlite://… or postgres://…"
        );
    }
}
