//! Fetches from `git http-backend` over loopback.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod fetch;
mod server;
