//! Real programs, real Docker: one deployment of each source and everything that can go wrong with it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod failure;
mod fixtures;
mod input;
mod kill;
mod load;
mod sources;
