//! New keys, the requests to sign them, and when it is time for them.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use rand::RngExt as _;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _};
use rustls::pki_types::PrivatePkcs8KeyDer;
use sha2::{Digest as _, Sha256};
use slipway_host::Secret;
use slipway_transport::Certificate;

use super::Error;

/// A key on P-256 that has no certificate yet.
pub struct Key {
    pair: KeyPair,
    pkcs8: Secret<Vec<u8>>,
}

impl Key {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn new() -> Result<Self, Error> {
        let pair = KeyPair::generate().map_err(Error::Key)?;
        let pkcs8 = Secret::new(pair.serialize_der());
        Ok(Self { pair, pkcs8 })
    }

    /// Reads a key that was kept.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn read(pkcs8: Secret<Vec<u8>>) -> Result<Self, Error> {
        let der = PrivatePkcs8KeyDer::from(pkcs8.expose().as_slice());
        let pair = KeyPair::try_from(&der).map_err(Error::Key)?;
        Ok(Self { pair, pkcs8 })
    }

    /// A request to sign the key. It asks for nothing: names are the control plane's business.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn request(&self) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "slipway-agent");
        let request = params.serialize_request(&self.pair).map_err(Error::Key)?;
        Ok(request.der().to_vec())
    }

    /// SHA-256 of the public key with its algorithm.
    pub fn spki_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.pair.subject_public_key_info()).into()
    }

    #[cfg(test)]
    pub(super) fn spki(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    pub(super) fn pkcs8(&self) -> &[u8] {
        self.pkcs8.expose()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// When to renew a certificate: at a random 50 to 80 % of its life, so that a fleet that was
/// enrolled at once does not come back at once.
pub fn due(certificate: &Certificate) -> SystemTime {
    at(certificate, rand::rng().random_range(0.5..0.8))
}

fn at(certificate: &Certificate, part: f64) -> SystemTime {
    let life = certificate.not_after.duration_since(certificate.not_before).unwrap_or_default();
    certificate.not_before + life.mul_f64(part)
}

/// The time until then; zero when it has passed.
pub fn until(then: SystemTime, now: SystemTime) -> Duration {
    then.duration_since(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use slipway_transport::testing::agent;

    use super::*;

    #[test]
    fn a_certificate_is_renewed_between_half_and_four_fifths_of_its_life() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let certificate = Certificate {
            identity: agent("u", "a"),
            serial: String::new(),
            spki_sha256: [0; 32],
            not_before: start,
            not_after: start + Duration::from_secs(100),
        };
        let dues: Vec<_> = (0..200).map(|_| due(&certificate)).collect();
        let (first, last) = (dues.iter().min().unwrap(), dues.iter().max().unwrap());
        assert!(start + Duration::from_secs(50) <= *first);
        assert!(*last < start + Duration::from_secs(80));
        assert_ne!(first, last, "it is random");
        assert_eq!(until(start, start + Duration::from_secs(1)), Duration::ZERO);
    }

    #[test]
    fn a_kept_key_is_the_same_key() {
        let key = Key::new().unwrap();
        let again = Key::read(Secret::new(key.pkcs8().to_vec())).unwrap();
        assert_eq!(again.spki_sha256(), key.spki_sha256());
        assert!(Key::read(Secret::new(b"garbage".to_vec())).is_err());
        assert_eq!(format!("{key:?}"), "Key(..)");
    }
}
