//! What lives on this server.
