//! How an agent gets its identity, and its standing session.
//!
//! * [`join`]: the enrollment service: a join token and a request for a certificate.
//! * [`session`]: the session service: hello, heartbeats, renewals.
//! * [`registry`]: the sessions that live at this replica, for the rest of the control plane.

pub mod join;
pub mod registry;
pub mod session;

mod live;

pub use join::Enrollments;
pub use registry::{Online, Sessions};
pub use session::{Pulse, SessionApi};

use std::net::IpAddr;

use slipway_proto::control::v1::AcceptedKey;

use crate::{fleet::Keys, pki};

/// Oldest agent that is let in.
pub const OLDEST_AGENT: (u64, u64, u64) = (0, 1, 0);

/// Longest text that an agent may say of itself.
const MAX_TEXT: usize = 128;

/// What an agent says of itself, cut and without control characters: it ends up on screens.
fn clean(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).take(MAX_TEXT).collect()
}

/// Where an agent can be dialed: what it says, or its own address when it does not name a host.
fn address(listen: &str, peer: Option<IpAddr>) -> String {
    let Some((host, port)) = listen.rsplit_once(':') else { return String::new() };
    let Ok(port) = port.parse::<u16>() else { return String::new() };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let missing = bare.is_empty() || bare.parse::<IpAddr>().is_ok_and(|it| it.is_unspecified());
    match (missing, peer) {
        (true, Some(peer @ IpAddr::V6(_))) => format!("[{peer}]:{port}"),
        (true, Some(peer)) => format!("{peer}:{port}"),
        (true, None) => String::new(),
        (false, _) => clean(&format!("{host}:{port}")),
    }
}

/// Whether an agent of this version is let in. One that tells no version is not.
fn is_supported(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.').map(|it| it.parse::<u64>().ok());
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
            (major, minor, patch) >= OLDEST_AGENT
        }
        _ => false,
    }
}

/// The keys that the agents of a user accept.
async fn accepted_keys(
    keys: &dyn Keys,
    user: &str,
) -> Result<Vec<AcceptedKey>, slipway_proto::problem::Problem> {
    let key = keys.key(user).await?;
    Ok(vec![AcceptedKey { sha256: key.hash().bytes().to_vec().into(), not_after: None }])
}

fn der(list: &[rustls::pki_types::CertificateDer<'_>]) -> Vec<bytes::Bytes> {
    list.iter().map(|it| bytes::Bytes::copy_from_slice(it)).collect()
}

fn sign_problem(error: pki::Error) -> slipway_proto::problem::Problem {
    error.into()
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod values {
    use super::*;

    #[test]
    fn an_address_without_a_host_is_completed() {
        let four = Some(IpAddr::from([192, 0, 2, 7]));
        let six = Some("2001:db8::7".parse().unwrap());
        for (listen, peer, expected) in [
            (":9999", four, "192.0.2.7:9999"),
            ("0.0.0.0:9999", four, "192.0.2.7:9999"),
            ("[::]:9999", six, "[2001:db8::7]:9999"),
            ("10.0.0.1:9999", four, "10.0.0.1:9999"),
            ("web.example:1", four, "web.example:1"),
            ("", four, ""),
            ("host", four, ""),
            ("host:x", four, ""),
            (":9999", None, ""),
        ] {
            assert_eq!(address(listen, peer), expected, "{listen}");
        }
    }

    #[test]
    fn old_and_odd_versions_are_not_supported() {
        for good in ["0.1.0", "0.1.1", "0.2.0-rc.1", "1.0.0+abc"] {
            assert!(is_supported(good), "{good}");
        }
        for bad in ["", "0.0.9", "1", "1.0", "1.0.0.0", "x.y.z", "99999999999999999999.0.0"] {
            assert!(!is_supported(bad), "{bad}");
        }
    }

    #[test]
    fn what_an_agent_says_is_cut_and_harmless() {
        assert_eq!(clean("a\x1b[31mb\r\n"), "a[31mb");
        assert_eq!(clean(&"é".repeat(500)).chars().count(), MAX_TEXT);
    }
}
