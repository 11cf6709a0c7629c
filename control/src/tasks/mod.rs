//! Loops without input: they read, compare, act.
