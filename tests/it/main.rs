//! Tests within one process, and of the house itself.
#![expect(clippy::unwrap_used, reason = "a test")]

mod house;
