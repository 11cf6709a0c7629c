//! Users and their API tokens.

use crate::{
    audit::Entry,
    db::query,
    error::{Error, What},
    id::{At, UserId},
    store::{Owner, System},
};

/// A user.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct User {
    /// Its id.
    #[sqlx(rename = "user_id")]
    pub id: UserId,
    /// Its name.
    pub name: String,
    /// May manage other users.
    pub admin: bool,
    /// When it was added.
    pub created_at: At,
}

/// An API token, without its secret.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct ApiToken {
    /// Its id, part of the token itself.
    #[sqlx(rename = "token_id")]
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Only for calls that change nothing.
    pub read_only: bool,
    /// When it was made.
    pub created_at: At,
    /// Until when it holds.
    pub expires_at: At,
    /// When it was last used, to the minute.
    pub last_used_at: Option<At>,
}

/// A token to be recorded.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its id, part of the token itself.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// SHA-256 of its secret, lower-case hex.
    pub secret_sha256: String,
    /// Only for calls that change nothing.
    pub read_only: bool,
    /// Until when it holds.
    pub expires_at: At,
}

/// What sign-in needs to know of a token.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct SignIn {
    /// Whose it is.
    #[sqlx(flatten)]
    pub user: User,
    /// SHA-256 of its secret, lower-case hex. Compare in constant time.
    pub secret_sha256: String,
    /// Only for calls that change nothing.
    pub read_only: bool,
    /// Until when it holds. Not checked here.
    pub expires_at: At,
}

const INSERT_TOKEN: &str = "
    insert into api_token
        (token_id, user_id, name, secret_sha256, read_only, created_at, expires_at)
    values ($1, $2, $3, $4, $5, $6, $7)
";

impl Owner {
    /// The user itself.
    pub async fn me(&self) -> Result<User, Error> {
        const READ: &str =
            "select user_id, name, admin, created_at from account where user_id = $1";
        self.db()
            .optional(query("read a user", READ).bind(self.user))
            .await?
            .ok_or(Error::Missing { what: What::User })
    }

    /// Records a token.
    pub async fn add_token(&self, new: NewToken, audit: Entry) -> Result<ApiToken, Error> {
        let created_at = self.store.now();
        let mut tx = self.db().begin().await?;
        let NewToken { id, name, secret_sha256, read_only, expires_at } = new;
        let insert = query("record a token", INSERT_TOKEN)
            .bind(&id)
            .bind(self.user)
            .bind(&name)
            .bind(secret_sha256)
            .bind(read_only)
            .bind(created_at)
            .bind(expires_at);
        tx.execute(insert).await.map_err(|it| it.or_exists(What::Token, &id))?;
        audit.append(&mut tx, created_at).await?;
        tx.commit().await?;
        Ok(ApiToken { id, name, read_only, created_at, expires_at, last_used_at: None })
    }

    /// The user's tokens, newest first.
    pub async fn tokens(&self) -> Result<Vec<ApiToken>, Error> {
        const LIST: &str = "
            select token_id, name, read_only, created_at, expires_at, last_used_at
            from api_token where user_id = $1 order by created_at desc, token_id
        ";
        self.db().all(query("list tokens", LIST).bind(self.user)).await
    }

    /// Revokes a token. Success when it is already gone.
    pub async fn revoke_token(&self, id: &str, audit: Entry) -> Result<(), Error> {
        const DELETE: &str = "delete from api_token where token_id = $1 and user_id = $2";
        let mut tx = self.db().begin().await?;
        let gone = tx.execute(query("revoke a token", DELETE).bind(id).bind(self.user)).await?;
        if 0 < gone {
            audit.append(&mut tx, self.store.now()).await?;
        }
        tx.commit().await
    }
}

impl System {
    /// Adds a user with its first token.
    pub async fn add_user(
        &self,
        name: &str,
        admin: bool,
        token: NewToken,
        audit: Entry,
    ) -> Result<User, Error> {
        const INSERT: &str =
            "insert into account (user_id, name, admin, created_at) values ($1, $2, $3, $4)";
        let user = User { id: UserId::new(), name: name.to_owned(), admin, created_at: self.now() };
        let mut tx = self.db().begin().await?;
        let insert =
            query("add a user", INSERT).bind(user.id).bind(name).bind(admin).bind(user.created_at);
        tx.execute(insert).await.map_err(|it| it.or_exists(What::User, name))?;
        let insert = query("record a token", INSERT_TOKEN)
            .bind(token.id)
            .bind(user.id)
            .bind(token.name)
            .bind(token.secret_sha256)
            .bind(token.read_only)
            .bind(user.created_at)
            .bind(token.expires_at);
        tx.execute(insert).await?;
        audit.append(&mut tx, user.created_at).await?;
        tx.commit().await?;
        Ok(user)
    }

    /// All users, ordered by name.
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        const LIST: &str = "select user_id, name, admin, created_at from account order by name";
        self.db().all(query("list users", LIST)).await
    }

    /// Looks a token up by its id, to sign its bearer in.
    pub async fn sign_in(&self, token: &str) -> Result<Option<SignIn>, Error> {
        const READ: &str = "
            select a.user_id, a.name, a.admin, a.created_at, t.secret_sha256, t.read_only,
                t.expires_at
            from api_token as t inner join account as a on t.user_id = a.user_id
            where t.token_id = $1
        ";
        self.db().optional(query("look up a token", READ).bind(token)).await
    }

    /// Notes that a token was used. Writes at most once a minute for each.
    pub async fn touch_token(&self, token: &str) -> Result<(), Error> {
        const STALE: &str = "
            select 1 as one from api_token
            where token_id = $1 and (last_used_at is null or last_used_at < $2)
        ";
        const TOUCH: &str = "
            update api_token set last_used_at = $2
            where token_id = $1 and (last_used_at is null or last_used_at < $2)
        ";
        const MINUTE: i64 = 60_000_000;
        let minute = At::from_micros(self.now().micros() / MINUTE * MINUTE);
        let stale: Option<(i32,)> =
            self.db().optional(query("look up a token", STALE).bind(token).bind(minute)).await?;
        if stale.is_some() {
            self.db().execute(query("touch a token", TOUCH).bind(token).bind(minute)).await?;
        }
        Ok(())
    }
}
