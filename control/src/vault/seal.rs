//! Sealing and opening.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use ring::rand::{SecureRandom as _, SystemRandom};
use slipway_host::Secret;
use slipway_store::{Entry, Sealed, Store, UserId, WrappedKey};
use tracing::info;

use super::{Error, MasterKey};

type Key = Secret<[u8; 32]>;

/// Seals and opens values. Cheap to clone. Keeps no key but the master key, so that a destroyed key
/// is gone at once, on every replica.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    store: Store,
    master: MasterKey,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("master", &self.0.master).finish_non_exhaustive()
    }
}

impl Vault {
    /// Opens the vault, and checks that the master key is the one that this store was sealed with.
    pub async fn open(store: Store, master: MasterKey) -> Result<Self, Error> {
        let vault = Self(Arc::new(Inner { store, master }));
        vault.user_key(UserId::SYSTEM).await?;
        Ok(vault)
    }

    /// Seals a value for a user, or for the installation itself. `record` says where it belongs, as
    /// `table|column|row`. The caller keeps what it gets.
    pub async fn seal(
        &self,
        user: UserId,
        record: &str,
        version: i64,
        value: &Secret<String>,
    ) -> Result<Sealed, Error> {
        let user_key = self.user_key(user).await?;
        let data_key = random()?;
        let place = place(record, user, version);
        let (key_nonce, wrapped_key) =
            encrypt(&user_key, data_key.expose(), &format!("key|{place}"))?;
        let (nonce, ciphertext) = encrypt(&data_key, value.expose().as_bytes(), &place)?;
        let record = record.to_owned();
        Ok(Sealed { record, version, key_nonce, wrapped_key, nonce, ciphertext })
    }

    /// Opens a value of a user, which has to be in its place.
    pub async fn unseal(&self, user: UserId, sealed: &Sealed) -> Result<Secret<String>, Error> {
        let broken = || Error::Sealed { record: sealed.record.clone() };
        let user_key = self.kept_key(user).await?.ok_or(Error::Destroyed)?;
        let place = place(&sealed.record, user, sealed.version);
        let aad = format!("key|{place}");
        let data_key = decrypt(&user_key, &sealed.key_nonce, &sealed.wrapped_key, &aad)
            .and_then(key)
            .ok_or_else(broken)?;
        let value =
            decrypt(&data_key, &sealed.nonce, &sealed.ciphertext, &place).ok_or_else(broken)?;
        let text = std::str::from_utf8(value.expose()).map_err(|_| broken())?;
        Ok(Secret::new(text.to_owned()))
    }

    /// Destroys a user's key, and with it everything that is sealed for the user.
    pub async fn destroy(&self, user: UserId, audit: Entry) -> Result<(), Error> {
        let destroyed = self.0.store.system().destroy_key(user, audit).await;
        destroyed.map_err(|source| Error::Store { action: "destroy a user's key", source })
    }

    /// Rewraps every user's key that `old` wraps with this vault's master key; tells how many.
    /// Values stay as they are. Safe to repeat and to cut short.
    pub async fn rotate(store: &Store, old: &MasterKey, new: &MasterKey) -> Result<usize, Error> {
        let failed = |source| Error::Store { action: "rewrap keys", source };
        let (system, mut rewrapped) = (store.system(), 0);
        for user in system.keys_not_at(new.version()).await.map_err(failed)? {
            let Some(wrapped) = system.key(user).await.map_err(failed)? else { continue };
            let key = unwrap(old, user, &wrapped)?;
            let wrapped = wrap(new, user, &key)?;
            if system.rewrap_key(user, old.version(), &wrapped).await.map_err(failed)? {
                rewrapped += 1;
            }
        }
        info!(keys = rewrapped, version = new.version(), "keys rewrapped");
        Ok(rewrapped)
    }

    /// The user's key; makes it if there is none.
    async fn user_key(&self, user: UserId) -> Result<Key, Error> {
        if let Some(key) = self.kept_key(user).await? {
            return Ok(key);
        }
        let wrapped = wrap(&self.0.master, user, &random()?)?;
        let kept = self.0.store.system().add_key(user, &wrapped).await;
        let kept = kept.map_err(|source| Error::Store { action: "keep a user's key", source })?;
        unwrap(&self.0.master, user, &kept)
    }

    async fn kept_key(&self, user: UserId) -> Result<Option<Key>, Error> {
        let wrapped = self.0.store.system().key(user).await;
        let wrapped =
            wrapped.map_err(|source| Error::Store { action: "read a user's key", source })?;
        wrapped.map(|it| unwrap(&self.0.master, user, &it)).transpose()
    }
}

/// What authenticates a value: where it belongs, and whose it is.
fn place(record: &str, user: UserId, version: i64) -> String {
    format!("{record}|{user}|{version}")
}

fn wrap(master: &MasterKey, user: UserId, key: &Key) -> Result<WrappedKey, Error> {
    let master_version = master.version();
    let aad = place(&format!("vault_key|wrapped|{user}"), user, master_version);
    let (nonce, wrapped) = encrypt(master.key(), key.expose(), &aad)?;
    Ok(WrappedKey { master_version, nonce, wrapped })
}

fn unwrap(master: &MasterKey, user: UserId, wrapped: &WrappedKey) -> Result<Key, Error> {
    let aad = place(&format!("vault_key|wrapped|{user}"), user, wrapped.master_version);
    decrypt(master.key(), &wrapped.nonce, &wrapped.wrapped, &aad)
        .and_then(key)
        .ok_or(Error::WrongMasterKey)
}

fn key(bytes: Secret<Vec<u8>>) -> Option<Key> {
    bytes.expose().as_slice().try_into().ok().map(Secret::new)
}

/// 32 bytes that nobody can guess.
pub(super) fn random() -> Result<Key, Error> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Seal)?;
    Ok(Secret::new(bytes))
}

/// Returns nonce and ciphertext, in base64.
fn encrypt(key: &Key, value: &[u8], aad: &str) -> Result<(String, String), Error> {
    let mut nonce = [0; 24];
    SystemRandom::new().fill(&mut nonce).map_err(|_| Error::Seal)?;
    let cipher = XChaCha20Poly1305::new(key.expose().into());
    let payload = Payload { msg: value, aad: aad.as_bytes() };
    let sealed = cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| Error::Seal)?;
    Ok((BASE64_STANDARD.encode(nonce), BASE64_STANDARD.encode(sealed)))
}

fn decrypt(key: &Key, nonce: &str, sealed: &str, aad: &str) -> Option<Secret<Vec<u8>>> {
    let nonce: [u8; 24] = BASE64_STANDARD.decode(nonce).ok()?.try_into().ok()?;
    let sealed = BASE64_STANDARD.decode(sealed).ok()?;
    let cipher = XChaCha20Poly1305::new(key.expose().into());
    let payload = Payload { msg: sealed.as_slice(), aad: aad.as_bytes() };
    cipher.decrypt(&XNonce::from(nonce), payload).ok().map(Secret::new)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn store(dir: &tempfile::TempDir) -> Store {
        let url = format!("sqlite://{}/slipway.db", dir.path().display());
        Store::open(&url, dir.path()).await.unwrap()
    }

    async fn vault(dir: &tempfile::TempDir) -> Vault {
        Vault::open(store(dir).await, MasterKey::generate(1).unwrap()).await.unwrap()
    }

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_value_comes_back_and_does_not_show() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(&dir).await;
        let user = UserId::new();
        let sealed = vault.seal(user, "release|secrets|1", 1, &secret("SENTINEL")).await.unwrap();
        assert!(!format!("{sealed:?} {vault:?}").contains("SENTINEL"));
        assert!(!format!("{sealed:?}").contains(&BASE64_STANDARD.encode("SENTINEL")));
        assert_eq!(vault.unseal(user, &sealed).await.unwrap().expose(), "SENTINEL");
        let again = vault.seal(user, "release|secrets|1", 1, &secret("SENTINEL")).await.unwrap();
        assert_ne!(sealed.ciphertext, again.ciphertext, "the same value shows as the same");
    }

    #[tokio::test]
    async fn a_moved_or_changed_ciphertext_does_not_open() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(&dir).await;
        let (user, other) = (UserId::new(), UserId::new());
        let sealed = vault.seal(user, "release|secrets|1", 1, &secret("value")).await.unwrap();
        vault.seal(other, "release|secrets|1", 1, &secret("other")).await.unwrap();
        let changed = |change: fn(&mut Sealed)| {
            let mut it = sealed.clone();
            change(&mut it);
            it
        };
        let moved = [
            changed(|it| it.record = "release|secrets|2".to_owned()),
            changed(|it| it.record = "release|spec|1".to_owned()),
            changed(|it| it.version = 2),
            changed(|it| it.nonce = it.key_nonce.clone()),
            changed(|it| it.ciphertext = it.wrapped_key.clone()),
            changed(|it| it.ciphertext.clear()),
            changed(|it| it.nonce = "no base64".to_owned()),
        ];
        for (index, moved) in moved.iter().enumerate() {
            let error = vault.unseal(user, moved).await.unwrap_err();
            assert!(matches!(error, Error::Sealed { .. }), "{index}: {error}");
        }
        let error = vault.unseal(other, &sealed).await.unwrap_err();
        assert!(matches!(error, Error::Sealed { .. }), "another user's: {error}");
    }

    #[tokio::test]
    async fn another_master_key_is_refused_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        drop(vault(&dir).await);
        let error =
            Vault::open(store(&dir).await, MasterKey::generate(1).unwrap()).await.unwrap_err();
        assert!(matches!(error, Error::WrongMasterKey) && error.is_configuration());
    }

    #[tokio::test]
    async fn a_destroyed_key_takes_its_users_values_along_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(&dir).await;
        let (user, other) = (UserId::new(), UserId::new());
        let mine = vault.seal(user, "a|b|c", 1, &secret("mine")).await.unwrap();
        let theirs = vault.seal(other, "a|b|c", 1, &secret("theirs")).await.unwrap();
        vault.destroy(user, Entry::done("system", "user.remove", user.to_string())).await.unwrap();
        assert!(matches!(vault.unseal(user, &mine).await, Err(Error::Destroyed)));
        assert_eq!(vault.unseal(other, &theirs).await.unwrap().expose(), "theirs");
    }

    #[tokio::test]
    async fn a_new_master_key_opens_what_the_old_one_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (MasterKey::generate(1).unwrap(), MasterKey::generate(2).unwrap());
        let store = store(&dir).await;
        let vault = Vault::open(store.clone(), old.clone()).await.unwrap();
        let user = UserId::new();
        let sealed = vault.seal(user, "a|b|c", 1, &secret("value")).await.unwrap();

        assert_eq!(Vault::rotate(&store, &old, &new).await.unwrap(), 2);
        assert_eq!(Vault::rotate(&store, &old, &new).await.unwrap(), 0, "nothing is left");
        let vault = Vault::open(store.clone(), new).await.unwrap();
        assert_eq!(vault.unseal(user, &sealed).await.unwrap().expose(), "value");
        assert!(matches!(Vault::open(store, old).await, Err(Error::WrongMasterKey)));
    }

    proptest! {
        #[test]
        fn any_text_survives(value in ".{0,200}", aad in "[a-z|]{1,20}", flip in 0..16_usize) {
            let key = random().unwrap();
            let (nonce, sealed) = encrypt(&key, value.as_bytes(), &aad).unwrap();
            let opened = decrypt(&key, &nonce, &sealed, &aad).unwrap();
            prop_assert_eq!(opened.expose().as_slice(), value.as_bytes());

            let mut bytes = BASE64_STANDARD.decode(&sealed).unwrap();
            let at = flip % bytes.len();
            bytes[at] ^= 1;
            let flipped = BASE64_STANDARD.encode(bytes);
            prop_assert!(decrypt(&key, &nonce, &flipped, &aad).is_none());
        }
    }
}
