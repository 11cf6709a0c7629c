//! Managing apps on fake agents.
