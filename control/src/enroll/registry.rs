//! The sessions that live at this replica.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use slipway_proto::control::v1::{
    AcceptKeys, AcceptedKey, Refused, SessionResponse, session_response::Part,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What a session sends to its agent.
pub(super) type Out = mpsc::Sender<Result<SessionResponse, tonic::Status>>;

/// The sessions that live at this replica. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Sessions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    live: Mutex<HashMap<String, Entry>>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Entry {
    session: String,
    online: Online,
    out: Out,
    end: CancellationToken,
}

/// An agent that is online.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Online {
    /// Id of the agent.
    pub agent_id: String,
    /// Name of its server.
    pub server: String,
    /// Number of its droplet; 0: not a droplet.
    pub droplet_id: i64,
    /// Since when.
    pub since: SystemTime,
    /// Last heartbeat, or the hello.
    pub heard_at: SystemTime,
}

impl Default for Sessions {
    fn default() -> Self {
        let inner = Inner { live: Mutex::default(), changed: watch::Sender::new(0) };
        Self(Arc::new(inner))
    }
}

impl Sessions {
    /// Nobody is online yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the agent has a session here.
    pub fn is_online(&self, agent_id: &str) -> bool {
        self.lock().contains_key(agent_id)
    }

    /// The agents with a session here, ordered by id.
    pub fn online(&self) -> Vec<Online> {
        let mut all: Vec<_> = self.lock().values().map(|it| it.online.clone()).collect();
        all.sort_by(|a, b| a.agent_id.cmp(&b.agent_id));
        all
    }

    /// Changes with every session that begins or ends.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Ends the session of an agent and tells it not to come back. Nothing happens when it has none
    /// here.
    pub fn refuse(&self, agent_id: &str, code: &str, message: &str) {
        let Some(entry) = self.lock().remove(agent_id) else { return };
        let refused = Refused { code: code.to_owned(), message: message.to_owned() };
        // An agent that does not read any more is cut off with the session.
        drop(entry.out.try_send(Ok(answer(Part::Refused(refused)))));
        entry.end.cancel();
        self.note();
    }

    /// Replaces the keys that an agent accepts. False when it has no session here, or does not read.
    pub fn accept_keys(&self, agent_id: &str, keys: Vec<AcceptedKey>) -> bool {
        let live = self.lock();
        let Some(entry) = live.get(agent_id) else { return false };
        entry.out.try_send(Ok(answer(Part::AcceptKeys(AcceptKeys { keys })))).is_ok()
    }

    /// Enters a session; an earlier one of the same agent ends.
    pub(super) fn enter(&self, session: &str, online: Online, out: Out) -> CancellationToken {
        let end = CancellationToken::new();
        let entry =
            Entry { session: session.to_owned(), online: online.clone(), out, end: end.clone() };
        if let Some(earlier) = self.lock().insert(online.agent_id, entry) {
            earlier.end.cancel();
        }
        self.note();
        end
    }

    pub(super) fn heard(&self, agent_id: &str, session: &str, at: SystemTime) {
        if let Some(entry) = self.lock().get_mut(agent_id).filter(|it| it.session == session) {
            entry.online.heard_at = at;
        }
    }

    /// The live session of the agent when it is on another droplet than this.
    pub(super) fn is_on_other_droplet(&self, agent_id: &str, droplet_id: i64) -> bool {
        let on = self.lock().get(agent_id).map_or(0, |it| it.online.droplet_id);
        on != 0 && droplet_id != 0 && on != droplet_id
    }

    pub(super) fn leave(&self, agent_id: &str, session: &str) {
        let mut live = self.lock();
        if live.get(agent_id).is_some_and(|it| it.session == session) {
            live.remove(agent_id);
            drop(live);
            self.note();
        }
    }

    fn note(&self) {
        self.0.changed.send_modify(|it| *it = it.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn answer(part: Part) -> SessionResponse {
    SessionResponse { part: Some(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn online(agent: &str) -> Online {
        Online {
            agent_id: agent.to_owned(),
            server: "web-1".to_owned(),
            droplet_id: 7,
            since: SystemTime::UNIX_EPOCH,
            heard_at: SystemTime::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn a_later_session_ends_the_earlier_one_and_is_not_ended_by_its_leaving() {
        let sessions = Sessions::new();
        let changes = sessions.watch();
        let (out, _in) = mpsc::channel(4);
        let first = sessions.enter("1", online("a"), out.clone());
        let second = sessions.enter("2", online("a"), out.clone());
        let _other = sessions.enter("3", online("ab"), out);
        assert!(first.is_cancelled() && !second.is_cancelled());
        sessions.leave("a", "1");
        assert!(sessions.is_online("a"));
        assert_eq!(sessions.online().len(), 2);
        assert!(sessions.is_on_other_droplet("a", 8) && !sessions.is_on_other_droplet("a", 7));
        sessions.leave("a", "2");
        assert!(!sessions.is_online("a") && sessions.is_online("ab"));
        assert!(changes.has_changed().unwrap());
    }

    #[tokio::test]
    async fn a_refused_agent_is_told_and_its_session_ends() {
        let sessions = Sessions::new();
        let (out, mut told) = mpsc::channel(4);
        let end = sessions.enter("1", online("a"), out);
        assert!(sessions.accept_keys("a", Vec::new()) && !sessions.accept_keys("b", Vec::new()));
        sessions.refuse("a", "SW-AGENT-REVOKED", "removed");
        assert!(end.is_cancelled() && !sessions.is_online("a"));
        assert!(matches!(told.recv().await.unwrap().unwrap().part, Some(Part::AcceptKeys(_))));
        let Some(Part::Refused(it)) = told.recv().await.unwrap().unwrap().part else { panic!() };
        assert_eq!(it.code, "SW-AGENT-REVOKED");
    }
}
