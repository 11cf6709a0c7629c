//! Who waits for what. A change pokes its topic; whoever waits then reads the database again.
//!
//! Pokes carry nothing and may be merged, repeated or, when a replica's connection breaks, lost:
//! each waiter also looks by itself every few seconds. On PostgreSQL they travel to the other
//! replicas by LISTEN/NOTIFY, in the transaction of the change.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use slipway_host::Chain;
use sqlx::{PgPool, postgres::PgListener};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::id::{AppId, OperationId};

/// How long a waiter sleeps when nothing pokes it.
const POLL: Duration = Duration::from_secs(3);

/// How long the listener waits before it connects again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Topics after which forgotten ones are looked for.
const SWEEP: usize = 256;

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Topic {
    /// An operation has new events.
    Events(OperationId),
    /// An operation was asked to stop.
    Cancel(OperationId),
    /// An app's lock was given back.
    App(AppId),
    /// There is an operation to claim.
    Queue,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events(id) => write!(f, "events {id}"),
            Self::Cancel(id) => write!(f, "cancel {id}"),
            Self::App(id) => write!(f, "app {id}"),
            Self::Queue => f.write_str("queue"),
        }
    }
}

impl FromStr for Topic {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text.split_once(' ') {
            Some(("events", id)) => Self::Events(id.parse().map_err(drop)?),
            Some(("cancel", id)) => Self::Cancel(id.parse().map_err(drop)?),
            Some(("app", id)) => Self::App(id.parse().map_err(drop)?),
            None if text == "queue" => Self::Queue,
            _ => return Err(()),
        })
    }
}

/// The waiters of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hub(Arc<Mutex<HashMap<Topic, watch::Sender<()>>>>);

impl Hub {
    /// Starts waiting. Pokes from now on are noticed, so read the database after this.
    pub(crate) fn watch(&self, topic: Topic) -> Changes {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if topics.len() % SWEEP == SWEEP - 1 {
            // Most topics are never poked again once nobody waits for them.
            topics.retain(|_, sender| 0 < sender.receiver_count());
        }
        Changes(topics.entry(topic).or_insert_with(|| watch::channel(()).0).subscribe())
    }

    /// Wakes whoever waits for this.
    pub(crate) fn poke(&self, topic: Topic) {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = topics.get(&topic)
            && sender.send(()).is_err()
        {
            topics.remove(&topic);
        }
    }

    /// Wakes everybody, when pokes may have been lost.
    fn poke_all(&self) {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        topics.retain(|_, sender| sender.send(()).is_ok());
    }

    /// Passes the other replicas' pokes on, until `stop`.
    pub(crate) async fn listen(self, pool: PgPool, stop: CancellationToken) {
        let work = async {
            loop {
                match self.listen_once(&pool).await {
                    Err(sqlx::Error::PoolClosed) => return,
                    Err(error) => {
                        warn!(error = %Chain(&error), "lost the database's notifications");
                    }
                    Ok(()) => debug!("the database ended the notifications"),
                }
                tokio::time::sleep(RECONNECT).await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    async fn listen_once(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen("slipway").await?;
        // Whatever was said before this moment was not heard.
        self.poke_all();
        while let Some(notification) = listener.try_recv().await? {
            if let Ok(topic) = notification.payload().parse() {
                self.poke(topic);
            }
        }
        Ok(())
    }
}

/// Wakes its holder when something may have changed.
#[derive(Debug)]
pub struct Changes(watch::Receiver<()>);

impl Changes {
    /// Returns at the next change since the last call, or after a few seconds. Read again then.
    pub async fn wait(&mut self) {
        self.wait_at_most(POLL).await;
    }

    /// The same with another limit.
    pub async fn wait_at_most(&mut self, limit: Duration) {
        // The hub's sender can only be gone when the store is; then the limit paces the caller.
        if let Ok(Err(_)) = timeout(limit, self.0.changed()).await {
            tokio::time::sleep(limit).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_poke_before_the_wait_is_not_lost() {
        let hub = Hub::default();
        let mut changes = hub.watch(Topic::Queue);
        hub.poke(Topic::Queue);
        changes.wait_at_most(Duration::from_secs(3600)).await;

        let limit = Duration::from_millis(20);
        let before = tokio::time::Instant::now();
        changes.wait_at_most(limit).await;
        assert!(limit <= before.elapsed(), "one poke woke twice");
    }

    #[test]
    fn topics_without_waiters_are_forgotten() {
        let hub = Hub::default();
        let topic = Topic::Events(OperationId::new());
        drop(hub.watch(topic));
        hub.poke(topic);
        assert!(hub.0.lock().unwrap().is_empty());
    }

    #[test]
    fn topics_that_are_never_poked_again_do_not_pile_up() {
        let hub = Hub::default();
        let kept = hub.watch(Topic::Queue);
        for _ in 0..10 * SWEEP {
            drop(hub.watch(Topic::Cancel(OperationId::new())));
        }
        let topics = hub.0.lock().unwrap();
        assert!(topics.len() <= SWEEP && topics.contains_key(&Topic::Queue));
        drop(kept);
    }

    #[test]
    fn topics_survive_text() {
        for topic in [
            Topic::Queue,
            Topic::Events(OperationId::new()),
            Topic::Cancel(OperationId::new()),
            Topic::App(AppId::new()),
        ] {
            assert_eq!(topic.to_string().parse(), Ok(topic));
        }
        assert!("noise".parse::<Topic>().is_err());
    }
}
