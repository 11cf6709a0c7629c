//! Users and their API tokens.

use std::time::Duration;

use slipway_proto::{problem::Problem, token::Pin, value::Name};
use slipway_store::{ApiToken, Entry, Store, User, UserId};

use crate::{auth::token, refused::refused, server::within};

/// Life of a token unless told otherwise, and at most.
const LIFE: (Duration, Duration) =
    (Duration::from_secs(90 * 86_400), Duration::from_secs(365 * 86_400));
/// Longest name of a token.
const NAME: usize = 64;

/// All users. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Users {
    store: Store,
    pin: Pin,
}

impl Users {
    /// Keeps the users in `store`; their tokens carry `pin`.
    pub fn new(store: Store, pin: Pin) -> Self {
        Self { store, pin }
    }

    /// The user of that id.
    ///
    /// # Errors
    /// SW-USER-MISSING.
    pub async fn get(&self, user: UserId) -> Result<User, Problem> {
        self.store.of(user).me().await.map_err(refused)
    }

    /// All users, ordered by name.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self) -> Result<Vec<User>, Problem> {
        self.store.system().users().await.map_err(refused)
    }

    /// Adds a user and makes its first token. `actor` is who does it.
    ///
    /// # Errors
    /// SW-NAME, SW-USER-NAME.
    pub async fn add(
        &self,
        actor: &str,
        name: &str,
        rank: Rank,
    ) -> Result<(User, String), Problem> {
        let name = Name::of("name", name)?;
        let (text, new) = token::api(&self.pin, "first", false, self.store.now(), LIFE.0);
        let audit = Entry::done(actor, "user.add", format!("user:{name}"));
        let system = self.store.system();
        let added = system.add_user(name.as_str(), rank == Rank::Admin, new, audit).await;
        Ok((added.map_err(refused)?, text.expose().clone()))
    }

    /// Makes a token of a user.
    ///
    /// # Errors
    /// SW-TOKEN-NAME, SW-DURATION.
    pub async fn add_token(
        &self,
        user: &User,
        name: &str,
        ttl: Option<Duration>,
        scope: Scope,
    ) -> Result<(ApiToken, String), Problem> {
        let ttl = within("ttl", ttl, LIFE)?;
        if NAME < name.len() || name.chars().any(char::is_control) {
            let message = format!("what a token is for takes at most {NAME} bytes of plain text");
            return Err(Problem::invalid("SW-TOKEN-NAME", "name", message));
        }
        let read_only = scope == Scope::Read;
        let (text, new) = token::api(&self.pin, name, read_only, self.store.now(), ttl);
        let audit =
            Entry::done(format!("user:{}", user.name), "token.create", format!("token:{}", new.id));
        let added = self.store.of(user.id).add_token(new, audit).await.map_err(refused)?;
        Ok((added, text.expose().clone()))
    }

    /// The user's tokens, newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn tokens(&self, user: UserId) -> Result<Vec<ApiToken>, Problem> {
        self.store.of(user).tokens().await.map_err(refused)
    }

    /// Revokes a token at once. Success when it is already gone.
    ///
    /// # Errors
    /// The store's.
    pub async fn revoke(&self, user: &User, id: &str) -> Result<(), Problem> {
        let id = id.to_ascii_uppercase();
        let audit =
            Entry::done(format!("user:{}", user.name), "token.revoke", format!("token:{id}"));
        self.store.of(user.id).revoke_token(&id, audit).await.map_err(refused)
    }
}

/// What a user may do beside its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rank {
    /// Nothing.
    User,
    /// Manage other users.
    Admin,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Everything.
    All,
    /// Calls that change nothing.
    Read,
}
