//! Deployments, from the first message to the last event, through any crash.
