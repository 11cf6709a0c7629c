//! The contract of Slipway: what goes over the wire, and what its words mean.
//!
//! * [`agent`], [`control`]: generated from `slipway/**/*.proto`, committed, never edited.
//! * [`problem`]: the one shape of an error, with its `SW-` code, from its origin to the wire.
//! * [`value`]: the checked types of names, ports, domains, references and URLs.
//! * [`spec`]: a checked app specification, made only from the wire's.
//! * [`policy`]: who may call which method.
//! * [`key`]: the agent's `x-api-key`.
//! * [`token`]: join tokens and API tokens.
//!
//! Depends on nothing of ours; does no I/O.

mod hidden;
pub mod key;
pub mod policy;
pub mod problem;
pub mod spec;
pub mod token;
pub mod value;

/// The agent's API.
pub mod agent {
    /// Version 1.
    #[allow(
        clippy::all,
        clippy::pedantic,
        clippy::restriction,
        clippy::nursery,
        missing_docs,
        missing_debug_implementations,
        unused_qualifications,
        unreachable_pub,
        rustdoc::all,
        reason = "generated"
    )]
    pub mod v1 {
        include!("generated/slipway.agent.v1.rs");
    }
}

/// The control plane's API.
pub mod control {
    /// Version 1.
    #[allow(
        clippy::all,
        clippy::pedantic,
        clippy::restriction,
        clippy::nursery,
        missing_docs,
        missing_debug_implementations,
        unused_qualifications,
        unreachable_pub,
        rustdoc::all,
        reason = "generated"
    )]
    pub mod v1 {
        include!("generated/slipway.control.v1.rs");
    }
}

/// Every message and service, for reflection: an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptor.bin");
