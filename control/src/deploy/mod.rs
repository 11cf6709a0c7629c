//! A deployment, from the request to its last event.

mod drive;
