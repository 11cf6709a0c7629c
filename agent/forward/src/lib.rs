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
//! # Why this and not something else
//!
//! Measured by `slipway-bench switch` with containers that come and go on a Docker network of their
//! own, behind an nginx per candidate: 64 keep-alive clients without pause and 50 with, half GET, half
//! POST, four requests of 5 s always in flight, two WebSockets; 12 flips each, in two interleaved
//! rounds, on 2 cores that compiled meanwhile (so rates are low and vary twofold; failures do not).
//!
//! | candidate | flip ms median / max | requests/s | 5xx | resets | old release after the flip | drain s |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | this one, nginx keeps connections 1 s | 54 / 116 (quieter: 5.4 / 13) | 3,319 (quieter: 6,520) | 0 | 0 | 0 of 298,908 | 4.0 |
//! | this one, nginx keeps none | 27 / 96 (quieter: 8.7 / 20) | 3,814 (quieter: 4,581) | 0 | 0 | 0 of 322,934 | 4.2 |
//! | forwarder of connections, nginx keeps none | 0 / 0 | 2,925 | 0 | 0 | 0 of 270,188 | 4.7 |
//! | forwarder of connections, kept 1 s | 0 / 0 | 6,816 | 0 | 0 | 51,944 of 577,298 | 4.3 |
//! | HAProxy, runtime API | 1.9 / 23 (quieter: 0.8 / 3.9) | 5,829 (quieter: 8,553) | 0 | 0 | 0 of 492,557 | 4.2 |
//! | nftables with masquerade, kept 1 s | 21 / 40 (fork of `nft`) | 7,067 | 0 | 0 | 47,002 of 525,751 | 3.5 |
//! | nginx reload, old workers waited for | 5.3 / 62 | 9,151 | 0 | 0; 21 in another run, of 2 flips | 13,494 of 679,876 | 3.8 |
//! | nginx reload, old stopped at once | 4.1 / 62 | 8,888 | 15,269 | 25 | 4,926 | – |
//!
//! Nearly all of our flip is the write to disk that makes it durable; the swap is one store to memory,
//! and until it no request waits. The rows without a write keep nothing over a restart.
//!
//! What forwards connections (L4, nftables) pins kept ones to the old release, so either a tenth of the
//! requests after a switch still see the old one, or every request opens a connection. Masquerading and
//! a network of its own did cure nftables' trouble with containers. HAProxy holds every promise too and
//! does a third more requests a second; it loses because it is one more program to install and to
//! configure, needs a reload for each new app (2.6 cannot add a backend at run time), keeps the route
//! only in memory, and cannot tell which release answered. It is the one to go back to.
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
