//! Real programs, real Docker: one deployment of each source and everything that can go wrong with it.

mod fixtures;
