//! Deployments against a real store and fake agents.

mod happy;
pub(crate) mod harness;
