//! What an event says.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use slipway_proto::problem::Problem;

use crate::id::{At, OperationId};

/// Longest line of output that is kept.
pub(crate) const LINE_LIMIT: usize = 64 << 10;

/// An event to be appended.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Name of the server that it is about. Empty: the operation.
    pub server: String,
    /// Part of the operation, such as `build`.
    pub phase: Cow<'static, str>,
    /// What it says.
    pub body: EventBody,
}

impl NewEvent {
    /// An event of the operation itself.
    pub fn new(phase: impl Into<Cow<'static, str>>, body: EventBody) -> Self {
        Self { server: String::new(), phase: phase.into(), body }
    }

    /// A line of output.
    pub fn log(phase: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(phase, EventBody::Log { message: message.into() })
    }

    /// A phase began or ended.
    pub fn step(phase: impl Into<Cow<'static, str>>, state: StepState, elapsed_ms: u64) -> Self {
        Self::new(phase, EventBody::Step { state, elapsed_ms })
    }

    /// Says which server it is about.
    #[must_use]
    pub fn on(mut self, server: impl Into<String>) -> Self {
        self.server = server.into();
        self
    }
}

/// What an event says. Its JSON, with `seq`, `time`, `server` and `phase` added, is a frame of the
/// outside contract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventBody {
    /// A line of output, at most 64 KiB.
    Log {
        /// The text.
        message: String,
    },
    /// How far a long act has come.
    Progress {
        /// So far.
        current: u64,
        /// In all; 0 when not known.
        total: u64,
        /// `bytes`, `steps` or `objects`.
        unit: Cow<'static, str>,
        /// Part that it is about. May be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        item: String,
    },
    /// A phase began or ended.
    Step {
        /// How it stands.
        state: StepState,
        /// Since the phase began.
        elapsed_ms: u64,
    },
    /// The end. Exactly one, last.
    Done(Done),
}

impl EventBody {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Log { .. } => "log",
            Self::Progress { .. } => "progress",
            Self::Step { .. } => "step",
            Self::Done(_) => "done",
        }
    }
}

/// How a phase stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It began.
    Started,
    /// It ended well.
    Done,
    /// It failed.
    Failed,
}

/// The end of an operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Whether all of it was done.
    pub success: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// How each server ended.
    #[serde(default)]
    pub servers: Vec<ServerDone>,
    /// Number of the release that serves now; 0: none.
    #[serde(default)]
    pub release: u64,
}

/// How a server ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerDone {
    /// Id of the server.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its address, without a port.
    pub ip: String,
    /// Whether all of it was done there.
    pub success: bool,
    /// Where the app answers first. Use [`ServerDone::at`] to set both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Everywhere the app answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

impl ServerDone {
    /// Says where the app answers.
    #[must_use]
    pub fn at(mut self, urls: Vec<String>) -> Self {
        self.url = urls.first().cloned();
        self.urls = urls;
        self
    }
}

/// Why something failed, as it is kept and shown. No secret in it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Code, such as `SW-HEALTH-TIMEOUT`.
    pub code: String,
    /// The field it concerns. May be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What happened, one sentence.
    pub message: String,
    /// What to do about it. May be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// Exit code of the new container, when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Its last lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let Problem { kind: _, code, field, message, hint } = problem;
        Self {
            code: code.into_owned(),
            field: field.map(Cow::into_owned).unwrap_or_default(),
            message,
            hint: hint.map(Cow::into_owned).unwrap_or_default(),
            exit_code: None,
            last_lines: Vec::new(),
        }
    }
}

/// An event as it was recorded. Its JSON is the data of an SSE frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// What it says.
    #[serde(flatten)]
    pub body: EventBody,
    /// Position within the operation, from 1, without gaps.
    pub seq: u64,
    /// When it was recorded.
    #[serde(rename = "time", serialize_with = "rfc3339")]
    pub at: At,
    /// Name of the server that it is about. Empty: the operation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// Part of the operation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Operation.
    #[serde(skip)]
    pub operation: OperationId,
    /// Position over all operations. Grows, and never appears below one that was seen.
    #[serde(skip)]
    pub pos: i64,
}

impl Event {
    /// Whether it is the last one of its operation.
    pub fn is_last(&self) -> bool {
        matches!(self.body, EventBody::Done(_))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn rfc3339<S: serde::Serializer>(at: &At, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(server: &str, phase: &str, body: EventBody) -> String {
        let event = Event {
            body,
            seq: 17,
            at: At::from_micros(0),
            server: server.to_owned(),
            phase: phase.to_owned(),
            operation: OperationId::new(),
            pos: 99,
        };
        serde_json::to_string(&event).unwrap()
    }

    #[test]
    fn events_look_as_the_contract_has_them() {
        assert_eq!(
            frame("brave-otter", "build", EventBody::Log { message: "Step 3/7".into() }),
            r#"{"type":"log","message":"Step 3/7","seq":17,"time":"1970-01-01T00:00:00.000000Z","server":"brave-otter","phase":"build"}"#,
        );
        assert_eq!(
            frame("", "switch", EventBody::Step { state: StepState::Done, elapsed_ms: 41 }),
            r#"{"type":"step","state":"done","elapsed_ms":41,"seq":17,"time":"1970-01-01T00:00:00.000000Z","phase":"switch"}"#,
        );
        let server =
            ServerDone { id: "1".into(), name: "a".into(), success: true, ..Default::default() }
                .at(vec!["http://a".into()]);
        let done = Done { success: true, servers: vec![server], release: 3, error: None };
        assert_eq!(
            frame("", "", EventBody::Done(done)),
            r#"{"type":"done","success":true,"servers":[{"id":"1","name":"a","ip":"","success":true,"url":"http://a","urls":["http://a"]}],"release":3,"seq":17,"time":"1970-01-01T00:00:00.000000Z"}"#,
        );
    }
}
