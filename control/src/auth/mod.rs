//! Who a caller of the control plane is.
//!
//! * [`Auth`]: resolves callers for the guard: an agent by its certificate, which must be on record
//!   and not revoked; a user by API token; else nobody in particular.
//! * [`token`]: makes tokens.

pub mod token;

use http::{HeaderMap, header::AUTHORIZATION};
use slipway_host::Chain;
use slipway_proto::{
    policy::Role,
    problem::{Kind, Problem},
    token::ApiToken,
};
use slipway_store::{SignIn, Store};
use slipway_transport::{Authenticate, Caller, Certificate, Identity, Peer, guard::Subject};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// Resolves the callers of the control plane.
#[derive(Clone, Debug)]
pub struct Auth {
    store: Store,
}

impl Auth {
    /// Looks callers up in this store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    async fn certificate(
        &self,
        peer: &Peer,
        certificate: &Arc<Certificate>,
    ) -> Result<Caller, Problem> {
        if certificate.identity.install() != self.store.install() {
            return Err(revoked("the certificate is of another installation"));
        }
        if self.store.clock().now() >= certificate.not_after {
            let message = "the certificate of this connection has expired";
            return Err(Problem::new(Kind::Unauthenticated, "SW-CERT-EXPIRED", message)
                .hint("dial again with a new one"));
        }
        let known = self.store.system().active_cert(&certificate.serial).await.map_err(internal)?;
        let spki = hex::encode(certificate.spki_sha256);
        if known.is_none_or(|it| it.spki_sha256 != spki) {
            return Err(revoked("the certificate was revoked"));
        }
        let (role, read_only) = match &certificate.identity {
            Identity::Agent { .. } => (Role::Agent, false),
            Identity::Control { .. } => (Role::Control, false),
            Identity::Operator { write, .. } => (Role::Operator, !write),
        };
        let subject = Subject::Certificate(Arc::clone(certificate));
        Ok(Caller { role, read_only, subject, peer: peer.clone() })
    }

    /// Signs the bearer of a token in.
    ///
    /// # Errors
    /// SW-TOKEN, SW-TOKEN-EXPIRED.
    pub async fn token(&self, text: &str, peer: &Peer) -> Result<Caller, Problem> {
        let token = ApiToken::parse(text)?;
        let system = self.store.system();
        let known = system.sign_in(token.id()).await.map_err(internal)?;
        let hash = hex::encode(token.hash());
        let same = |it: &SignIn| bool::from(it.secret_sha256.as_bytes().ct_eq(hash.as_bytes()));
        // An unknown token, a revoked one and a wrong secret look the same from outside.
        let known = known.filter(same).ok_or_else(|| {
            Problem::new(Kind::Unauthenticated, "SW-TOKEN", "the API token is not valid")
                .hint("make one with `slipway token create`")
        })?;
        if known.expires_at <= self.store.now() {
            let message = format!("the API token expired at {}", known.expires_at);
            return Err(Problem::new(Kind::Unauthenticated, "SW-TOKEN-EXPIRED", message)
                .hint("make another with `slipway token create`"));
        }
        if let Err(error) = system.touch_token(token.id()).await {
            // The call is worth more than the time of the last one.
            tracing::warn!(error = %Chain(&error), "could not note the use of a token");
        }
        let SignIn { user, read_only, .. } = known;
        let subject = Subject::User {
            user_id: user.id.to_string(),
            name: user.name,
            token_id: token.id().to_owned(),
        };
        let role = if user.admin { Role::Admin } else { Role::User };
        Ok(Caller { role, read_only, subject, peer: peer.clone() })
    }
}

impl Authenticate for Auth {
    async fn authenticate(&self, peer: &Peer, headers: &HeaderMap) -> Result<Caller, Problem> {
        if let Some(certificate) = peer.certificate() {
            return self.certificate(peer, certificate).await;
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(Caller::anyone(peer.clone())),
            (Some(only), None) => {
                let text = only.to_str().ok().and_then(bearer);
                let text = text.ok_or_else(|| malformed("it is not `Bearer swp_…`"))?;
                self.token(text, peer).await
            }
            (Some(_), Some(_)) => Err(malformed("it is there twice")),
        }
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn malformed(why: &str) -> Problem {
    let message = format!("the `authorization` header cannot be used: {why}");
    Problem::new(Kind::Unauthenticated, "SW-TOKEN", message)
        .hint("send `authorization: Bearer swp_…`")
}

fn revoked(message: &str) -> Problem {
    Problem::new(Kind::Denied, "SW-AGENT-REVOKED", message)
        .hint("enroll the server again with a new join token")
}

fn internal(error: slipway_store::Error) -> Problem {
    if error.kind() == Kind::Internal {
        tracing::error!(error = %Chain(&error), "could not look a caller up");
    }
    error.problem()
}

#[cfg(test)]
mod tests;
