//! The engine against the Docker of this machine. Everything made here has labels and names of its
//! own run and is removed at the end, also when a test fails.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod build;
mod lab;
mod lifecycle;
mod logs;
mod objects;
mod registry;
mod restart;
