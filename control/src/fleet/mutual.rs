//! Agents over mutual TLS: one kept channel for each agent and address.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use futures::future::BoxFuture;
use slipway_proto::problem::Problem;
use slipway_transport::{Channel, agent_name, tls::ClientTls};
use tower::util::BoxCloneSyncService;

use super::{Dial, Pipe, Target};

/// Channels that are kept. An agent whose address changed leaves one behind.
const KEPT: usize = 4096;

/// Dials agents with the control plane's certificate and expects each under its own TLS name.
#[derive(Debug)]
pub struct Mutual {
    tls: ClientTls,
    open: Mutex<HashMap<Target, Channel>>,
}

impl Mutual {
    /// Dials with these certificates.
    pub fn new(tls: ClientTls) -> Self {
        Self { tls, open: Mutex::default() }
    }

    fn channel(&self, target: &Target) -> Result<Channel, Problem> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = open.get(target) {
            return Ok(channel.clone());
        }
        let name = agent_name(&target.agent_id);
        let channel = Channel::tls(&target.address, &name, self.tls.clone())?;
        if open.len() >= KEPT {
            open.clear();
        }
        open.insert(target.clone(), channel.clone());
        Ok(channel)
    }
}

impl Dial for Mutual {
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Pipe, Problem>> {
        let channel = self.channel(target);
        Box::pin(async move { channel.map(BoxCloneSyncService::new) })
    }
}
