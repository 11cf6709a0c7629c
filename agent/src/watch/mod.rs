//! Brings what is back to what should be.
