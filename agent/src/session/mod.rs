//! The connection to the control plane.
//!
//! One task ([`Session::run`]) dials, says hello, and then sends a heartbeat as often as it was told
//! to. While it lives it renews the certificate and takes over the keys to accept. When the
//! connection ends it dials again, after 0.25 s to 30 s at random, except when the control plane
//! said `refused`. Nothing else in the agent waits for it: deployments and apps go on without.

mod link;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rand::RngExt as _;
use slipway_host::clock::Clock;
use slipway_proto::{
    control::v1::{Heartbeat, Hello},
    problem::Problem,
};
use slipway_transport::{CONTROL_NAME, Channel, tls::ClientTls};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::identity::Identity;
use link::{End, Link};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How the session stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// There is no connection.
    Offline {
        /// Why, with what to do. Empty: none was tried yet.
        reason: String,
    },
    /// The control plane knows that this agent lives.
    Online {
        /// Since when.
        since: SystemTime,
    },
    /// The control plane does not want this agent any more.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Figures for the next heartbeat.
pub type Figures = Arc<dyn Fn() -> Heartbeat + Send + Sync>;

/// The session of one agent.
pub struct Session {
    /// Who the agent is.
    pub identity: Arc<Identity>,
    /// What it says of itself.
    pub hello: Hello,
    /// What it says in each heartbeat.
    pub figures: Figures,
    /// The time.
    pub clock: Clock,
    /// How the session stands, for others to look at.
    pub state: watch::Sender<State>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Session {
    /// A session that nobody has looked at yet, and its state.
    pub fn new(
        identity: Arc<Identity>,
        hello: Hello,
        figures: Figures,
        clock: Clock,
    ) -> (Self, watch::Receiver<State>) {
        let (state, states) = watch::channel(State::Offline { reason: String::new() });
        (Self { identity, hello, figures, clock, state }, states)
    }

    /// Keeps the session up until `stop`, or until the control plane refuses this agent for good.
    ///
    /// # Errors
    /// The address of the control plane is none.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Problem> {
        let tls = ClientTls::mutual(Arc::clone(self.identity.credentials()));
        let address = self.identity.control();
        let mut failures = 0_u32;
        loop {
            // A new channel for each try: what a kept one remembers of a failure is of no use.
            let channel = Channel::tls_by(&address, CONTROL_NAME, tls.clone(), self.clock.clone())?;
            let mut link = Link::new(&self, channel);
            let Some(end) = stop.run_until_cancelled(link.run()).await else { break };
            match end {
                End::Refused { reason } => {
                    tracing::error!(%reason, "the control plane refuses this agent");
                    self.set(State::Refused { reason });
                    stop.cancelled().await;
                    return Ok(());
                }
                End::Lost { problem } => {
                    failures = if link.was_alive() { 1 } else { failures.saturating_add(1) };
                    self.lost(&problem);
                }
            }
            let longest = LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.saturating_pow(failures.min(16)));
            let pause = longest.mul_f64(rand::rng().random_range(0.0..1.0));
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
        }
        self.set(State::Offline { reason: "the agent is stopping".to_owned() });
        Ok(())
    }

    fn lost(&self, problem: &Problem) {
        let state = State::Offline { reason: problem.to_string() };
        // Once for each reason: a control plane that is away for hours would fill the log.
        if *self.state.borrow() != state {
            tracing::warn!(%problem, "no session with the control plane; trying again");
        }
        self.set(state);
    }

    fn set(&self, state: State) {
        self.state.send_if_modified(|it| {
            let changed = *it != state;
            *it = state;
            changed
        });
    }
}

#[cfg(test)]
mod tests;
