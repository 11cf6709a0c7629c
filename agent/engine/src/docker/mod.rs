//! The real Docker, over its unix socket.
