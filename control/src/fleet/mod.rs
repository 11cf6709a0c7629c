//! BOUNDARY: one agent, as the rest of the control plane sees it.
//!
//! * [`link`]: [`Link`], what the control plane asks of one agent. Calls are single attempts with a
//!   deadline; the caller decides whether to try again, from [`Problem::kind`].
//! * [`dial`]: how an agent is reached: [`Dial`], over mutual TLS, or a fake within the process.
//! * [`fan`]: the same thing on many servers, every outcome kept.
//! * `fake`: agents that live in the tests' process and speak the real services.
//!
//! A link speaks gRPC over a [`Pipe`], which is all that differs between a real agent and a fake, so
//! that tests go through the same encoding, deadlines and endings as the real thing.
//!
//! [`Problem::kind`]: slipway_proto::problem::Problem::kind

pub mod dial;
pub mod fan;
pub mod keys;
pub mod link;
pub mod mutual;

#[cfg(test)]
pub(crate) mod fake;

pub use dial::{Agents, Dial, Keys, Pipe, Target};
pub use fan::fan_out;
pub use keys::VaultKeys;
pub use link::Link;
pub use mutual::Mutual;
