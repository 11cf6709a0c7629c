//! How Slipway's programs talk: TLS 1.3 with our own certificates, and who may say what.
//!
//! A call passes, in this order: [`listener`] accepts the connection under caps and deadlines, by
//! the keys of [`tls`]; [`peer`] reads from the certificate who is at the other end; [`guard`]
//! resolves the caller and holds it against the policy of the method, before any handler sees the
//! call. [`channel`] is the calling end. [`rate`] counts what may not happen too often.

pub mod channel;
pub mod guard;
pub mod listener;
pub mod peer;
pub mod rate;
pub mod tls;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(test)]
mod live;

pub use channel::Channel;
pub use guard::{Authenticate, Caller, Guard};
pub use peer::{Certificate, Identity, Peer};
pub use tls::Credentials;

/// TLS name of the control plane, wherever it is reached.
pub const CONTROL_NAME: &str = "control.slipway.internal";

/// TLS name of an agent, wherever it is reached.
pub fn agent_name(agent_id: &str) -> String {
    format!("{agent_id}.agents.slipway.internal")
}
