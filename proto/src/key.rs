//! The agent's `x-api-key`, bit for bit as the earlier systems derived it, so that their clients go
//! on working. It is the second factor behind mutual TLS.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Name of the metadata entry that carries the key.
pub const METADATA: &str = "x-api-key";

/// Length of a version 1 key, in characters.
pub const LEN: usize = 32;

/// The key of one user's agents (version 1).
#[derive(Clone, Eq, PartialEq)]
pub struct NodeKey(String);

impl NodeKey {
    /// Derives the key: `hex(HMAC-SHA256(key = cloud token, message = "node-agent:" + user id))`,
    /// cut to 32 characters. The user id is always the text form.
    pub fn derive(cloud_token: &[u8], user_id: &str) -> Self {
        // HMAC takes keys of any length (RFC 2104 §2), so this cannot fail.
        let mut hmac = <Hmac<Sha256>>::new_from_slice(cloud_token)
            .unwrap_or_else(|_| <Hmac<Sha256>>::new(&hmac::digest::Key::<Hmac<Sha256>>::default()));
        hmac.update(b"node-agent:");
        hmac.update(user_id.as_bytes());
        let mut text = hex::encode(hmac.finalize().into_bytes());
        text.truncate(LEN);
        Self(text)
    }

    /// The key's characters. A secret: never log them.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What an agent keeps of the key.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(..)")
    }
}

/// SHA-256 of a key's characters.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Hashes what a caller sent.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// The hash itself.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for KeyHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// In constant time.
impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by Python: `hmac.new(token, b"node-agent:" + user, sha256).hexdigest()[:32]`.
    #[test]
    fn keys_are_those_of_the_earlier_systems() {
        for (token, user, expected) in [
            ("dop_v1_test", "42", "e21f20fbce845189dee86d1c586f200e"),
            (
                "dop_v1_0123456789abcdef",
                "7f8d3c1e-5b1a-4a70-9d53-9a3f0f6b2c11",
                "85850967cde3709a8f2fc6547c7d8744",
            ),
            ("tökén", "usér", "57bc656063f4378486096e5e54c37de9"),
        ] {
            assert_eq!(NodeKey::derive(token.as_bytes(), user).expose(), expected);
        }
    }

    #[test]
    fn the_hash_is_of_the_characters() {
        let key = NodeKey::derive(b"dop_v1_test", "42");
        assert_eq!(
            hex::encode(key.hash().bytes()),
            "b6dd57e40ea319cb8150dd75264adb23c399c45d2bb85d0068960e933c2c5a02"
        );
    }

    #[test]
    fn a_key_does_not_print_itself() {
        let key = NodeKey::derive(b"dop_v1_test", "42");
        assert_eq!(format!("{key:?} {:?}", key.hash()), "NodeKey(..) KeyHash(..)");
    }
}
