//! The machines: records, join tokens, health.
