//! What each kind of certificate says.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints, SanType, SerialNumber,
};
use slipway_store::CertProfile;
use slipway_transport::{CONTROL_NAME, Identity, agent_name};

/// Certificates begin this long before they are signed, because clocks differ.
const EARLY: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// Life of a root.
pub(super) const ROOT_LIFE: Duration = Duration::from_hours(24 * 3652);
/// Life of an issuing authority.
pub(super) const ISSUING_LIFE: Duration = Duration::from_hours(24 * 365);
/// Longest life of an operator's certificate.
pub const OPERATOR_LIFE: Duration = Duration::from_hours(8);

/// A holder of a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Profile {
    /// An agent: 7 days.
    Agent {
        /// Owner of the server.
        user: String,
        /// Id of the agent.
        agent: String,
    },
    /// A replica of the control plane: 24 hours.
    Control {
        /// Id of the replica.
        replica: String,
    },
    /// A person who calls agents: at most 8 hours.
    Operator {
        /// The person.
        user: String,
        /// Whether calls that change something are allowed.
        write: bool,
        /// How long it holds.
        life: Duration,
    },
}

impl Profile {
    /// How the store names it.
    pub(super) fn kind(&self) -> CertProfile {
        match self {
            Self::Agent { .. } => CertProfile::Agent,
            Self::Control { .. } => CertProfile::Control,
            Self::Operator { .. } => CertProfile::Operator,
        }
    }

    /// What its URI says.
    pub fn identity(&self, install: &str) -> Identity {
        let install = install.to_owned();
        match self.clone() {
            Self::Agent { user, agent } => Identity::Agent { install, user, agent },
            Self::Control { replica } => Identity::Control { install, replica },
            Self::Operator { user, write, .. } => Identity::Operator { install, user, write },
        }
    }

    fn life(&self) -> Duration {
        match self {
            Self::Agent { .. } => 7 * DAY,
            Self::Control { .. } => DAY,
            Self::Operator { life, .. } => OPERATOR_LIFE.min(*life),
        }
    }

    fn dns_name(&self) -> Option<String> {
        match self {
            Self::Agent { agent, .. } => Some(agent_name(agent)),
            Self::Control { .. } => Some(CONTROL_NAME.to_owned()),
            Self::Operator { .. } => None,
        }
    }

    /// All that the certificate says.
    pub(super) fn params(
        &self,
        install: &str,
        serial: [u8; 16],
        now: SystemTime,
    ) -> Result<CertificateParams, rcgen::Error> {
        let mut params = base("slipway", serial, now, self.life());
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match self {
            Self::Agent { .. } | Self::Control { .. } => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Self::Operator { .. } => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        let uri = self.identity(install).to_string();
        params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        if let Some(name) = self.dns_name() {
            params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
        }
        Ok(params)
    }
}

/// A root.
pub(super) fn root(install: &str, serial: [u8; 16], now: SystemTime) -> CertificateParams {
    let mut params = base(&format!("slipway root {install}"), serial, now, ROOT_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// An issuing authority: signs leaves only, and only for names of ours.
pub(super) fn issuing(install: &str, serial: [u8; 16], now: SystemTime) -> CertificateParams {
    let mut params = base(&format!("slipway issuing {install}"), serial, now, ISSUING_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(".slipway.internal".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    params
}

fn base(name: &str, serial: [u8; 16], now: SystemTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = (now - EARLY).into();
    params.not_after = (now + life).into();
    params
}
