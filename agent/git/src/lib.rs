//! Fetches the files of one commit of a git repository, with libgit2 and a transport of our own.
//!
//! * [`request`]: what to fetch, how much of it, and what came of it.
//! * [`error`]: why it failed, with its `SW-GIT-…` code.
//! * `client`: HTTP that dials only what may be dialled.
//! * `transport`: that client as libgit2's way to the server.
//! * `remote`: from a branch, tag or commit id to a commit in a throw-away repository.
//! * `checkout`: from that commit to files.
//! * `module`: submodules, under the same rules.
//! * [`fetch`]: all of it.
//!
//! Only https (http where the operator allows it), no redirects, no address that is not public, the
//! token to one origin only. Files are written by this crate straight from the tree: no filters, no
//! hooks, no configuration of the machine. Everything blocks: call it on a blocking thread.

mod checkout;
mod client;
pub mod error;
pub mod fetch;
mod module;
mod remote;
pub mod request;
mod transport;

pub use error::Error;
pub use fetch::clone;
pub use request::{Checkout, Limits, Progress, Request};
