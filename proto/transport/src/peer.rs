//! Who is at the other end of a connection, read from its certificate.
//!
//! A certificate of ours carries exactly one URI, `slipway://<install>/…`, which says what its
//! holder is. It is compared whole: an id that only begins like another one is another one.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

const SCHEME: &str = "slipway://";
const MAX_PART: usize = 64;

/// The other end of a connection. Every request that the listener hands on carries it as an
/// extension.
#[derive(Clone, Debug)]
pub enum Peer {
    /// Over TLS.
    Tls {
        /// Its certificate, checked against our roots. None: it has shown none.
        certificate: Option<Arc<Certificate>>,
        /// Where it comes from.
        addr: SocketAddr,
    },
    /// Over a unix socket of this machine.
    Unix {
        /// User id of the process, from the kernel.
        uid: u32,
    },
}

impl Peer {
    /// The address it comes from; none on a unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            // A v4 peer of a v6 listener must not have two names.
            Self::Tls { addr, .. } => Some(addr.ip().to_canonical()),
            Self::Unix { .. } => None,
        }
    }

    /// Its certificate, when it has shown one.
    pub fn certificate(&self) -> Option<&Arc<Certificate>> {
        match self {
            Self::Tls { certificate, .. } => certificate.as_ref(),
            Self::Unix { .. } => None,
        }
    }
}

/// What the URI of a certificate says its holder is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Identity {
    /// `slipway://<install>/user/<user>/agent/<agent>`
    Agent {
        /// Installation.
        install: String,
        /// Owner of the server.
        user: String,
        /// Id of the agent.
        agent: String,
    },
    /// `slipway://<install>/control/<replica>`
    Control {
        /// Installation.
        install: String,
        /// Replica of the control plane.
        replica: String,
    },
    /// `slipway://<install>/operator/<user>[/read|/write]`; without a suffix it only reads.
    Operator {
        /// Installation.
        install: String,
        /// The person.
        user: String,
        /// Whether calls that change something are allowed.
        write: bool,
    },
}

impl Identity {
    /// The installation that it belongs to.
    pub fn install(&self) -> &str {
        match self {
            Self::Agent { install, .. }
            | Self::Control { install, .. }
            | Self::Operator { install, .. } => install,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent { install, user, agent } => {
                write!(f, "{SCHEME}{install}/user/{user}/agent/{agent}")
            }
            Self::Control { install, replica } => write!(f, "{SCHEME}{install}/control/{replica}"),
            Self::Operator { install, user, write } => {
                let access = if *write { "write" } else { "read" };
                write!(f, "{SCHEME}{install}/operator/{user}/{access}")
            }
        }
    }
}

impl FromStr for Identity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let path = text.strip_prefix(SCHEME).ok_or(Error::Identity)?;
        let parts: Vec<&str> = path.split('/').collect();
        if !parts.iter().all(|it| is_part(it)) {
            return Err(Error::Identity);
        }
        let own = |it: &str| it.to_owned();
        match *parts.as_slice() {
            [install, "user", user, "agent", agent] => {
                Ok(Self::Agent { install: own(install), user: own(user), agent: own(agent) })
            }
            [install, "control", replica] => {
                Ok(Self::Control { install: own(install), replica: own(replica) })
            }
            [install, "operator", user] | [install, "operator", user, "read"] => {
                Ok(Self::Operator { install: own(install), user: own(user), write: false })
            }
            [install, "operator", user, "write"] => {
                Ok(Self::Operator { install: own(install), user: own(user), write: true })
            }
            _ => Err(Error::Identity),
        }
    }
}

/// Whether a text can be one part of the URI: 1 to 64 of `a-z`, `0-9`, `-`, `_`, and a letter or a
/// digit first. Names of installations, users, agents and replicas must pass.
pub fn is_part(text: &str) -> bool {
    text.len() <= MAX_PART
        && text.bytes().next().is_some_and(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
        && text
            .bytes()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-' || it == b'_')
}

/// What we need to know of a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// Who it belongs to.
    pub identity: Identity,
    /// Serial number, lower-case hex.
    pub serial: String,
    /// SHA-256 of the public key with its algorithm (`SubjectPublicKeyInfo`).
    pub spki_sha256: [u8; 32],
    /// Start of its life.
    pub not_before: SystemTime,
    /// End of its life.
    pub not_after: SystemTime,
}

impl Certificate {
    /// Reads a certificate. That it is genuine is for the TLS handshake to prove.
    ///
    /// # Errors
    /// [`Error::Encoding`], and [`Error::Identity`] when it has not exactly one URI of ours.
    pub fn parse(der: &CertificateDer<'_>) -> Result<Self, Error> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| Error::Encoding)?;
        if !rest.is_empty() {
            return Err(Error::Encoding);
        }
        let names = certificate.subject_alternative_name().map_err(|_| Error::Encoding)?;
        let mut uris = names
            .iter()
            .flat_map(|it| &it.value.general_names)
            .filter_map(|it| if let GeneralName::URI(uri) = it { Some(*uri) } else { None });
        let (Some(uri), None) = (uris.next(), uris.next()) else { return Err(Error::Identity) };
        let validity = certificate.validity();
        Ok(Self {
            identity: uri.parse()?,
            serial: hex_of(certificate.raw_serial()),
            spki_sha256: Sha256::digest(certificate.public_key().raw).into(),
            not_before: time_of(validity.not_before.timestamp()),
            not_after: time_of(validity.not_after.timestamp()),
        })
    }
}

fn hex_of(serial: &[u8]) -> String {
    // DER puts a zero before a leading high bit; the number is the same without it.
    let digits = match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    data_encoding::HEXLOWER.encode(digits)
}

fn time_of(seconds: i64) -> SystemTime {
    u64::try_from(seconds)
        .ok()
        .and_then(|it| UNIX_EPOCH.checked_add(Duration::from_secs(it)))
        .unwrap_or(UNIX_EPOCH)
}

/// A certificate that tells us nothing.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not a certificate.
    #[error("the certificate cannot be read")]
    Encoding,
    /// It does not say who it belongs to.
    #[error("the certificate does not have exactly one `slipway://` name of a known form")]
    Identity,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part() -> impl Strategy<Value = String> {
        "[a-z0-9][a-z0-9_-]{0,63}"
    }

    fn identity() -> impl Strategy<Value = Identity> {
        prop_oneof![
            (part(), part(), part()).prop_map(|(install, user, agent)| Identity::Agent {
                install,
                user,
                agent
            }),
            (part(), part()).prop_map(|(install, replica)| Identity::Control { install, replica }),
            (part(), part(), any::<bool>()).prop_map(|(install, user, write)| Identity::Operator {
                install,
                user,
                write
            }),
        ]
    }

    proptest! {
        #[test]
        fn an_identity_survives_its_text(identity in identity()) {
            prop_assert_eq!(identity.to_string().parse::<Identity>(), Ok(identity));
        }

        #[test]
        fn what_parses_prints_the_same_but_for_the_default_access(text in "slipway://[a-z/]{0,60}") {
            if let Ok(identity) = text.parse::<Identity>() {
                let printed = identity.to_string();
                let whole = [text.as_str(), "/read"].concat();
                prop_assert!(printed == text || printed == whole, "{} became {}", text, printed);
            }
        }

        #[test]
        fn an_identity_with_a_changed_end_is_another_or_none(
            identity in identity(), more in "[a-z0-9/?#%. -]{1,8}",
        ) {
            let text = format!("{identity}{more}");
            prop_assert_ne!(text.parse::<Identity>(), Ok(identity));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Certificate::parse(&CertificateDer::from(bytes)).is_err());
        }
    }

    #[test]
    fn odd_texts_are_nobody() {
        for text in [
            "",
            "slipway://",
            "slipway://i",
            "slipway://i/control",
            "slipway://i/control/",
            "slipway://i/control/r/",
            "slipway://i//control/r",
            "SLIPWAY://i/control/r",
            "slipway://i/Control/r",
            "slipway://i/control/R",
            "slipway://i/control/r?x",
            "slipway://i/control/r#x",
            "slipway://i/control/%72",
            "slipway://u@i/control/r",
            "slipway://i:1/control/r",
            "slipway://i/control/..",
            "slipway://i/user/u/agent/a/x",
            "slipway://i/user/u/agents/a",
            "slipway://i/operator/u/admin",
            "slipway://i/operator/u/write/read",
            "slipway://i/control/r\n",
            " slipway://i/control/r",
            "https://i/control/r",
            "slipway://i/control/-r",
        ] {
            assert_eq!(text.parse::<Identity>(), Err(Error::Identity), "{text:?}");
        }
        let long = format!("slipway://i/control/{}", "r".repeat(65));
        assert_eq!(long.parse::<Identity>(), Err(Error::Identity));
    }
}
