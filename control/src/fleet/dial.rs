//! How an agent is reached.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use slipway_proto::{
    key::NodeKey,
    problem::{Kind, Problem},
};
use slipway_store::Server;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;

use super::Link;

/// What a link speaks through: HTTP requests in, responses out.
pub type Pipe = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, tonic::Status>;

/// Which agent, and where.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    /// Id of the agent: its TLS name is made from it.
    pub agent_id: String,
    /// Host and port at which it listens.
    pub address: String,
    /// Name of the server, for people.
    pub server: String,
}

impl Target {
    /// Where the agent of a server is.
    ///
    /// # Errors
    /// SW-SERVER-NOT-ENROLLED.
    pub fn of(server: &Server) -> Result<Self, Problem> {
        let name = &server.name;
        let agent_id = server.agent_id.clone().filter(|_| !server.address.is_empty());
        let agent_id = agent_id.ok_or_else(|| {
            let message = format!("server `{name}` has not enrolled yet");
            Problem::new(Kind::Unavailable, "SW-SERVER-NOT-ENROLLED", message)
                .hint("run `slipway-agent enroll` on it, with the token that `server add` printed")
        })?;
        Ok(Self { agent_id, address: server.address.clone(), server: name.clone() })
    }
}

/// Reaches agents.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// Opens a pipe to an agent, or returns the open one. It may connect only with the first call.
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Pipe, Problem>>;
}

/// Knows the `x-api-key` of each user's agents.
pub trait Keys: fmt::Debug + Send + Sync + 'static {
    /// The key that the agents of this user accept.
    fn key<'a>(&'a self, user_id: &'a str) -> BoxFuture<'a, Result<NodeKey, Problem>>;
}

/// All agents that can be reached. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Agents {
    dial: Arc<dyn Dial>,
    keys: Arc<dyn Keys>,
}

impl Agents {
    /// Reaches agents by `dial`, with `keys`.
    pub fn new(dial: Arc<dyn Dial>, keys: Arc<dyn Keys>) -> Self {
        Self { dial, keys }
    }

    /// Makes the link to one agent of a user.
    ///
    /// # Errors
    /// There is no way to the agent, or its key cannot be read.
    pub async fn link(&self, target: &Target, user_id: &str) -> Result<Link, Problem> {
        let key = self.keys.key(user_id).await?;
        let pipe = self.dial.dial(target).await?;
        Ok(Link::new(pipe, key, target.server.clone()))
    }
}
