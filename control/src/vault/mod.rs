//! Sealed values: what the database must not be able to tell.
//!
//! Each value is encrypted with a key of its own; that key is wrapped by its user's key, and the
//! user's by the master key, which is in a file and never in the database:
//!
//! ```text
//! master key (file) ─wraps→ user's key (vault_key) ─wraps→ value's key (sealed) ─seals→ value
//! ```
//!
//! All three by XChaCha20-Poly1305 with random nonces. What authenticates a value is where it
//! belongs, `table|column|row|user|version`: a ciphertext that was moved to another row or another
//! user does not open. Destroying a user's key destroys everything that is sealed for the user, in
//! backups of the database as well. A new master key only rewraps the users' keys.

mod error;
mod master;
mod seal;

pub use error::Error;
pub use master::{MasterKey, Place};
pub use seal::Vault;
