//! The certificate authority.
//!
//! * [`csr`]: what a certificate request must be. Only its public key is ever used.
//! * [`profile`]: what each kind of certificate says; all of it is ours, none the request's.
//! * [`authority`]: the root and the issuing authority, kept in the store with sealed keys, and the
//!   act of signing. The root's key is opened only to sign an issuing authority.
//! * [`own`]: the control plane's own certificate, which it renews by itself.

pub mod authority;
pub mod csr;
pub mod own;
pub mod profile;

pub use authority::{Authority, Error, Issued};
pub use csr::Csr;
pub use profile::Profile;

#[cfg(test)]
mod tests;
