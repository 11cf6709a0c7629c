//! Join tokens and API tokens. Both carry the pin of the control plane's root, so that who holds one
//! knows whom to trust, and an id under which the control plane finds the hash of the secret.
//!
//! * join token: `SWJ1-<pin, 26>-<id, 8>-<secret, 26>`
//! * API token: `swp_<pin, 26>_<id, 8>_<secret, 26>`, in lower case
//!
//! Each part is base32 (RFC 4648 §6, without padding): the pin the first 130 bits of the SHA-256 of
//! the root's `SubjectPublicKeyInfo`, the secret 130 random bits.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{problem::Problem, value::Hidden};

const PIN: usize = 26;
const ID: usize = 8;
const SECRET: usize = 26;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Random bytes that [`JoinToken::new`] and [`ApiToken::new`] ask for.
pub const ENTROPY: usize = ID + SECRET;

/// What the root of the control plane must hash to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pin(String);

impl Pin {
    /// The pin of a root, from the DER of its `SubjectPublicKeyInfo`.
    pub fn of(spki_der: &[u8]) -> Self {
        let digest = Sha256::digest(spki_der);
        let bit = |at: usize| digest.get(at / 8).is_some_and(|it| (it >> (7 - at % 8)) & 1 == 1);
        let letter = |nth: usize| {
            let index = (0..5).fold(0, |sum, it| sum * 2 + usize::from(bit(nth * 5 + it)));
            char::from(ALPHABET.get(index).copied().unwrap_or(b'A'))
        };
        Self((0..PIN).map(letter).collect())
    }

    /// The pin in upper case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A token's parts, in upper case.
#[derive(Clone, Eq, PartialEq)]
struct Parts {
    pin: Pin,
    id: String,
    secret: Hidden,
}

impl Parts {
    /// Makes new parts. Each byte of `entropy` gives one character.
    fn new(pin: Pin, entropy: &[u8; ENTROPY]) -> Self {
        let letter =
            |it: &u8| char::from(ALPHABET.get(usize::from(it & 31)).copied().unwrap_or(b'A'));
        let text: String = entropy.iter().map(letter).collect();
        let (id, secret) = text.split_at_checked(ID).unwrap_or_default();
        Self { pin, id: id.to_owned(), secret: secret.to_owned().into() }
    }

    /// Reads parts that are joined by `separator`, in the case that `is_letter` tells.
    fn read(text: &str, separator: char, lower: bool) -> Option<Self> {
        let mut parts = text.split(separator);
        let mut next = |length: usize| {
            let part = parts.next().filter(|it| it.len() == length)?;
            let letter = |it: u8| {
                let right_case =
                    if lower { !it.is_ascii_uppercase() } else { !it.is_ascii_lowercase() };
                right_case && ALPHABET.contains(&it.to_ascii_uppercase())
            };
            part.bytes().all(letter).then(|| part.to_ascii_uppercase())
        };
        let (pin, id, secret) = (Pin(next(PIN)?), next(ID)?, next(SECRET)?.into());
        parts.next().is_none().then_some(Self { pin, id, secret })
    }

    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret.expose().as_bytes()).into()
    }
}

/// Makes the type of one kind of token.
macro_rules! token {
    ($(#[$doc:meta])* $type:ident, $prefix:literal, $separator:literal, $lower:literal, $refuse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Eq, PartialEq)]
        pub struct $type(Parts);

        impl $type {
            /// Makes a token for the control plane with this pin from random bytes.
            pub fn new(pin: Pin, entropy: &[u8; ENTROPY]) -> Self {
                Self(Parts::new(pin, entropy))
            }

            /// Reads a token.
            pub fn parse(text: &str) -> Result<Self, Problem> {
                text.strip_prefix($prefix)
                    .and_then(|it| Parts::read(it, $separator, $lower))
                    .map(Self)
                    .ok_or_else($refuse)
            }

            /// What the control plane's root must hash to.
            pub fn pin(&self) -> &Pin {
                &self.0.pin
            }

            /// The public part, under which the control plane finds the hash.
            pub fn id(&self) -> &str {
                &self.0.id
            }

            /// SHA-256 of the secret part: all that the control plane keeps of it.
            pub fn hash(&self) -> [u8; 32] {
                self.0.hash()
            }

            /// The whole token. A secret: shown once, never logged.
            pub fn expose(&self) -> String {
                let Parts { pin: Pin(pin), id, secret } = &self.0;
                let body = [pin, id.as_str(), secret.expose()].join(stringify_char($separator));
                let body = if $lower { body.to_ascii_lowercase() } else { body };
                format!("{}{body}", $prefix)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}, ..)", stringify!($type), self.0.id)
            }
        }
    };
}

const fn stringify_char(separator: char) -> &'static str {
    if separator == '-' { "-" } else { "_" }
}

token!(
    /// Lets one machine join: used once, within minutes.
    JoinToken,
    "SWJ1-",
    '-',
    false,
    || Problem::new(crate::problem::Kind::Unauthenticated, "SW-ENROLL-TOKEN", "this is not a join token")
        .hint("make one with `slipway server add`; it begins with `SWJ1-`")
);
token!(
    /// Lets a user or a program call the control plane.
    ApiToken,
    "swp_",
    '_',
    true,
    || Problem::new(crate::problem::Kind::Unauthenticated, "SW-TOKEN", "this is not an API token")
        .hint("make one with `slipway token create`; it begins with `swp_`")
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_pin_is_the_base32_of_the_digest() {
        // python: base64.b32encode(hashlib.sha256(b"spki").digest())[:26]
        assert_eq!(Pin::of(b"spki").as_str(), EXPECTED_PIN);
    }

    const EXPECTED_PIN: &str = "N7XMZDAWYVKR3H7LH227O7RNU5";

    #[test]
    fn tokens_have_their_form_and_hide_their_secret() {
        let join = JoinToken::new(Pin::of(b"spki"), &[7; ENTROPY]);
        let text = join.expose();
        assert!(text.starts_with("SWJ1-") && text.len() == 5 + 26 + 1 + 8 + 1 + 26, "{text}");
        assert_eq!(format!("{join:?}"), "JoinToken(HHHHHHHH, ..)");
        let api = ApiToken::new(Pin::of(b"spki"), &[7; ENTROPY]);
        assert_eq!(api.expose(), api.expose().to_lowercase());
        assert_eq!(api.hash(), join.hash());
    }

    #[test]
    fn what_is_no_token_is_refused_with_the_code() {
        let good = JoinToken::new(Pin::of(b"spki"), &[7; ENTROPY]).expose();
        let huge = "A".repeat(10 << 20);
        for bad in [
            "",
            "SWJ1-",
            &good.to_lowercase(),
            &format!("{good}-A"),
            &good.replace('-', "_"),
            &huge,
        ] {
            assert_eq!(JoinToken::parse(bad).unwrap_err().code, "SW-ENROLL-TOKEN");
        }
        assert_eq!(ApiToken::parse(&good).unwrap_err().code, "SW-TOKEN");
    }

    proptest! {
        #[test]
        fn a_token_reads_what_it_prints(spki: [u8; 8], entropy: [u8; 32]) {
            let mut bytes = [0; ENTROPY];
            bytes[..32].copy_from_slice(&entropy);
            let join = JoinToken::new(Pin::of(&spki), &bytes);
            prop_assert_eq!(JoinToken::parse(&join.expose()).unwrap(), join);
            let api = ApiToken::new(Pin::of(&spki), &bytes);
            prop_assert_eq!(ApiToken::parse(&api.expose()).unwrap(), api);
        }
    }
}
