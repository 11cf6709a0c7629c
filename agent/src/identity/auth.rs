//! Resolves who calls this agent.
//!
//! * Over TLS: a certificate of the control plane of our installation, or of an operator who owns
//!   this server, and in both cases a good `x-api-key` as well. 20 bad keys within a minute close
//!   the door to their address for the rest of it, to good keys as well.
//! * Over the unix socket: root, or the user that the agent runs as, who could read its key anyway.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use http::HeaderMap;
use slipway_host::clock::Clock;
use slipway_proto::{
    key,
    policy::Role,
    problem::{Kind, Problem},
};
use slipway_transport::{Authenticate, Caller, Peer, guard::Subject, peer, rate::Rate};

use super::Identity;

const BAD_KEYS: u32 = 20;
const WINDOW: Duration = Duration::from_mins(1);

/// Resolves the callers of this agent.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    identity: Option<Arc<Identity>>,
    own_uid: u32,
    clock: Clock,
    bad_keys: Rate<IpAddr>,
}

impl Auth {
    /// Believes what the identity's authority signed. Without an identity only the unix socket is
    /// served.
    pub fn new(identity: Option<Arc<Identity>>, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            identity,
            own_uid: nix::unistd::geteuid().as_raw(),
            bad_keys: Rate::new(BAD_KEYS, WINDOW, clock.clone()),
            clock,
        }))
    }

    fn local(&self, uid: u32, peer: &Peer) -> Result<Caller, Problem> {
        if uid != 0 && uid != self.0.own_uid {
            let message = format!("uid {uid} may not use this socket");
            return Err(Problem::new(Kind::Denied, "SW-LOCAL", message).hint("use sudo"));
        }
        let subject = Subject::Process { uid };
        Ok(Caller { role: Role::LocalRoot, read_only: false, subject, peer: peer.clone() })
    }

    fn remote(&self, peer: &Peer, headers: &HeaderMap) -> Result<Caller, Problem> {
        let (Some(identity), Some(certificate)) = (&self.0.identity, peer.certificate()) else {
            return Ok(Caller::anyone(peer.clone()));
        };
        if self.0.clock.now() >= certificate.not_after {
            // A connection may live longer than the certificate with which it was opened.
            let message = "the certificate of this connection has expired";
            return Err(Problem::new(Kind::Unauthenticated, "SW-CERT-EXPIRED", message)
                .hint("dial again with a new one"));
        }
        if certificate.identity.install() != identity.install() {
            return Err(stranger("of another installation"));
        }
        let (role, read_only) = match &certificate.identity {
            peer::Identity::Control { .. } => (Role::Control, false),
            peer::Identity::Operator { user, write, .. } if *user == identity.user() => {
                (Role::Operator, !write)
            }
            peer::Identity::Operator { .. } => return Err(stranger("of another user's operator")),
            peer::Identity::Agent { .. } => return Err(stranger("an agent's")),
        };
        self.check_key(identity, peer, headers)?;
        let subject = Subject::Certificate(Arc::clone(certificate));
        Ok(Caller { role, read_only, subject, peer: peer.clone() })
    }

    fn check_key(
        &self,
        identity: &Identity,
        peer: &Peer,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let address = peer.ip();
        if address.is_some_and(|it| self.0.bad_keys.is_spent(&it)) {
            return Err(too_many());
        }
        let mut keys = headers.get_all(key::METADATA).iter();
        let shown = match (keys.next(), keys.next()) {
            (Some(only), None) => only.to_str().ok(),
            _ => None,
        };
        if shown.is_some_and(|it| identity.keys().accept(it, &self.0.clock)) {
            return Ok(());
        }
        if address.is_some_and(|it| !self.0.bad_keys.count(&it)) {
            return Err(too_many());
        }
        Err(Problem::new(Kind::Unauthenticated, "SW-KEY", "the `x-api-key` is missing or wrong")
            .hint("it follows from the cloud token and the user; a new token makes a new key"))
    }
}

fn too_many() -> Problem {
    let message = "too many wrong keys from this address";
    Problem::new(Kind::Exhausted, "SW-KEY", message).hint("wait a minute")
}

fn stranger(whose: &str) -> Problem {
    let message = format!("the certificate is {whose}, which may not call this agent");
    Problem::new(Kind::Denied, "SW-DENIED", message)
}

impl Authenticate for Auth {
    async fn authenticate(&self, peer: &Peer, headers: &HeaderMap) -> Result<Caller, Problem> {
        match peer {
            Peer::Unix { uid } => self.local(*uid, peer),
            Peer::Tls { .. } => self.remote(peer, headers),
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("identity", &self.0.identity).finish_non_exhaustive()
    }
}
