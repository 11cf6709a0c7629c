//! What a deployment is.

use crate::{
    event::Failure,
    id::{AppId, At, OperationId, ServerId, UserId},
    json::JsonText,
    operation::NewOperation,
    secret::Sealed,
};

/// How a deployment stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum DeploymentState {
    /// Accepted, waiting for its source or for another deployment of the app.
    Queued,
    /// At work.
    Running,
    /// Putting things back.
    Undoing,
    /// Every server serves the new release.
    Succeeded,
    /// Put back: every server serves what it served before.
    Failed,
    /// Needs a person.
    Stuck,
}

impl DeploymentState {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Undoing => "undoing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
        }
    }
}

/// Where a release came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum SourceKind {
    /// An uploaded archive.
    Code,
    /// A git repository.
    Git,
    /// An image.
    Image,
    /// An earlier release.
    Rollback,
}

impl SourceKind {
    /// Its name in the database and in the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Git => "git",
            Self::Image => "image",
            Self::Rollback => "rollback",
        }
    }
}

/// A deployment.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Deployment {
    /// Its id, the same as its operation's.
    #[sqlx(rename = "operation_id")]
    pub id: OperationId,
    /// Whose it is.
    #[sqlx(rename = "user_id")]
    pub user: UserId,
    /// The app.
    pub app_id: AppId,
    /// The app's name.
    pub app: String,
    /// The app's environment.
    pub environment: String,
    /// Number of the release.
    pub release: i64,
    /// How it stands.
    pub state: DeploymentState,
    /// Where the release comes from.
    pub source: SourceKind,
    /// The same, for people.
    pub source_detail: String,
    /// SHA-256 of its archive, once that is complete.
    pub blob: Option<String>,
    /// Why it failed.
    pub error: Option<JsonText<Failure>>,
    /// When it was accepted.
    pub created_at: At,
    /// When it ended.
    pub ended_at: Option<At>,
    /// Number of its newest event.
    pub last_seq: i64,
}

/// How a deployment stands on a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum DeploymentServerState {
    /// Not begun.
    Pending,
    /// At work.
    Running,
    /// The server serves the new release.
    Succeeded,
    /// It does not.
    Failed,
}

impl DeploymentServerState {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// A deployment on a server.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct DeploymentServer {
    /// The server.
    pub server_id: ServerId,
    /// Its name, as it was.
    pub name: String,
    /// Its address, as it was.
    pub address: String,
    /// How the deployment stands there.
    pub state: DeploymentServerState,
    /// Image that was built or pulled there.
    pub image_id: String,
    /// Where the app answers.
    pub urls: JsonText<Vec<String>>,
    /// Why it failed there.
    pub error: Option<JsonText<Failure>>,
    /// Number of the agent's newest event that is among ours: go on after it.
    pub agent_seq: i64,
}

/// A deployment to be recorded.
#[derive(Clone, Debug)]
pub struct NewDeployment {
    /// Its operation.
    pub operation: NewOperation,
    /// The app's name.
    pub app: String,
    /// The app's environment.
    pub environment: String,
    /// The app's tags from now on.
    pub tags: Vec<String>,
    /// The specification as JSON, without secrets.
    pub spec: String,
    /// Its secrets, sealed under [`Release::record`](crate::Release::record) of the operation.
    pub secrets: Option<Sealed>,
    /// Where the release comes from.
    pub source: SourceKind,
    /// The same, for people.
    pub source_detail: String,
    /// Where it goes.
    pub servers: Vec<ServerId>,
}

/// What a deployment came to on a server.
#[derive(Clone, Debug)]
pub struct ServerOutcome {
    /// The server.
    pub server_id: ServerId,
    /// How it stands.
    pub state: DeploymentServerState,
    /// Image that was built or pulled there; empty: none.
    pub image_id: String,
    /// Where the app answers.
    pub urls: Vec<String>,
    /// Why it failed there.
    pub error: Option<Failure>,
}
