//! Tests against real databases, for this crate and for others.
