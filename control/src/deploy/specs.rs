//! Whole specifications, secrets included, sealed in the vault.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;
use slipway_host::{Chain, Secret};
use slipway_proto::{agent::v1 as wire, problem::Problem};
use slipway_store::{OperationId, Release, Sealed, Store, UserId};
use tracing::error;

use crate::vault::Vault;

/// Version of what is sealed: base64 of the message.
const VERSION: i64 = 1;

/// Seals and opens specifications.
#[derive(Clone, Debug)]
pub(super) struct Specs {
    store: Store,
    vault: Vault,
}

impl Specs {
    pub(super) fn new(store: Store, vault: Vault) -> Self {
        Self { store, vault }
    }

    /// Seals the specification of a deployment.
    pub(super) async fn seal(
        &self,
        user: UserId,
        id: OperationId,
        spec: &wire::AppSpec,
    ) -> Result<Sealed, Problem> {
        let bytes = Secret::new(spec.encode_to_vec());
        let text = Secret::new(BASE64_STANDARD.encode(bytes.expose()));
        let sealed = self.vault.seal(user, &Release::record(id), VERSION, &text).await;
        sealed.map_err(|error| {
            error!(error = %Chain(&error), "could not seal a specification");
            error.problem()
        })
    }

    /// Opens the specification of a deployment.
    pub(super) async fn load(
        &self,
        user: UserId,
        id: OperationId,
    ) -> Result<wire::AppSpec, Problem> {
        let sealed = self.store.of(user).sealed(&Release::record(id)).await.map_err(|error| {
            error!(error = %Chain(&error), "could not read a specification");
            error.problem()
        })?;
        let text = self.vault.unseal(user, &sealed).await.map_err(|error| {
            error!(error = %Chain(&error), "could not open a specification");
            error.problem()
        })?;
        let bytes = BASE64_STANDARD.decode(text.expose()).map(Secret::new).ok();
        bytes.and_then(|it| wire::AppSpec::decode(it.expose().as_slice()).ok()).ok_or_else(|| {
            error!(operation.id = %id, "a sealed specification is no specification");
            Problem::internal("the kept specification is broken")
        })
    }
}
