//! Certificate requests from outside.

use rcgen::SubjectPublicKeyInfo;
use sha2::{Digest as _, Sha256};
use slipway_proto::problem::Problem;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519},
    prelude::FromDer as _,
    x509,
};

/// Largest request.
pub const MAX_LEN: usize = 8 << 10;

/// A request whose sender holds the key that it is for.
#[derive(Debug)]
pub struct Csr {
    key: SubjectPublicKeyInfo,
    spki_sha256: [u8; 32],
}

impl Csr {
    /// Checks a request (PKCS #10, DER).
    ///
    /// # Errors
    /// SW-CSR: too large, not a request, a key that is neither P-256 nor Ed25519, a signature that
    /// is not by that key, or a wish for more than an ordinary certificate.
    pub fn parse(der: &[u8]) -> Result<Self, Problem> {
        if der.len() > MAX_LEN {
            return Err(bad(format!("it has {} B; at most {MAX_LEN} are allowed", der.len())));
        }
        let (rest, request) = X509CertificationRequest::from_der(der)
            .map_err(|_| bad("it is not PKCS #10 in DER"))?;
        if !rest.is_empty() {
            return Err(bad("something follows it"));
        }
        let spki = &request.certification_request_info.subject_pki;
        check_key(spki)?;
        request.verify_signature().map_err(|_| bad("it is not signed with its own key"))?;
        // Nothing of this is ever used, but who asks for it means something that we do not.
        for wish in request.requested_extensions().into_iter().flatten() {
            check_wish(wish)?;
        }
        let key =
            SubjectPublicKeyInfo::from_der(spki.raw).map_err(|_| bad("its key cannot be read"))?;
        Ok(Self { key, spki_sha256: Sha256::digest(spki.raw).into() })
    }

    /// The key to sign.
    pub(super) fn key(&self) -> &SubjectPublicKeyInfo {
        &self.key
    }

    /// SHA-256 of the public key with its algorithm.
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.spki_sha256
    }
}

fn check_key(spki: &x509::SubjectPublicKeyInfo<'_>) -> Result<(), Problem> {
    let algorithm = &spki.algorithm;
    let is_p256 = algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
        && algorithm.parameters.as_ref().and_then(|it| it.as_oid().ok()) == Some(OID_EC_P256);
    let is_ed25519 = algorithm.algorithm == OID_SIG_ED25519 && algorithm.parameters.is_none();
    if is_p256 || is_ed25519 { Ok(()) } else { Err(bad("its key is neither P-256 nor Ed25519")) }
}

fn check_wish(wish: &ParsedExtension<'_>) -> Result<(), Problem> {
    let fine = match wish {
        ParsedExtension::KeyUsage(usage) => !usage.key_cert_sign() && !usage.crl_sign(),
        ParsedExtension::ExtendedKeyUsage(usage) => !usage.any && usage.other.is_empty(),
        ParsedExtension::BasicConstraints(constraints) => !constraints.ca,
        ParsedExtension::SubjectAlternativeName(names) => !names
            .general_names
            .iter()
            .any(|it| matches!(it, GeneralName::DNSName(name) if name.contains('*'))),
        _ => false,
    };
    if fine { Ok(()) } else { Err(bad("it asks for more than an ordinary certificate")) }
}

fn bad(why: impl Into<String>) -> Problem {
    let message = format!("the certificate request is refused: {}", why.into());
    Problem::invalid("SW-CSR", "csr_der", message)
        .hint("send a plain PKCS #10 request in DER for a new P-256 key")
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa,
        KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
        PublicKeyData as _, SanType, SignatureAlgorithm,
    };

    use super::*;

    fn request(
        algorithm: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::default();
        change(&mut params);
        params.serialize_request(&key).unwrap().der().to_vec()
    }

    fn code(der: &[u8]) -> String {
        Csr::parse(der).map_or_else(|it| it.code.into_owned(), |_| "ok".to_owned())
    }

    #[test]
    fn plain_requests_pass_and_keep_their_key() {
        for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let der = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
            let csr = Csr::parse(&der).unwrap();
            let spki = key.subject_public_key_info();
            assert_eq!(csr.spki_sha256(), <[u8; 32]>::from(Sha256::digest(spki)));
        }
        let ordinary = request(&PKCS_ECDSA_P256_SHA256, |it| {
            it.subject_alt_names = vec![SanType::DnsName("web-1".try_into().unwrap())];
            it.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        assert_eq!(code(&ordinary), "ok");
    }

    #[test]
    fn each_bad_request_of_the_corpus_is_refused() {
        let p256 = |change: fn(&mut CertificateParams)| request(&PKCS_ECDSA_P256_SHA256, change);
        let good = p256(|_| ());
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let mut other_key = good.clone();
        // A byte of the public key; the request is signed with another one then.
        let at = good.windows(2).position(|it| it == [0x03, 0x42]).unwrap() + 10;
        other_key[at] ^= 1;
        let mut padded = vec![0x30, 0x84, 0x00, 0x10, 0x00, 0x00];
        padded.resize(1 << 20, 0);
        let corpus: Vec<(&str, Vec<u8>)> = vec![
            ("empty", Vec::new()),
            ("text", b"-----BEGIN CERTIFICATE REQUEST-----".to_vec()),
            ("1 MiB", padded),
            ("cut", good[..good.len() - 1].to_vec()),
            ("trailing byte", [good.as_slice(), &[0]].concat()),
            ("signature flipped", flipped),
            ("another key", other_key),
            ("P-384", request(&PKCS_ECDSA_P384_SHA384, |_| ())),
            ("CA", p256(|it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
            ("signs certificates", p256(|it| it.key_usages = vec![KeyUsagePurpose::KeyCertSign])),
            ("any use", p256(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any])),
            (
                "wildcard",
                p256(|it| {
                    it.subject_alt_names =
                        vec![SanType::DnsName("*.agents.slipway.internal".try_into().unwrap())];
                }),
            ),
            (
                "odd extension",
                p256(|it| {
                    it.custom_extensions =
                        vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0])];
                }),
            ),
            ("RSA-2048", hex::decode(RSA_2048).unwrap()),
        ];
        for (what, der) in corpus {
            assert_eq!(code(&der), "SW-CSR", "{what}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
        ) {
            proptest::prop_assert_eq!(code(&bytes), "SW-CSR");
        }

        /// Bytes around what is signed may change without harm; the key may not.
        #[test]
        fn a_changed_byte_never_changes_the_key(at in 0_usize..300, flip in 1_u8..) {
            let der = request(&PKCS_ECDSA_P256_SHA256, |_| ());
            let key = Csr::parse(&der).unwrap().spki_sha256();
            let mut changed = der;
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= flip;
            }
            if let Ok(csr) = Csr::parse(&changed) {
                proptest::prop_assert_eq!(csr.spki_sha256(), key);
            }
        }
    }

    /// `openssl req -new -newkey rsa:2048 -nodes -subj /CN=x -outform DER`
    const RSA_2048: &str = "3082025130820139020100300c310a300806035504030c017830820122300d06092a864886f70d0101010500\
        0382010f003082010a0282010100c0c9d96ccc4fe47fd3965b32a67220a900774e08613847d5855cdcdc0505\
        6c0b1e8487832442d9c2e733b478c4baedc5d6081152b61d1db41538d30911edbc6a909a75b0420822cb0ada\
        1fbf25be20b793741f530588101d3ff6099fa460ca2c0ef5a2e91286e70f507fac6bca14f1264e6033e54b2a\
        9d3bffd25abbf35433a81631c144b78d7fde515ff4b39391a0b61fbaadd61a38d51656564405f7154b84133a\
        4e59789e3dde7317e403ffd319d4a52c3aa2e170f31abdcabe514d71cea324c543ed48fd7564a7337c376adc\
        6667db80dd90c58f0a22d454a329a7f3e1576044bac79b29b713e0b3b33cd8c409fbe2f93347c608114c9f50\
        a32757c50be50203010001a000300d06092a864886f70d01010b050003820101008eb996a58ac96bd89d96d3\
        135dcac0827b4d504f0114e5ade2adde0f191c3058103aa17cec6343bc534323ea3a092c4558869772a72f1a\
        37bb2817560b3875845d1e71ab77a4ad8a68763617e906022753d9800bc8ec934a46d6c4e585684902b16266\
        75df72ad36e8a00f1e59976824abc5b709c6011afb122a78628232cd4b053c27cbfe607be0d998ced0196abe\
        742ed6a2194b6ef658f31effc0e0627a095120194ad88b3a475dddaa0ed9cd555f062f5537ae9296fcfcf069\
        f2009ac0474e1d902c6160557c33cdf131c70c2a8adef9987f8d9f96d93dbf13dbfefdeb066cf6a031f39b4b\
        f7967cbd357c43a761cde00e82a20076493b6982fde85e6dae";
}
