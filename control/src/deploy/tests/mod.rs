//! Deployments against a real store and fake agents.

mod failure;
mod happy;
pub(crate) mod harness;
mod many;
mod restart;
