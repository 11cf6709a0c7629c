//! Real databases for tests, of this crate and of others (feature `testing`).
//!
//! A [`Database`] is empty and its own; [`Database::store`] opens it as often as a test likes, as
//! several replicas would. PostgreSQL is Debian's, one server for all tests that run at a time.

mod postgres;

use std::{error::Error, path::Path, sync::Arc};

use slipway_host::clock::Clock;

use crate::{Entry, NewToken, Store, User};

/// Why a database for a test could not be had.
pub type Failure = Box<dyn Error + Send + Sync>;

/// An empty database, and a folder for blobs. Gone when dropped.
#[derive(Debug)]
pub struct Database {
    url: String,
    folder: tempfile::TempDir,
    server: Option<Arc<postgres::Server>>,
}

impl Database {
    /// A file of SQLite.
    #[expect(clippy::unused_async, reason = "alike for both databases")]
    pub async fn sqlite() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let url = format!("sqlite://{}/slipway.db", folder.path().display());
        Ok(Self { url, folder, server: None })
    }

    /// A database of PostgreSQL.
    pub async fn postgres() -> Result<Self, Failure> {
        let server = postgres::Server::shared().await?;
        let url = server.create_database().await?;
        Ok(Self { url, folder: tempfile::tempdir()?, server: Some(Arc::new(server)) })
    }

    /// Opens it with the system's clock.
    pub async fn store(&self) -> Result<Store, crate::Error> {
        Store::open(&self.url, self.folder.path()).await
    }

    /// Opens it with another clock.
    pub async fn store_with(&self, clock: Clock) -> Result<Store, crate::Error> {
        Store::open_with(&self.url, self.folder.path(), clock).await
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder of its blobs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether it is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        self.server.is_some()
    }
}

/// Adds a user with a token that nobody has.
pub async fn user(store: &Store, name: &str) -> Result<User, crate::Error> {
    let token = NewToken {
        id: format!("t-{name}"),
        name: "test".to_owned(),
        secret_sha256: "00".repeat(32),
        read_only: false,
        expires_at: store.now().plus(std::time::Duration::from_secs(3600)),
    };
    store.system().add_user(name, false, token, Entry::done("test", "user.create", name)).await
}

/// Makes of each `async fn name(database: Database)` two tests, one for each database.
#[macro_export]
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name($crate::testing::Database::sqlite().await.unwrap()).await;
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name($crate::testing::Database::postgres().await.unwrap()).await;
                }
            )+
        }
    };
}
