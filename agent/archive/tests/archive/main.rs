//! Archives made byte by byte, good and bad, against every promise of the crate.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "these are tests")]

mod agree;
mod corpus;
mod fold;
mod make;
mod read;
