//! What the first start makes: the first user with its token, and its outside credentials.

use std::{path::Path, time::Duration};

use slipway_host::Secret;
use slipway_proto::token::Pin;
use slipway_store::{Credential, CredentialId, CredentialKind, Entry, Store, User};
use tracing::{info, warn};

use super::Error;
use crate::{auth::token, config::Config, fleet::keys::CREDENTIAL, vault::Vault};

/// Name of the first user.
const FIRST: &str = "admin";
/// Life of its first token.
const LIFE: Duration = Duration::from_secs(365 * 86_400);
/// Version of sealed credentials.
const VERSION: i64 = 1;

/// Adds the first user if there is none and a file for its token is named.
pub(super) async fn user(store: &Store, pin: &Pin, file: Option<&Path>) -> Result<(), Error> {
    let system = store.system();
    let users = system.users().await.map_err(Error::store("list the users"))?;
    let Some(file) = file else {
        if users.is_empty() {
            warn!("there is no user yet; start once with --bootstrap-token-file FILE to make one");
        }
        return Ok(());
    };
    if !users.is_empty() {
        return Ok(());
    }
    let (text, new) = token::api(pin, "bootstrap", false, store.now(), LIFE);
    // First the file: a user whose token nobody knows could never be replaced.
    slipway_host::fs::replace(file, format!("{}\n", text.expose()).as_bytes(), 0o600)
        .map_err(|source| Error::Home { path: file.to_owned(), source })?;
    let audit = Entry::done("system", "user.add", format!("user:{FIRST}"));
    system.add_user(FIRST, true, new, audit).await.map_err(Error::store("add the first user"))?;
    info!(user = FIRST, file = %file.display(), "added the first user");
    Ok(())
}

/// Seals the tokens of the environment as credentials of the first user.
pub(super) async fn credentials(
    store: &Store,
    vault: &Vault,
    config: &Config,
) -> Result<(), Error> {
    let given = [
        (CredentialKind::DigitalOcean, &config.do_token, ""),
        (CredentialKind::Git, &config.git_token, "github.com"),
    ];
    if given.iter().all(|(_, token, _)| token.is_none()) {
        return Ok(());
    }
    let users = store.system().users().await.map_err(Error::store("list the users"))?;
    let Some(first) = users.iter().min_by_key(|it| it.created_at) else { return Ok(()) };
    for (kind, token, detail) in given {
        if let Some(token) = token {
            credential(store, vault, first, (kind, detail), token).await?;
        }
    }
    Ok(())
}

async fn credential(
    store: &Store,
    vault: &Vault,
    user: &User,
    (kind, detail): (CredentialKind, &str),
    token: &Secret<String>,
) -> Result<(), Error> {
    let owner = store.of(user.id);
    let kept = owner.credentials().await.map_err(Error::store("list the credentials"))?;
    let kept = kept.iter().find(|it| it.kind == kind && it.name == CREDENTIAL);
    let what = format!("credential:{}/{CREDENTIAL}", kind.name());
    if let Some(kept) = kept {
        let sealed = owner.sealed(&Credential::record(kept.id)).await;
        let sealed = sealed.map_err(Error::store("read a credential"))?;
        let old = vault.unseal(user.id, &sealed).await.map_err(Error::Vault)?;
        if old == *token {
            return Ok(());
        }
        let audit = Entry::done("system", "credential.remove", &what);
        let removed = owner.remove_credential(kept.id, audit).await;
        removed.map_err(Error::store("replace a credential"))?;
    }
    let id = CredentialId::new();
    let sealed = vault.seal(user.id, &Credential::record(id), VERSION, token).await;
    let sealed = sealed.map_err(Error::Vault)?;
    let new = Credential {
        id,
        kind,
        name: CREDENTIAL.to_owned(),
        detail: detail.to_owned(),
        key_version: 1,
        created_at: store.now(),
    };
    let audit = Entry::done("system", "credential.add", &what);
    let added = owner.add_credential(&new, &sealed, audit).await;
    added.map_err(Error::store("keep a credential"))?;
    info!(kind = kind.name(), user = %user.name, "kept a credential of the environment");
    Ok(())
}
