//! The control plane, and the operator's command line.
//!
//! Modules in the order in which a request passes through them:
//!
//! * [`cli`]: verbs and output of `slipway`; a client of everything below but [`serve`].
//! * [`config`]: the settings of `slipway serve`, in layers.
//! * [`serve`]: what is started in which order, and how it stops.
//! * [`api`]: gRPC and HTTP; decode, call one function, encode. One map from errors to the wire.
//! * [`auth`]: who a caller is: API tokens, certificates.
//! * [`enroll`]: how an agent gets its identity, and its standing session.
//! * [`deploy`]: a deployment from request to last event, over any number of servers.
//! * [`app`]: releases and management of what runs.
//! * [`server`]: the machines and their join tokens.
//! * [`user`]: users and their tokens.
//! * [`fleet`]: BOUNDARY, one agent: [`fleet::Link`].
//! * [`vault`]: sealed values.
//! * [`pki`]: the certificate authority.
//! * [`operation`]: durable work: journal, lease, epoch, recovery.
//! * [`tasks`]: loops without input.
//!
//! All SQL lives in `slipway-store`. Handlers hold no decision; nothing here is global.

pub mod api;
pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod deploy;
pub mod enroll;
pub mod fleet;
pub mod operation;
pub mod pki;
mod refused;
pub mod serve;
pub mod server;
pub mod tasks;
pub mod user;
pub mod vault;
