//! The `x-api-key` of each user's agents, derived from the user's DigitalOcean token as the earlier
//! systems did it. A user who has none gets a key from a random secret of this installation, which
//! is made once and sealed.

use data_encoding::HEXLOWER;
use futures::future::BoxFuture;
use rand::RngExt as _;
use slipway_host::{Chain, Secret};
use slipway_proto::{key::NodeKey, problem::Problem};
use slipway_store::{Credential, CredentialKind, Error as StoreError, Store, UserId};
use tracing::error;

use super::Keys;
use crate::{refused::refused, vault::Vault};

/// Name of the credential that the key is derived from.
pub const CREDENTIAL: &str = "default";
/// Where the installation's own secret is sealed.
const RECORD: &str = "meta|node_key|install";
/// Version of what is sealed there.
const VERSION: i64 = 1;

/// Derives keys from what the vault holds.
#[derive(Clone, Debug)]
pub struct VaultKeys {
    store: Store,
    vault: Vault,
}

impl VaultKeys {
    /// Reads from `store`, opens with `vault`.
    pub fn new(store: Store, vault: Vault) -> Self {
        Self { store, vault }
    }

    /// Makes the installation's own secret at the first start.
    ///
    /// # Errors
    /// The store's or the vault's.
    pub async fn prepare(&self) -> Result<(), Problem> {
        let system = self.store.system();
        match system.sealed(RECORD).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Missing { .. }) => (),
            Err(error) => return Err(refused(error)),
        }
        let bytes: [u8; 32] = rand::rng().random();
        let text = Secret::new(HEXLOWER.encode(Secret::new(bytes).expose()));
        let sealed = self.vault.seal(UserId::SYSTEM, RECORD, VERSION, &text).await;
        let sealed = sealed.map_err(|it| closed(&it))?;
        system.put_sealed(&sealed).await.map_err(refused)
    }

    async fn token(&self, user: UserId) -> Result<Secret<String>, Problem> {
        let owner = self.store.of(user);
        let credentials = owner.credentials().await.map_err(refused)?;
        let is =
            |it: &&Credential| it.kind == CredentialKind::DigitalOcean && it.name == CREDENTIAL;
        let (whose, sealed) = match credentials.iter().find(is) {
            Some(it) => (user, owner.sealed(&Credential::record(it.id)).await),
            None => (UserId::SYSTEM, self.store.system().sealed(RECORD).await),
        };
        let sealed = sealed.map_err(refused)?;
        self.vault.unseal(whose, &sealed).await.map_err(|it| closed(&it))
    }
}

impl Keys for VaultKeys {
    fn key<'a>(&'a self, user_id: &'a str) -> BoxFuture<'a, Result<NodeKey, Problem>> {
        Box::pin(async move {
            let user: UserId = user_id.parse().map_err(|_| {
                error!(user_id, "an id of a user is no UUID");
                Problem::internal("internal error; see the control plane's log")
            })?;
            let token = self.token(user).await?;
            Ok(NodeKey::derive(token.expose().as_bytes(), user_id))
        })
    }
}

fn closed(failure: &crate::vault::Error) -> Problem {
    error!(error = %Chain(failure), "could not open what the agents' keys are made of");
    failure.problem()
}
