//! The traffic switch: a small HTTP/1.1 reverse proxy between nginx and the containers of apps.
//!
//! nginx knows names, paths and certificates, and hands every request to one unix socket with the
//! app's key in `Slipway-App`. This process knows where the app runs *now*. A deployment changes
//! that with one atomic swap, so nginx is never reloaded for it, and the old containers may stop as
//! soon as the last request they were given has ended. It is a process of its own
//! (`slipway-agent proxy`), because apps outlive the agent.
//!
//! * [`Route`]: where an app runs: generation, release, targets. Checked.
//! * `state`: the table of routes on disk; read at the start, so that traffic flows at boot before
//!   the agent runs.
//! * `table`, `generation`: the routes in use and what they are doing: open requests, idle
//!   connections.
//! * `relay`: one request, from nginx to a container and back.
//! * [`control`]: the agent's side: the [`Switch`] trait, its [`Client`], and the unix socket that
//!   answers it.
//! * [`run`]: the process: start, stop, and handing over to the next version.
//!
//! # What holds
//!
//! *A request is answered by a route that was current at some time while it was asked.* A request
//! enters a generation by raising its counter, and retiring a generation sets a bit in that same
//! counter; a request that finds the bit takes the next generation instead. So once a generation is
//! retired and its counter is zero, nothing can reach its containers any more.
//!
//! *No request fails because of a switch.* Only a request that may be sent twice (GET, HEAD or
//! OPTIONS without a body) uses a kept connection, which the container may be closing just then; it
//! is sent again on a new one. Everything else gets a connection of its own. A target that cannot be
//! connected to is passed over for the next one, since nothing was sent.
//!
//! *Bodies stream.* Nothing is buffered beyond one read, in either direction, and a slow reader
//! slows the writer. There is no limit on the length of a request in time: nginx has those.
//!
//! # Starting, stopping, handing over
//!
//! The data socket is the standard input when that is a listening socket, which is how systemd
//! hands it over (`StandardInput=socket` with a `.socket` unit; set `StandardOutput=journal` too),
//! and is bound at [`Config::listen`] otherwise. On SIGTERM or SIGINT the process stops accepting,
//! finishes what is open within [`Config::grace`], and ends; what arrives meanwhile waits in the
//! socket's queue for the next process.
//!
//! On SIGUSR2 it starts [`Config::successor`] with the data socket as its standard input. The
//! successor asks this process to step back, reads the table, accepts, and takes over the control
//! socket. From then on this process passes requests that still come in on connections it holds to
//! the successor, finishes its own, and ends. While it lives, the successor counts its open
//! requests with its own, so a drain never ends too early. A successor that does not come up
//! changes nothing.
//!
//! Tasks: one accepting, one per connection of nginx, one per connection to a container, one per
//! upgraded connection, one per control connection, one that closes idle connections. All are on
//! one tracker, which the end waits for.

pub mod control;
mod error;
mod generation;
mod handover;
mod relay;
mod route;
mod server;
mod state;
mod table;
#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "fake"))]
pub use control::fake::Fake;
pub use control::{
    Switch,
    client::Client,
    wire::{AppStatus, GenerationStatus, Status},
};
pub use error::Error;
pub use relay::headers::{APP, PROBE, REASON, RELEASE};
pub use route::Route;
pub use server::{Config, Forwarder, run};
pub use state::Restored;
