//! How the agent drives the switch.
//!
//! * [`Switch`]: what the agent needs, as a trait; `fake` for its tests.
//! * [`client`]: the real one, over the control socket.
//! * [`wire`]: the JSON that goes over it.
//! * `serve`: the side that answers. Small HTTP/1.1, so that `curl --unix-socket` can look:
//!
//! | request | does |
//! | --- | --- |
//! | `GET /healthz` | tells that it lives |
//! | `GET /v1/status` | tells routes and open requests |
//! | `PUT /v1/apps/{app}` | sets the route; answers once it is in force and on disk |
//! | `DELETE /v1/apps/{app}` | removes the route |
//! | `POST /v1/apps/{app}/generations/{n}/drained?limit_ms=N` | waits until nothing is open on a retired generation, `limit_ms` at most |
//! | `POST /v1/apps/{app}/generations/{n}/cut` | closes what is still open on it |
//! | `POST /v1/retire` | only from a successor: stop accepting, pass on what still comes |
//!
//! Only root and the user that runs the switch get an answer: the socket is 0600, and the peer's
//! uid is checked.

use std::time::Duration;

use crate::{Error, Route, Status};

pub mod client;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub(crate) mod serve;
pub mod wire;

/// What the agent asks of the traffic switch.
///
/// Every call can be repeated: a repetition changes nothing. Calls wait a few seconds for a switch
/// that is just being replaced, and otherwise are single attempts; [`Error::retry`] tells whether
/// another can help.
pub trait Switch: Send + Sync + 'static {
    /// Sends new requests of `app` to `route`. Returns once that is in force and durable: no request
    /// that arrives later reaches another generation. Requests in flight go on where they are.
    fn set(&self, app: &str, route: &Route) -> impl Future<Output = Result<(), Error>> + Send;

    /// Forgets an app: its requests are answered with 503. Success when it was not known.
    fn remove(&self, app: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// Tells what is routed where and what is open.
    fn status(&self) -> impl Future<Output = Result<Status, Error>> + Send;

    /// Waits until no request and no upgraded connection is open on a retired generation, for
    /// `limit` at most, and returns how many still are. 0 for a generation that it does not know.
    ///
    /// [`Error::Current`] when the generation is the one in force.
    fn drained(
        &self,
        app: &str,
        generation: u64,
        limit: Duration,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Closes what is still open on a retired generation, and returns how many that were.
    ///
    /// [`Error::Current`] when the generation is the one in force.
    fn cut(&self, app: &str, generation: u64) -> impl Future<Output = Result<u64, Error>> + Send;
}

impl<S: Switch> Switch for std::sync::Arc<S> {
    fn set(&self, app: &str, route: &Route) -> impl Future<Output = Result<(), Error>> + Send {
        S::set(self, app, route)
    }

    fn remove(&self, app: &str) -> impl Future<Output = Result<(), Error>> + Send {
        S::remove(self, app)
    }

    fn status(&self) -> impl Future<Output = Result<Status, Error>> + Send {
        S::status(self)
    }

    fn drained(
        &self,
        app: &str,
        generation: u64,
        limit: Duration,
    ) -> impl Future<Output = Result<u64, Error>> + Send {
        S::drained(self, app, generation, limit)
    }

    fn cut(&self, app: &str, generation: u64) -> impl Future<Output = Result<u64, Error>> + Send {
        S::cut(self, app, generation)
    }
}
