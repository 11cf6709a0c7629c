//! The line between Slipway and Docker: one trait named for what we need, the real thing behind it,
//! and an in-memory one for tests. No type of the Docker client crosses it.
//!
//! * [`Engine`]: what the agent asks of Docker. Calls are single attempts; [`Error::retry`] says
//!   whether another one can help.
//! * [`build`], [`image`], [`network`], [`volume`], [`container`], [`logs`], [`event`]: the values
//!   that go in and come out.
//! * [`label`]: the labels by which our objects are found.
//! * [`docker`]: the real one.
//! * `fake`: the one for tests (feature `fake`).
//!
//! It spawns no tasks: a stream or a future does its work while it is polled, and dropping it ends
//! the work.

pub mod build;
pub mod container;
pub mod docker;
mod engine;
mod error;
pub mod event;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod image;
pub mod label;
pub mod logs;
pub mod network;
pub mod volume;

pub use docker::Docker;
pub use engine::{Engine, Info};
pub use error::{Cause, Error, Object, Result, Retry};
#[cfg(any(test, feature = "fake"))]
pub use fake::Fake;
