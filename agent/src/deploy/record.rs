//! What a journal's records say, and where a deployment stands once they are put together.

use std::{net::Ipv4Addr, time::Duration};

use serde::{Deserialize, Serialize};
use slipway_proto::{spec::AppSpec, value::AppKey};
use uuid::Uuid;

use super::event::{Event, Stamped};

/// One record of the journal.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// The first one: what was asked for.
    Opened(Box<Opened>),
    /// Something that observers see, and what it means for the state.
    Event {
        /// The event.
        #[serde(flatten)]
        stamped: Stamped,
        /// What became true with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mark: Option<Mark>,
    },
    /// Something that only the agent needs to know.
    Mark(Mark),
}

/// What was asked for.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Opened {
    /// Id of the deployment.
    pub(super) deploy_id: Uuid,
    /// The app.
    pub(super) app: AppKey,
    /// Number of the release.
    pub(super) release: u64,
    /// How long a prepared deployment is held for a caller that is gone.
    pub(super) hold: Duration,
    /// The specification, without secrets.
    pub(super) spec: AppSpec,
}

/// Something that became true.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    /// The whole archive is here and was found good.
    Received,
    /// The image is here.
    Imaged(Image),
    /// The containers run and are healthy.
    Prepared(Vec<Placed>),
    /// Traffic is about to move.
    Activating,
    /// Traffic was seen at the new release.
    Active {
        /// Where it answers.
        urls: Vec<String>,
    },
    /// The old release is about to be retired.
    Committing,
    /// Over, and well.
    Committed,
    /// Things are about to be put back.
    Undoing,
    /// Over, as if nothing had been.
    Undone,
}

/// The image of a release, and where it came from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Image {
    /// Its id, `sha256:…`.
    pub id: String,
    /// Port on which the app listens in the container.
    pub port: u16,
    /// Commit of a git source.
    pub git_commit: Option<String>,
    /// Digest reference of an image source.
    pub digest: Option<String>,
}

/// A container with its place.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Placed {
    /// Its name.
    pub name: String,
    /// Docker's id.
    pub id: String,
    /// Its address on the app's network.
    pub address: Ipv4Addr,
}

/// Where a deployment stands. The order is the order of time; it never goes back.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum State {
    /// Being brought beside the running release.
    Preparing,
    /// Healthy beside the running release; waits for `activate`.
    Prepared,
    /// Traffic moves.
    Activating,
    /// Traffic is at the new release; waits for `commit`.
    Active,
    /// The old release is retired.
    Committing,
    /// Over, and well.
    Committed,
    /// Things are put back.
    Undoing,
    /// Over, as if nothing had been.
    Undone,
}

impl State {
    /// Whether nothing more happens.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Committed | Self::Undone)
    }

    /// Whether requests go, or may already go, to the new release.
    pub fn serves_new(self) -> bool {
        matches!(self, Self::Activating | Self::Active | Self::Committing | Self::Committed)
    }
}

/// Where a deployment stands, with all that was learned on the way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    pub(super) state: State,
    pub(super) received: bool,
    pub(super) image: Option<Image>,
    pub(super) containers: Vec<Placed>,
    pub(super) failed: bool,
    pub(super) last_seq: u64,
    /// Bytes of output so far, so that it stays bounded over restarts.
    pub(super) output: u64,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            state: State::Preparing,
            received: false,
            image: None,
            containers: Vec::new(),
            failed: false,
            last_seq: 0,
            output: 0,
        }
    }
}

impl Facts {
    /// Takes in one record.
    pub(super) fn apply(&mut self, record: &Record) {
        match record {
            Record::Opened(_) => (),
            Record::Mark(mark) => self.mark(mark),
            Record::Event { stamped, mark } => {
                self.last_seq = self.last_seq.max(stamped.seq);
                match &stamped.event {
                    Event::Failed(_) => self.failed = true,
                    Event::Log { message, .. } => {
                        let len = u64::try_from(message.len()).unwrap_or(u64::MAX);
                        self.output = self.output.saturating_add(len);
                    }
                    _ => (),
                }
                if let Some(mark) = mark {
                    self.mark(mark);
                }
            }
        }
    }

    fn mark(&mut self, mark: &Mark) {
        let state = match mark {
            Mark::Received => {
                self.received = true;
                return;
            }
            Mark::Imaged(image) => {
                self.image = Some(image.clone());
                return;
            }
            Mark::Prepared(containers) => {
                self.containers.clone_from(containers);
                State::Prepared
            }
            Mark::Activating => State::Activating,
            Mark::Active { .. } => State::Active,
            Mark::Committing => State::Committing,
            Mark::Committed => State::Committed,
            Mark::Undoing => State::Undoing,
            Mark::Undone => State::Undone,
        };
        // A committed deployment cannot be undone, whatever a damaged file says.
        if self.state != State::Committed {
            self.state = self.state.max(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_mark() -> impl Strategy<Value = Mark> {
        prop_oneof![
            Just(Mark::Received),
            Just(Mark::Prepared(Vec::new())),
            Just(Mark::Activating),
            Just(Mark::Active { urls: Vec::new() }),
            Just(Mark::Committing),
            Just(Mark::Committed),
            Just(Mark::Undoing),
            Just(Mark::Undone),
        ]
    }

    proptest! {
        #[test]
        fn no_order_of_records_takes_a_deployment_back(marks in prop::collection::vec(any_mark(), 0..20)) {
            let mut facts = Facts::default();
            for mark in marks {
                let before = facts.state;
                facts.apply(&Record::Mark(mark));
                prop_assert!(before <= facts.state);
                prop_assert!(before != State::Committed || facts.state == State::Committed);
            }
        }
    }

    #[test]
    fn a_record_reads_what_it_wrote() {
        let record = Record::Event {
            stamped: Stamped { seq: 7, at: 1, event: Event::Undone },
            mark: Some(Mark::Undone),
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(text, r#"{"event":{"seq":7,"at":1,"event":{"type":"undone"},"mark":"undone"}}"#);
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
