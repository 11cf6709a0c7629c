//! What the authority signs, looked at from outside.

use std::{sync::Arc, time::Duration};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use slipway_host::clock::Clock;
use slipway_store::{Entry, Store, UserId};
use slipway_transport::{Certificate, Identity};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;
use crate::vault::{MasterKey, Vault};

struct Home {
    store: Store,
    vault: Vault,
    clock: Clock,
    _dir: tempfile::TempDir,
}

impl Home {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("db").display());
        let clock = Clock::manual(Clock::system().now());
        let store = Store::open_with(&url, dir.path(), clock.clone()).await.unwrap();
        let vault = Vault::open(store.clone(), MasterKey::generate(1).unwrap()).await.unwrap();
        Self { store, vault, clock, _dir: dir }
    }

    async fn authority(&self) -> Authority {
        Authority::open(&self.store, &self.vault).await.unwrap()
    }

    fn verify(&self, roots: &[CertificateDer<'static>], issued: &Issued, name: &str) -> bool {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build().unwrap();
        let (leaf, rest) = issued.chain.split_first().unwrap();
        let name = ServerName::try_from(name).unwrap();
        let since = self.clock.now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = UnixTime::since_unix_epoch(since);
        verifier.verify_server_cert(leaf, rest, &name, &[], now).is_ok()
    }
}

fn csr() -> Csr {
    // It asks for much; nothing of it may come back.
    let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(4000, 1, 1);
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "evil");
    let request = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
    Csr::parse(request.der()).unwrap()
}

fn user() -> String {
    UserId::new().to_string()
}

#[tokio::test]
async fn each_profile_says_what_it_should_and_nothing_of_the_request() {
    let home = Home::new().await;
    let authority = home.authority().await;
    let hour = Duration::from_hours(1);
    let profiles = [
        (Profile::Agent { user: user(), agent: "a1".into() }, "a1.agents.slipway.internal", 168),
        (Profile::Control { replica: "r1".into() }, "control.slipway.internal", 24),
        (Profile::Operator { user: user(), write: true, life: 100 * hour }, "", 8),
        (Profile::Operator { user: user(), write: false, life: hour }, "", 1),
    ];
    for (profile, name, hours) in profiles {
        let issued = authority.sign(&csr(), &profile).unwrap();
        let leaf = Certificate::parse(&issued.chain[0]).unwrap();
        assert_eq!(leaf.identity, profile.identity(authority.install()));
        let life = leaf.not_after.duration_since(leaf.not_before).unwrap();
        assert_eq!(life, (hours + 1) * hour, "{profile:?}");
        assert!(leaf.not_before <= home.clock.now());

        let (_, x509) = X509Certificate::from_der(&issued.chain[0]).unwrap();
        assert!(!x509.is_ca() && x509.basic_constraints().unwrap().is_some());
        assert_eq!(x509.subject().to_string(), "CN=slipway");
        let usage = x509.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && !usage.key_cert_sign());
        let extended = x509.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.client_auth && !extended.any);
        assert_eq!(extended.server_auth, !name.is_empty());
        let names = x509.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(names.general_names.len(), if name.is_empty() { 1 } else { 2 });
        if !name.is_empty() {
            assert!(home.verify(&authority.roots(), &issued, name));
            assert!(!home.verify(&authority.roots(), &issued, "evil.example"));
        }
        assert_eq!(issued.record.serial.len(), 32);
        assert_eq!(issued.record.spki_sha256, hex::encode(leaf.spki_sha256));
    }
    let other = Profile::Control { replica: "No/../Good".into() };
    assert!(authority.sign(&csr(), &other).is_err(), "a name that does not fit is not signed");
}

#[tokio::test]
async fn the_authority_is_the_same_after_a_restart_and_needs_its_master_key() {
    let home = Home::new().await;
    let first = home.authority().await;
    let again = home.authority().await;
    assert_eq!(first.pin(), again.pin());
    let issued = first.sign(&csr(), &Profile::Control { replica: "r".into() }).unwrap();
    assert!(home.verify(&again.roots(), &issued, "control.slipway.internal"));
    assert!(Vault::open(home.store.clone(), MasterKey::generate(1).unwrap()).await.is_err());
}

#[tokio::test]
async fn the_issuing_authority_is_replaced_before_its_end_under_the_same_root() {
    let home = Home::new().await;
    let first = home.authority().await;
    let old = first.sign(&csr(), &Profile::Control { replica: "r".into() }).unwrap();
    home.clock.advance(Duration::from_hours(24 * 320));
    let second = home.authority().await;
    assert_eq!(first.pin(), second.pin());
    let new = second.sign(&csr(), &Profile::Control { replica: "r".into() }).unwrap();
    assert_ne!(old.chain[1], new.chain[1]);
    assert!(home.verify(&first.roots(), &new, "control.slipway.internal"));
    let third = home.authority().await;
    let again = third.sign(&csr(), &Profile::Control { replica: "r".into() }).unwrap();
    assert_eq!(new.chain[1], again.chain[1], "once is enough");
}

#[tokio::test]
async fn a_revoked_certificate_is_on_record_as_such() {
    let home = Home::new().await;
    let authority = home.authority().await;
    let issued = authority.sign(&csr(), &Profile::Control { replica: "r".into() }).unwrap();
    let serial = &issued.record.serial;
    let audit = || Entry::done("system", "certificate.issue", "test");
    assert!(home.store.system().active_cert(serial).await.unwrap().is_none());
    authority.record(&issued, audit()).await.unwrap();
    assert!(home.store.system().active_cert(serial).await.unwrap().is_some());
    authority.revoke(serial, audit()).await.unwrap();
    assert!(home.store.system().active_cert(serial).await.unwrap().is_none());
}

#[tokio::test]
async fn our_own_certificate_is_renewed_in_place() {
    let home = Home::new().await;
    let authority = home.authority().await;
    let credentials = own::credentials(&authority, "r").await.unwrap();
    let before = credentials.leaf();
    own::renew(&authority, "r", &credentials).await.unwrap();
    let after = credentials.leaf();
    assert_ne!((&before.serial, before.spki_sha256), (&after.serial, after.spki_sha256));
    let Identity::Control { replica, .. } = &after.identity else { panic!() };
    assert_eq!(replica, "r");
}
