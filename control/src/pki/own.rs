//! The control plane's own certificate: 24 hours, renewed by itself at a random 50 to 80 % of its
//! life, with a new key each time.

use std::{sync::Arc, time::Duration};

use rand::RngExt as _;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use slipway_host::Chain;
use slipway_store::Entry;
use slipway_transport::Credentials;
use tokio_util::sync::CancellationToken;

use super::{Authority, Csr, Error, Profile};

/// Time between two tries, and the longest wait in one piece, so that a set clock is noticed.
const LOOK: Duration = Duration::from_mins(10);

/// A certificate for this replica, for its listener and for its calls to agents.
///
/// # Errors
/// See [`Error`].
pub async fn credentials(authority: &Authority, replica: &str) -> Result<Arc<Credentials>, Error> {
    let (chain, key) = issue(authority, replica).await?;
    Credentials::new(chain, key, &authority.roots()).map_err(Error::Own)
}

/// Renews the certificate for as long as the control plane runs.
pub async fn keep(
    authority: Authority,
    replica: String,
    credentials: Arc<Credentials>,
    stop: CancellationToken,
) {
    let mut part = rand::rng().random_range(0.5..0.8);
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        let leaf = credentials.leaf();
        let life = leaf.not_after.duration_since(leaf.not_before).unwrap_or_default();
        if authority.now() < leaf.not_before + life.mul_f64(part) {
            continue;
        }
        match renew(&authority, &replica, &credentials).await {
            Ok(()) => {
                part = rand::rng().random_range(0.5..0.8);
                tracing::info!(serial = %credentials.leaf().serial, "renewed our certificate");
            }
            Err(error) => {
                tracing::error!(error = %Chain(&error), "could not renew our certificate");
            }
        }
    }
}

/// Replaces the certificate now.
///
/// # Errors
/// See [`Error`]; then the old one stays.
pub async fn renew(
    authority: &Authority,
    replica: &str,
    credentials: &Credentials,
) -> Result<(), Error> {
    let (chain, key) = issue(authority, replica).await?;
    credentials.replace(chain, key, &authority.roots()).map_err(Error::Own)
}

async fn issue(
    authority: &Authority,
    replica: &str,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let key = KeyPair::generate().map_err(Error::Sign)?;
    let request = CertificateParams::default().serialize_request(&key).map_err(Error::Sign)?;
    let csr = Csr::parse(request.der()).map_err(|_| Error::Broken("our own request is refused"))?;
    let issued = authority.sign(&csr, &Profile::Control { replica: replica.to_owned() })?;
    let audit = Entry::done("system", "certificate.issue", format!("control/{replica}"));
    authority.record(&issued, audit).await?;
    Ok((issued.chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}
