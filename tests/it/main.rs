//! Tests within one process, and of the house itself.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod house;
