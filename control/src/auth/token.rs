//! Makes tokens. Their text exists once, in the answer to who asked for them; the store has hashes.

use std::time::Duration;

use rand::RngExt as _;
use slipway_host::Secret;
use slipway_proto::token::{ApiToken, ENTROPY, JoinToken, Pin};
use slipway_store::{At, NewJoinToken, NewToken};

/// Makes an API token.
pub fn api(
    pin: &Pin,
    name: impl Into<String>,
    read_only: bool,
    now: At,
    ttl: Duration,
) -> (Secret<String>, NewToken) {
    let token = ApiToken::new(pin.clone(), &entropy());
    let new = NewToken {
        id: token.id().to_owned(),
        name: name.into(),
        secret_sha256: hex::encode(token.hash()),
        read_only,
        expires_at: now.plus(ttl),
    };
    (Secret::new(token.expose()), new)
}

/// Makes a join token.
pub fn join(pin: &Pin, now: At, ttl: Duration) -> (Secret<String>, NewJoinToken) {
    let token = JoinToken::new(pin.clone(), &entropy());
    let new = NewJoinToken {
        id: token.id().to_owned(),
        secret_sha256: hex::encode(token.hash()),
        expires_at: now.plus(ttl),
    };
    (Secret::new(token.expose()), new)
}

/// From the thread's generator, which is fit for keys and seeded by the system.
fn entropy() -> [u8; ENTROPY] {
    let mut bytes = [0; ENTROPY];
    rand::rng().fill(&mut bytes);
    bytes
}
