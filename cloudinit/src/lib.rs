//! First-boot text for machines, from typed values. Pure: no file, no clock, no network.
//!
//! * [`mod@server`]: the `user_data` of a server that comes from our snapshot.
//!
//! cloud-init reads YAML, and JSON is YAML; writing JSON with serde leaves no quoting to get wrong.

mod server;

pub use server::{Error, LIMIT, Server, server};
