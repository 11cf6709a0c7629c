//! nginx in front of the apps, and the traffic switch beneath it.
//!
//! nginx knows which name and which port belongs to which app, and hands every request to the one
//! unix socket of the traffic switch ([`slipway_forward`]) with the app's key in a header. Where the
//! app runs is the switch's business. So nginx changes only when an app's names or its port change,
//! and **is never reloaded for a deployment**: a reload resets idle connections of clients.
//!
//! * [`site`]: what nginx is told: [`Settings`] of the server, an [`AppRoute`] for each app.
//! * `render`: from those to text, purely. Only checked types reach a template.
//! * `tree`: the text on disk, in numbered folders behind one symbolic link.
//! * `master`: the nginx process: start, adopt, reload, stop.
//! * [`Nginx`]: puts them together: render, test, swap, reload, verify, or go back.
//! * `probe`: asks through nginx until the wanted release answers.
//!
//! # Choices
//!
//! *Nothing is buffered* (`proxy_buffering` and `proxy_request_buffering` are off): streams arrive as
//! they are sent, an upload of a gigabyte needs no disk here, and a slow client slows the app's writes
//! rather than filling memory. An app that serves slow clients with few workers needs more replicas.
//!
//! *Nothing is sent twice* by nginx (`proxy_next_upstream off`): the switch decides about that.
//!
//! *The client's address is set, not appended* (`X-Forwarded-For $remote_addr`): nginx is the edge, and
//! what a client claims is not passed on.
//!
//! *Only WebSocket upgrades pass*: another protocol would get around nginx.

mod apply;
mod master;
mod probe;
mod render;
pub mod site;
#[cfg(test)]
mod tests;
mod tree;

pub use apply::{Applied, Nginx};
pub use site::{AppRoute, Mode, Settings};
