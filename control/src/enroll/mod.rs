//! How an agent gets its identity, and its standing session.
