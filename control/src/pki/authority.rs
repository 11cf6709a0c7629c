//! The root and the issuing authority.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rand::RngExt as _;
use rcgen::{Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use slipway_host::Secret;
use slipway_proto::{problem::Problem, token::Pin};
use slipway_store::{At, Ca, CaRole, Cert, Entry, JsonText, Sealed, Store, UserId};
use slipway_transport::{Certificate, tls::pin_of};

use super::{Csr, Profile, profile};
use crate::vault::{self, Vault};

/// An issuing authority with less than this left is replaced at the start.
const RENEW: Duration = Duration::from_hours(24 * 60);

/// An authority that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed.
    #[error("could not {action}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: slipway_store::Error,
    },
    /// A key does not open.
    #[error("the key of the certificate authority does not open")]
    Key(#[source] vault::Error),
    /// What is kept makes no sense.
    #[error("the certificate authority is broken: {0}")]
    Broken(&'static str),
    /// A certificate could not be made.
    #[error("could not make a certificate")]
    Sign(#[source] rcgen::Error),
    /// A certificate of our own cannot be used.
    #[error("our own certificate cannot be used")]
    Own(#[source] slipway_transport::tls::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        if let Error::Store { source, .. } = &error {
            return source.problem();
        }
        tracing::error!(error = %slipway_host::Chain(&error), "the certificate authority failed");
        Self::internal("internal error; see the control plane's log")
    }
}

fn store(action: &'static str) -> impl FnOnce(slipway_store::Error) -> Error {
    move |source| Error::Store { action, source }
}

/// Signs certificates. Cheap to clone.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    store: Store,
    root: CertificateDer<'static>,
    issuing: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    pin: Pin,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("pin", &self.0.pin).finish_non_exhaustive()
    }
}

/// A certificate that was signed, not yet recorded.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// What is recorded of it.
    pub record: Cert,
}

impl Authority {
    /// Reads the authority of this installation, or makes it at the first start.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open(db: &Store, vault: &Vault) -> Result<Self, Error> {
        let system = db.system();
        let mut list = system.authorities().await.map_err(store("read the authorities"))?;
        if list.is_empty() {
            let new = make(db, vault).await?;
            list = system.add_authorities(&new).await.map_err(store("record the authorities"))?;
        }
        let find = |role| list.iter().find(|it| it.role == role);
        let root = find(CaRole::Root).ok_or(Error::Broken("there is no root"))?;
        let issuing = find(CaRole::Issuing).ok_or(Error::Broken("there is no issuing one"))?;
        let root_der = der(root)?;
        if issuing.not_after.since(db.now()) < RENEW {
            let issuing = replace_issuing(db, vault, root).await?;
            return Self::with(db, vault, root_der, &issuing).await;
        }
        Self::with(db, vault, root_der, issuing).await
    }

    async fn with(
        db: &Store,
        vault: &Vault,
        root: CertificateDer<'static>,
        issuing: &Ca,
    ) -> Result<Self, Error> {
        let pin = pin_of(&root).map_err(Error::Own)?;
        let key = key(db, vault, issuing).await?;
        let issuing = der(issuing)?;
        let issuer = Issuer::from_ca_cert_der(&issuing, key).map_err(Error::Sign)?;
        Ok(Self(Arc::new(Inner { store: db.clone(), root, issuing, issuer, pin })))
    }

    /// The pin of the root, for tokens.
    pub fn pin(&self) -> &Pin {
        &self.0.pin
    }

    /// Name of the installation.
    pub fn install(&self) -> &str {
        self.0.store.install()
    }

    /// The roots to trust.
    pub fn roots(&self) -> Vec<CertificateDer<'static>> {
        vec![self.0.root.clone()]
    }

    /// Signs the key of a request. Nothing else of the request is used. The certificate counts only
    /// once its record is in the store.
    ///
    /// # Errors
    /// [`Error::Sign`], [`Error::Broken`].
    pub fn sign(&self, csr: &Csr, profile: &Profile) -> Result<Issued, Error> {
        let Inner { store, root, issuing, issuer, .. } = &*self.0;
        let now = store.clock().now();
        let params = profile.params(store.install(), serial(), now).map_err(Error::Sign)?;
        let leaf = params.signed_by(csr.key(), issuer).map_err(Error::Sign)?.der().clone();
        let mut chain = vec![leaf, issuing.clone()];
        if let Profile::Control { .. } = profile {
            // For callers that know the root only by its pin.
            chain.push(root.clone());
        }
        let record = record(&chain, profile)?;
        Ok(Issued { chain, record })
    }

    /// Records a certificate that was signed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn record(&self, issued: &Issued, audit: Entry) -> Result<(), Error> {
        let system = self.0.store.system();
        system.add_cert(&issued.record, audit).await.map_err(store("record a certificate"))
    }

    /// Revokes a certificate: from now on it is refused, whatever its signature.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn revoke(&self, serial: &str, audit: Entry) -> Result<(), Error> {
        let system = self.0.store.system();
        system.revoke_cert(serial, audit).await.map_err(store("revoke a certificate"))
    }

    pub(super) fn now(&self) -> SystemTime {
        self.0.store.clock().now()
    }
}

fn record(chain: &[CertificateDer<'static>], profile: &Profile) -> Result<Cert, Error> {
    let leaf = chain.first().and_then(|it| Certificate::parse(it).ok());
    let leaf = leaf.ok_or(Error::Broken("a name does not fit into a certificate"))?;
    let (user, agent_id) = match profile {
        Profile::Agent { user, agent } => (Some(user), Some(agent.clone())),
        Profile::Operator { user, .. } => (Some(user), None),
        Profile::Control { .. } => (None, None),
    };
    let user = user.map(|it| it.parse::<UserId>()).transpose();
    Ok(Cert {
        serial: leaf.serial,
        profile: profile.kind(),
        spki_sha256: hex::encode(leaf.spki_sha256),
        user: user.map_err(|_| Error::Broken("a user's id is not a UUID"))?,
        agent_id,
        chain: JsonText(chain.iter().map(|it| BASE64_STANDARD.encode(it)).collect()),
        not_after: At::from(leaf.not_after),
    })
}

/// 127 random bits with the highest one set, so that the number has the same length everywhere.
fn serial() -> [u8; 16] {
    let mut serial: [u8; 16] = rand::rng().random();
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

/// Makes a root and an issuing authority.
async fn make(db: &Store, vault: &Vault) -> Result<[(Ca, Sealed); 2], Error> {
    let now = db.clock().now();
    let (root_serial, root_key) = (serial(), KeyPair::generate().map_err(Error::Sign)?);
    let params = profile::root(db.install(), root_serial, now);
    let root = params.self_signed(&root_key).map_err(Error::Sign)?.der().clone();
    let root_ca = ca(CaRole::Root, root_serial, &root, now + profile::ROOT_LIFE);
    let root_sealed = seal(vault, &root_ca, &root_key).await?;
    let issuing = sign_issuing(db, vault, &Issuer::new(params, root_key)).await?;
    Ok([(root_ca, root_sealed), issuing])
}

async fn sign_issuing(
    db: &Store,
    vault: &Vault,
    root: &Issuer<'_, KeyPair>,
) -> Result<(Ca, Sealed), Error> {
    let now = db.clock().now();
    let (serial, key) = (serial(), KeyPair::generate().map_err(Error::Sign)?);
    let params = profile::issuing(db.install(), serial, now);
    let certificate = params.signed_by(&key, root).map_err(Error::Sign)?.der().clone();
    let ca = ca(CaRole::Issuing, serial, &certificate, now + profile::ISSUING_LIFE);
    let sealed = seal(vault, &ca, &key).await?;
    Ok((ca, sealed))
}

async fn replace_issuing(db: &Store, vault: &Vault, root: &Ca) -> Result<Ca, Error> {
    let root_key = key(db, vault, root).await?;
    let issuer = Issuer::from_ca_cert_der(&der(root)?, root_key).map_err(Error::Sign)?;
    let (issuing, sealed) = sign_issuing(db, vault, &issuer).await?;
    let audit = Entry::done("system", "ca.replace", &issuing.id);
    let system = db.system();
    system
        .replace_authority(&issuing, &sealed, audit)
        .await
        .map_err(store("replace the issuing authority"))?;
    tracing::info!(id = %issuing.id, "replaced the issuing authority");
    Ok(issuing)
}

fn ca(role: CaRole, serial: [u8; 16], der: &CertificateDer<'_>, not_after: SystemTime) -> Ca {
    Ca {
        id: hex::encode(serial),
        role,
        certificate: BASE64_STANDARD.encode(der),
        not_after: At::from(not_after),
    }
}

fn der(ca: &Ca) -> Result<CertificateDer<'static>, Error> {
    let bytes = BASE64_STANDARD.decode(&ca.certificate);
    bytes.map(CertificateDer::from).map_err(|_| Error::Broken("its certificate is not base64"))
}

async fn seal(vault: &Vault, ca: &Ca, key: &KeyPair) -> Result<Sealed, Error> {
    let text = Secret::new(BASE64_STANDARD.encode(Secret::new(key.serialize_der()).expose()));
    vault.seal(UserId::SYSTEM, &Ca::record(&ca.id), 1, &text).await.map_err(Error::Key)
}

async fn key(db: &Store, vault: &Vault, ca: &Ca) -> Result<KeyPair, Error> {
    let sealed = db.system().sealed(&Ca::record(&ca.id)).await;
    let sealed = sealed.map_err(store("read the key of an authority"))?;
    let text = vault.unseal(UserId::SYSTEM, &sealed).await.map_err(Error::Key)?;
    let der = BASE64_STANDARD
        .decode(text.expose())
        .map(Secret::new)
        .map_err(|_| Error::Broken("its key is not base64"))?;
    KeyPair::try_from(der.expose().as_slice()).map_err(Error::Sign)
}
