//! Deployments: recorded with their operation, their app and their release in one transaction, and
//! ended in one.

mod end;
mod record;
mod types;

pub use types::{
    Deployment, DeploymentServer, DeploymentServerState, DeploymentState, NewDeployment,
    ServerOutcome, SourceKind,
};

pub(super) const COLUMNS: &str = "d.operation_id, d.user_id, d.app_id, d.app, d.environment, d.release, \
    d.state, d.source, d.source_detail, d.blob, d.error, d.created_at, d.ended_at, o.last_seq";

pub(super) const FROM: &str =
    "from deployment as d inner join operation as o on d.operation_id = o.operation_id";
