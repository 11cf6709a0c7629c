//! A certificate authority for tests, shaped like the control plane's: a root, an issuing authority
//! with a name constraint, leaves.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType, SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use slipway_proto::token::Pin;

use crate::{
    CONTROL_NAME, agent_name,
    peer::Identity,
    tls::{Credentials, pin_of},
};

/// What fails here fails the test.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    root: CertificateDer<'static>,
    issuing: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority with new keys.
    ///
    /// # Errors
    /// None that a test can do anything about.
    pub fn new() -> Result<Self> {
        let now = now();
        let mut params = authority("test root", now);
        let key = KeyPair::generate()?;
        let root = params.self_signed(&key)?.der().clone();
        let root_issuer = Issuer::new(params, key);
        params = authority("test issuing", now);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(".slipway.internal".to_owned())],
            excluded_subtrees: Vec::new(),
        });
        let key = KeyPair::generate()?;
        let issuing = params.signed_by(&key, &root_issuer)?.der().clone();
        Ok(Self { root, issuing, issuer: Issuer::new(params, key) })
    }

    /// The roots to trust.
    pub fn roots(&self) -> Vec<CertificateDer<'static>> {
        vec![self.root.clone()]
    }

    /// The pin of the root.
    ///
    /// # Errors
    /// None that a test can do anything about.
    pub fn pin(&self) -> Result<Pin> {
        Ok(pin_of(&self.root)?)
    }

    /// Signs a public key (DER of its `SubjectPublicKeyInfo`) for a holder; leaf first, root last.
    ///
    /// # Errors
    /// None that a test can do anything about.
    pub fn sign(
        &self,
        identity: &Identity,
        spki: &[u8],
        from: SystemTime,
        to: SystemTime,
    ) -> Result<Vec<CertificateDer<'static>>> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "slipway");
        params.not_before = from.into();
        params.not_after = to.into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
        match identity {
            Identity::Agent { agent, .. } => {
                params.subject_alt_names.push(SanType::DnsName(agent_name(agent).try_into()?));
            }
            Identity::Control { .. } => {
                params.subject_alt_names.push(SanType::DnsName(CONTROL_NAME.try_into()?));
            }
            Identity::Operator { .. } => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }
        }
        let leaf = params.signed_by(&SubjectPublicKeyInfo::from_der(spki)?, &self.issuer)?;
        Ok(vec![leaf.der().clone(), self.issuing.clone(), self.root.clone()])
    }

    /// A chain with a new key for a holder, good for the time given from an hour ago.
    ///
    /// # Errors
    /// None that a test can do anything about.
    pub fn issue(
        &self,
        identity: &Identity,
        life: Duration,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        use rcgen::PublicKeyData as _;
        let key = KeyPair::generate()?;
        let from = now() - Duration::from_hours(1);
        let chain = self.sign(identity, &key.subject_public_key_info(), from, from + life)?;
        Ok((chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
    }

    /// Credentials with a new key for a holder, good for a day.
    ///
    /// # Errors
    /// None that a test can do anything about.
    pub fn credentials(&self, identity: &Identity) -> Result<Arc<Credentials>> {
        let (chain, key) = self.issue(identity, Duration::from_hours(25))?;
        Ok(Credentials::new(chain, key, &self.roots())?)
    }
}

/// An agent's identity in installation `test`.
pub fn agent(user: &str, agent: &str) -> Identity {
    Identity::Agent { install: "test".into(), user: user.into(), agent: agent.into() }
}

/// A control plane's identity in installation `test`.
pub fn control() -> Identity {
    Identity::Control { install: "test".into(), replica: "one".into() }
}

/// An operator's identity in installation `test`.
pub fn operator(user: &str, write: bool) -> Identity {
    Identity::Operator { install: "test".into(), user: user.into(), write }
}

fn authority(name: &str, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = (now - Duration::from_hours(24)).into();
    params.not_after = (now + Duration::from_hours(24 * 365)).into();
    params
}

fn now() -> SystemTime {
    slipway_host::clock::Clock::system().now()
}
