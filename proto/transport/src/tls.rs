//! Our TLS: version 1.3 only, our own roots only, ring.
//!
//! [`Credentials`] hold a key, its chain and the roots, and can be replaced while connections live:
//! the next handshake uses the new ones, on both the serving and the calling side. Sessions are
//! never resumed, so that every connection proves itself anew.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use slipway_proto::token::Pin;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::peer::{self, Certificate};

/// gRPC's protocol name in the handshake.
pub const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Credentials that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The chain is empty.
    #[error("there is no certificate")]
    Empty,
    /// The leaf is not one of ours.
    #[error("the certificate is not one of Slipway's")]
    Leaf(#[source] peer::Error),
    /// The key does not fit, or rustls refuses something.
    #[error("the certificate, its key or the roots cannot be used")]
    Unusable(#[source] rustls::Error),
    /// The roots cannot be used to check clients.
    #[error("the roots cannot be used")]
    Roots(#[source] rustls::server::VerifierBuilderError),
}

/// The pin of a root certificate.
///
/// # Errors
/// [`Error::Leaf`] when it is not a certificate.
pub fn pin_of(root: &CertificateDer<'_>) -> Result<Pin, Error> {
    let (_, certificate) =
        X509Certificate::from_der(root).map_err(|_| Error::Leaf(peer::Error::Encoding))?;
    Ok(Pin::of(certificate.public_key().raw))
}

/// A key, its chain and the roots to trust; replaceable at any time.
#[derive(Debug)]
pub struct Credentials(ArcSwap<Material>);

struct Material {
    certified: Arc<CertifiedKey>,
    leaf: Arc<Certificate>,
    roots: Arc<RootCertStore>,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}

impl Material {
    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: &[CertificateDer<'static>],
    ) -> Result<Self, Error> {
        let leaf = Certificate::parse(chain.first().ok_or(Error::Empty)?).map_err(Error::Leaf)?;
        let certified = CertifiedKey::from_der(chain, key, &PROVIDER).map_err(Error::Unusable)?;
        Ok(Self {
            certified: Arc::new(certified),
            leaf: Arc::new(leaf),
            roots: Arc::new(root_store(roots)?),
        })
    }
}

impl Credentials {
    /// Takes a chain (leaf first), the leaf's key, and the roots. A server that pinned clients dial
    /// sends its root as the last part of the chain.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: &[CertificateDer<'static>],
    ) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self(ArcSwap::from_pointee(Material::new(chain, key, roots)?))))
    }

    /// Puts new ones in place for all later handshakes; connections that live go on.
    ///
    /// # Errors
    /// See [`Error`]; then the old ones stay.
    pub fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: &[CertificateDer<'static>],
    ) -> Result<(), Error> {
        self.0.store(Arc::new(Material::new(chain, key, roots)?));
        Ok(())
    }

    /// Our own certificate.
    pub fn leaf(&self) -> Arc<Certificate> {
        Arc::clone(&self.0.load().leaf)
    }
}

/// Whether callers must show a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientAuth {
    /// No connection without one.
    Required,
    /// A caller may have none; one that is shown must be good.
    Optional,
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocols {
    /// gRPC only.
    Grpc,
    /// gRPC, REST and pages.
    GrpcAndHttp,
}

/// The serving side.
#[derive(Debug)]
pub struct ServerTls {
    credentials: Arc<Credentials>,
    auth: ClientAuth,
    protocols: Protocols,
    built: ArcSwapOption<(Arc<Material>, Arc<ServerConfig>)>,
}

impl ServerTls {
    /// Serves with these credentials, and checks clients against their roots.
    pub fn new(credentials: Arc<Credentials>, auth: ClientAuth, protocols: Protocols) -> Self {
        Self { credentials, auth, protocols, built: ArcSwapOption::empty() }
    }

    /// What the next handshake uses.
    ///
    /// # Errors
    /// [`Error::Roots`].
    pub fn config(&self) -> Result<Arc<ServerConfig>, Error> {
        let material = self.credentials.0.load_full();
        if let Some(built) = self.built.load_full()
            && Arc::ptr_eq(&built.0, &material)
        {
            return Ok(Arc::clone(&built.1));
        }
        let config = Arc::new(self.build(&material)?);
        self.built.store(Some(Arc::new((material, Arc::clone(&config)))));
        Ok(config)
    }

    fn build(&self, material: &Material) -> Result<ServerConfig, Error> {
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&material.roots),
            Arc::clone(&PROVIDER),
        );
        let verifier = match self.auth {
            ClientAuth::Required => verifier,
            ClientAuth::Optional => verifier.allow_unauthenticated(),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(Error::Unusable)?
            .with_client_cert_verifier(verifier.build().map_err(Error::Roots)?)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::clone(
                &material.certified,
            ))));
        config.alpn_protocols = match self.protocols {
            Protocols::Grpc => vec![H2.to_vec()],
            Protocols::GrpcAndHttp => vec![H2.to_vec(), HTTP1.to_vec()],
        };
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// The calling side.
#[derive(Clone, Debug)]
pub struct ClientTls(Arc<ClientSide>);

#[derive(Debug)]
struct ClientSide {
    trust: Trust,
    credentials: Option<Arc<Credentials>>,
    built: ArcSwapOption<(Option<Arc<Material>>, Arc<ClientConfig>)>,
}

#[derive(Debug)]
enum Trust {
    /// The roots that came with the credentials.
    Credentials,
    Roots(Arc<RootCertStore>),
    Pin(Pin),
}

impl ClientTls {
    /// Shows a certificate, and trusts the roots that came with it.
    pub fn mutual(credentials: Arc<Credentials>) -> Self {
        Self::new(Trust::Credentials, Some(credentials))
    }

    /// Shows no certificate, and trusts these roots.
    ///
    /// # Errors
    /// [`Error::Unusable`].
    pub fn rooted(roots: &[CertificateDer<'static>]) -> Result<Self, Error> {
        Ok(Self::new(Trust::Roots(Arc::new(root_store(roots)?)), None))
    }

    /// Shows no certificate, and trusts the root that the server sends if it has this pin.
    pub fn pinned(pin: Pin) -> Self {
        Self::new(Trust::Pin(pin), None)
    }

    fn new(trust: Trust, credentials: Option<Arc<Credentials>>) -> Self {
        Self(Arc::new(ClientSide { trust, credentials, built: ArcSwapOption::empty() }))
    }

    /// Our own certificate, when we show one.
    pub fn leaf(&self) -> Option<Arc<Certificate>> {
        self.0.credentials.as_ref().map(|it| it.leaf())
    }

    /// What the next handshake uses.
    ///
    /// # Errors
    /// [`Error::Unusable`].
    pub fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let material = self.0.credentials.as_ref().map(|it| it.0.load_full());
        if let Some(built) = self.0.built.load_full()
            && built.0.as_ref().map(Arc::as_ptr) == material.as_ref().map(Arc::as_ptr)
        {
            return Ok(Arc::clone(&built.1));
        }
        let config = Arc::new(self.build(material.as_deref())?);
        self.0.built.store(Some(Arc::new((material, Arc::clone(&config)))));
        Ok(config)
    }

    fn build(&self, material: Option<&Material>) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(Error::Unusable)?;
        let builder = match (&self.0.trust, material) {
            (Trust::Pin(pin), _) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pinned { pin: pin.clone() })),
            (Trust::Roots(roots), _) => builder.with_root_certificates(Arc::clone(roots)),
            (Trust::Credentials, Some(it)) => builder.with_root_certificates(Arc::clone(&it.roots)),
            (Trust::Credentials, None) => return Err(Error::Empty),
        };
        let mut config = match material {
            Some(it) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
                CertifiedKey::clone(&it.certified),
            ))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![H2.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// Ring, with AES-128 first: as strong as our P-256 keys, and the cheapest per byte.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    use rustls::crypto::ring::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            TLS13_AES_128_GCM_SHA256,
            TLS13_AES_256_GCM_SHA384,
            TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..ring::default_provider()
    })
});

fn root_store(roots: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(Error::Unusable)?;
    }
    Ok(store)
}

/// Trusts a chain that ends in a root with the pin, and checks it like any other chain.
#[derive(Debug)]
struct Pinned {
    pin: Pin,
}

/// The server's chain does not end in the pinned root.
#[derive(Debug, thiserror::Error)]
#[error("no certificate of the server's chain has the pinned key")]
pub(crate) struct WrongPin;

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let root = intermediates
            .iter()
            .find(|it| pin_of(it).is_ok_and(|pin| pin == self.pin))
            .ok_or_else(|| {
                rustls::CertificateError::Other(rustls::OtherError(Arc::new(WrongPin)))
            })?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        let chain =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&PROVIDER))
                .build()
                .map_err(|it| rustls::Error::General(it.to_string()))?;
        chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}
