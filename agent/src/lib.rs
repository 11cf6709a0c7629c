//! The node daemon: one per server, the only thing there that touches containers and routes.
//!
//! Modules, in the order in which a request flows through them:
//!
//! * [`config`]: settings in layers, read once.
//! * [`identity`]: who this agent is: key, certificate, joining, renewing, sealing.
//! * [`server`]: listeners, guards, the order of starting and stopping.
//! * [`rpc`]: one thin file per service: decode, call, encode.
//! * [`world`]: what all of the following act on: Docker, the way in, the state on disk, the time.
//! * [`deploy`]: deployments, from the first message to the last event, through any crash.
//! * [`source`]: archive, repository or registry to image.
//! * [`proxy`]: nginx in front of the apps, and the traffic switch beneath it.
//! * [`app`]: what lives here: records, addresses, logs, stopping, starting, removing.
//! * [`watch`]: brings what is back to what should be, after a start and after Docker's.
//! * [`session`]: the connection to the control plane.
//!
//! [`command`] has what the program does besides: the traffic switch, joining, sealing, checking.
//!
//! Apps outlive the agent: nothing here is in the path of a request except the forwarder, which is a
//! process of its own. Deployments outlive their callers.

pub mod command;
pub mod config;
pub mod identity;
pub mod server;

pub mod rpc;

pub mod deploy;
pub mod source;
pub mod world;

pub mod proxy;

pub mod app;
pub mod watch;

pub mod session;

#[cfg(test)]
mod stand_in;
