//! Sealed values, their keys, and credentials. The store keeps ciphertext only; the vault of the
//! control plane seals and opens.

use crate::{
    audit::Entry,
    db::{Tx, query},
    error::{Error, What},
    id::{At, CredentialId, UserId},
    store::{Owner, Store, System},
};

/// A sealed value. All parts are base64.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct Sealed {
    /// Where it belongs: `table|column|row`.
    pub record: String,
    /// Version of the value; authenticated with it.
    pub version: i64,
    /// Nonce of `wrapped_key`.
    pub key_nonce: String,
    /// The value's own key, wrapped by the user's.
    pub wrapped_key: String,
    /// Nonce of `ciphertext`.
    pub nonce: String,
    /// The value.
    pub ciphertext: String,
}

/// A user's key-encryption key, wrapped by the master key.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct WrappedKey {
    /// Version of the master key that wraps it.
    pub master_version: i64,
    /// Nonce, base64.
    pub nonce: String,
    /// The wrapped key, base64.
    pub wrapped: String,
}

/// For which outside service a credential is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum CredentialKind {
    /// A DigitalOcean token.
    DigitalOcean,
    /// A user and password at an image registry.
    Registry,
    /// A token at a git host.
    Git,
}

impl CredentialKind {
    /// Its name in the database and in the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DigitalOcean => "digitalocean",
            Self::Registry => "registry",
            Self::Git => "git",
        }
    }
}

/// A credential, without its secret, which is sealed under [`Credential::record`].
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct Credential {
    /// Its id.
    #[sqlx(rename = "credential_id")]
    pub id: CredentialId,
    /// For which service.
    pub kind: CredentialKind,
    /// Its name, unique for the user and kind.
    pub name: String,
    /// Host or user name, for people.
    pub detail: String,
    /// Which derivation of `x-api-key` it feeds.
    pub key_version: i64,
    /// When it was added.
    pub created_at: At,
}

impl Credential {
    /// Where the secret of a credential is sealed.
    pub fn record(id: CredentialId) -> String {
        format!("credential|secret|{id}")
    }
}

impl Owner {
    /// Keeps a sealed value in the place of an earlier one.
    pub async fn put_sealed(&self, sealed: &Sealed) -> Result<(), Error> {
        let mut tx = self.db().begin().await?;
        self.insert_sealed(&mut tx, sealed).await?;
        tx.commit().await
    }

    /// Reads a sealed value.
    pub async fn sealed(&self, record: &str) -> Result<Sealed, Error> {
        read_sealed(&self.store, self.user, record).await
    }

    /// Removes a sealed value. Success when it is already gone.
    pub async fn remove_sealed(&self, record: &str) -> Result<(), Error> {
        const DELETE: &str = "delete from sealed where user_id = $1 and record = $2";
        self.db()
            .execute(query("remove a sealed value", DELETE).bind(self.user).bind(record))
            .await
            .map(drop)
    }

    pub(crate) async fn insert_sealed(&self, tx: &mut Tx, sealed: &Sealed) -> Result<(), Error> {
        insert_sealed(tx, self.user, self.store.now(), sealed).await
    }

    /// Records a credential with its sealed secret.
    pub async fn add_credential(
        &self,
        credential: &Credential,
        secret: &Sealed,
        audit: Entry,
    ) -> Result<(), Error> {
        const INSERT: &str = "
            insert into credential
                (credential_id, user_id, kind, name, detail, key_version, created_at)
            values ($1, $2, $3, $4, $5, $6, $7)
        ";
        let mut tx = self.db().begin().await?;
        let insert = query("record a credential", INSERT)
            .bind(credential.id)
            .bind(self.user)
            .bind(credential.kind.name())
            .bind(&credential.name)
            .bind(&credential.detail)
            .bind(credential.key_version)
            .bind(credential.created_at);
        tx.execute(insert).await.map_err(|it| it.or_exists(What::Credential, &credential.name))?;
        self.insert_sealed(&mut tx, secret).await?;
        audit.append(&mut tx, self.store.now()).await?;
        tx.commit().await
    }

    /// The user's credentials, ordered by kind and name.
    pub async fn credentials(&self) -> Result<Vec<Credential>, Error> {
        const LIST: &str = "
            select credential_id, kind, name, detail, key_version, created_at
            from credential where user_id = $1 order by kind, name
        ";
        self.db().all(query("list credentials", LIST).bind(self.user)).await
    }

    /// Removes a credential with its secret.
    pub async fn remove_credential(&self, id: CredentialId, audit: Entry) -> Result<(), Error> {
        const DELETE: &str = "delete from credential where credential_id = $1 and user_id = $2";
        const UNSEAL: &str = "delete from sealed where user_id = $1 and record = $2";
        let mut tx = self.db().begin().await?;
        let gone =
            tx.execute(query("remove a credential", DELETE).bind(id).bind(self.user)).await?;
        if gone == 0 {
            return Err(Error::Missing { what: What::Credential });
        }
        let record = Credential::record(id);
        tx.execute(query("remove a sealed value", UNSEAL).bind(self.user).bind(record)).await?;
        audit.append(&mut tx, self.store.now()).await?;
        tx.commit().await
    }
}

impl System {
    /// Keeps a sealed value of the installation itself.
    pub async fn put_sealed(&self, sealed: &Sealed) -> Result<(), Error> {
        let mut tx = self.db().begin().await?;
        insert_sealed(&mut tx, UserId::SYSTEM, self.now(), sealed).await?;
        tx.commit().await
    }

    /// Reads a sealed value of the installation itself.
    pub async fn sealed(&self, record: &str) -> Result<Sealed, Error> {
        read_sealed(&self.store, UserId::SYSTEM, record).await
    }

    /// Whether any key was ever wrapped: then the master key must not be made anew.
    pub async fn has_keys(&self) -> Result<bool, Error> {
        const ANY: &str = "select 1 as one from vault_key limit 1";
        let any: Option<(i32,)> = self.db().optional(query("look for keys", ANY)).await?;
        Ok(any.is_some())
    }

    /// Reads the wrapped key of a user, or of the installation itself.
    pub async fn key(&self, user: UserId) -> Result<Option<WrappedKey>, Error> {
        const READ: &str =
            "select master_version, nonce, wrapped from vault_key where user_id = $1";
        self.db().optional(query("read a key", READ).bind(user)).await
    }

    /// Keeps a user's first key; returns the one that is kept, which is another replica's when that
    /// came first.
    pub async fn add_key(&self, user: UserId, key: &WrappedKey) -> Result<WrappedKey, Error> {
        const INSERT: &str = "
            insert into vault_key (user_id, master_version, nonce, wrapped, created_at)
            values ($1, $2, $3, $4, $5) on conflict (user_id) do nothing
        ";
        let insert = query("keep a key", INSERT)
            .bind(user)
            .bind(key.master_version)
            .bind(&key.nonce)
            .bind(&key.wrapped)
            .bind(self.now());
        self.db().execute(insert).await?;
        self.key(user).await?.ok_or(Error::Missing { what: What::Secret })
    }

    /// Replaces a user's wrapped key, when the master key changes.
    pub async fn rewrap_key(
        &self,
        user: UserId,
        from_version: i64,
        key: &WrappedKey,
    ) -> Result<bool, Error> {
        const UPDATE: &str = "
            update vault_key set master_version = $3, nonce = $4, wrapped = $5
            where user_id = $1 and master_version = $2
        ";
        let update = query("rewrap a key", UPDATE)
            .bind(user)
            .bind(from_version)
            .bind(key.master_version)
            .bind(&key.nonce)
            .bind(&key.wrapped);
        Ok(0 < self.db().execute(update).await?)
    }

    /// Users whose key is wrapped by another version of the master key than this.
    pub async fn keys_not_at(&self, master_version: i64) -> Result<Vec<UserId>, Error> {
        const LIST: &str = "select user_id from vault_key where master_version <> $1";
        let rows: Vec<(UserId,)> =
            self.db().all(query("list keys", LIST).bind(master_version)).await?;
        Ok(rows.into_iter().map(|(user,)| user).collect())
    }

    /// Destroys a user's key, and with it everything that is sealed for the user.
    pub async fn destroy_key(&self, user: UserId, audit: Entry) -> Result<(), Error> {
        const DELETE: &str = "delete from vault_key where user_id = $1";
        let mut tx = self.db().begin().await?;
        tx.execute(query("destroy a key", DELETE).bind(user)).await?;
        audit.append(&mut tx, self.now()).await?;
        tx.commit().await
    }
}

pub(crate) async fn insert_sealed(
    tx: &mut Tx,
    user: UserId,
    at: At,
    sealed: &Sealed,
) -> Result<(), Error> {
    const PUT: &str = "
        insert into sealed
            (user_id, record, version, key_nonce, wrapped_key, nonce, ciphertext, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (user_id, record) do update set
            version = excluded.version, key_nonce = excluded.key_nonce,
            wrapped_key = excluded.wrapped_key, nonce = excluded.nonce,
            ciphertext = excluded.ciphertext, created_at = excluded.created_at
    ";
    let put = query("keep a sealed value", PUT)
        .bind(user)
        .bind(&sealed.record)
        .bind(sealed.version)
        .bind(&sealed.key_nonce)
        .bind(&sealed.wrapped_key)
        .bind(&sealed.nonce)
        .bind(&sealed.ciphertext)
        .bind(at);
    tx.execute(put).await.map(drop)
}

async fn read_sealed(store: &Store, user: UserId, record: &str) -> Result<Sealed, Error> {
    const READ: &str = "
        select record, version, key_nonce, wrapped_key, nonce, ciphertext
        from sealed where user_id = $1 and record = $2
    ";
    store
        .db()
        .optional(query("read a sealed value", READ).bind(user).bind(record))
        .await?
        .ok_or(Error::Missing { what: What::Secret })
}
