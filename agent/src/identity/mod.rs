//! Who this agent is.
