//! From a caller's request to a recorded deployment. Everything that can be refused is refused here,
//! before anything is stored; secrets are sealed before they are.

use serde::{Deserialize, Serialize};
use slipway_proto::{
    agent::v1::{self as agent, source::Kind as Source},
    control::v1 as wire,
    problem::{Kind, Problem},
    spec::AppSpec,
};
use slipway_store::{
    Entry, NewDeployment, NewEvent, NewOperation, OperationId, Owner, Recorded, Server, SourceKind,
    User,
};

use super::{Deployments, Upload};
use crate::refused::refused;

/// Longest idempotency key.
const KEY: usize = 128;
/// Deployments of one user that may be open at once.
const QUEUE: usize = 20;
/// Kind of our operations.
pub(super) const KIND: &str = "deployment";

/// A deployment that was accepted.
#[derive(Debug)]
pub struct Started {
    /// Its id.
    pub id: OperationId,
    /// Where its archive goes, when it has one and is new.
    pub upload: Option<Upload>,
}

/// Where a release comes from, beside its specification.
pub(crate) struct Order {
    pub(crate) spec: agent::AppSpec,
    pub(crate) servers: Vec<String>,
    pub(crate) idempotency_key: String,
    /// The release that it goes back to.
    pub(crate) back_to: Option<BackTo>,
}

/// An earlier release.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackTo {
    /// Its number.
    pub(crate) release: i64,
    /// The deployment that made it, which knows its image on each server.
    pub(crate) deployment: OperationId,
}

/// What a deployment's operation keeps as its input.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Input {
    /// The deployment whose images it goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) images_of: Option<OperationId>,
}

impl Deployments {
    /// Checks a request and records the deployment, which begins at once.
    ///
    /// # Errors
    /// What is wrong with the request. Nothing was stored.
    pub async fn start(
        &self,
        user: &User,
        request: wire::StartDeployment,
    ) -> Result<Started, Problem> {
        let wire::StartDeployment { spec, servers, idempotency_key } = request;
        let spec = spec.unwrap_or_default();
        if let Some(Source::Release(_)) = spec.source.as_ref().and_then(|it| it.kind.as_ref()) {
            let message = "a release is not deployed again, it is rolled back to";
            return Err(
                Problem::invalid("SW-SOURCE", "source", message).hint("use `slipway rollback`")
            );
        }
        self.order(user, Order { spec, servers, idempotency_key, back_to: None }).await
    }

    /// The same for a specification that may also go back to a release.
    pub(crate) async fn order(&self, user: &User, order: Order) -> Result<Started, Problem> {
        let Order { spec, servers, idempotency_key, back_to } = order;
        let key = checked_key(idempotency_key)?;
        let (spec, checked) = checked_spec(spec)?;
        let owner = self.store().of(user.id);
        let servers = servers_for(&owner, &checked, &servers).await?;
        self.room(&owner).await?;

        let id = OperationId::new();
        let secrets = self.specs().seal(user.id, id, &spec).await?;
        let upload = match &checked.source {
            slipway_proto::spec::Source::Archive { .. } => {
                Some(self.uploads().begin(self.store().blobs(), id).await?)
            }
            _ => None,
        };
        let names = servers.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ");
        let (source, mut detail) = (source_kind(&checked), checked.source.detail());
        if upload.is_some() {
            // Known once it has arrived.
            "archive".clone_into(&mut detail);
        }
        if let Some(BackTo { release, .. }) = back_to {
            detail = format!("release {release} ({detail})");
        }
        let input = Input { images_of: back_to.map(|it| it.deployment) };
        let what = format!("deploying `{}` from {} to {names}", checked.key, source.name());
        let new = NewDeployment {
            operation: NewOperation {
                id,
                kind: KIND,
                input: slipway_store::operation::encode_input(&input).map_err(refused)?,
                idempotency_key: key,
                deadline: self.timing().whole,
                first: NewEvent::log("plan", what),
            },
            app: checked.key.app.to_string(),
            environment: checked.key.environment().to_owned(),
            tags: checked.tags.clone(),
            spec: stored(&checked)?,
            secrets: Some(secrets),
            source,
            source_detail: detail,
            servers: servers.iter().map(|it| it.id).collect(),
        };
        let audit = Entry::done(
            format!("user:{}", user.name),
            "deployment.start",
            format!("app:{}", checked.key),
        );
        let recorded = owner.create_deployment(new, self.claimant(), audit).await;
        if !matches!(recorded, Ok(Recorded::New(_))) {
            // Nobody will fetch it: the upload ends with the handle that is dropped here.
            drop(self.uploads().take(id));
        }
        match recorded.map_err(refused)? {
            Recorded::Existing(operation) if operation.kind != KIND => {
                let message = "this idempotency key belongs to something that is no deployment";
                Err(Problem::new(Kind::Exists, "SW-IDEMPOTENCY-KEY", message))
            }
            Recorded::Existing(operation) => Ok(Started { id: operation.id, upload: None }),
            Recorded::New(operation) => {
                self.run(operation).await?;
                Ok(Started { id, upload })
            }
        }
    }

    /// Refuses more deployments than one user may have open.
    async fn room(&self, owner: &Owner) -> Result<(), Problem> {
        let limit = u32::try_from(QUEUE * 4).unwrap_or(u32::MAX);
        let newest = owner.deployments(None, None, limit).await.map_err(refused)?;
        let open = newest.iter().filter(|it| it.ended_at.is_none()).count();
        if open < QUEUE {
            return Ok(());
        }
        let message = format!("{open} deployments of yours have not ended yet");
        Err(Problem::new(Kind::Exhausted, "SW-DEPLOY-QUEUE", message)
            .hint("wait for some of them, or cancel them"))
    }
}

fn checked_key(key: String) -> Result<Option<String>, Problem> {
    if key.is_empty() {
        return Ok(None);
    }
    if KEY < key.len() || key.chars().any(char::is_control) {
        let message = format!("an idempotency key is at most {KEY} bytes of plain text");
        return Err(Problem::invalid("SW-IDEMPOTENCY-KEY", "idempotency_key", message));
    }
    Ok(Some(key))
}

/// Checks a specification; returns it as it goes to the agents, with everything filled in.
fn checked_spec(mut spec: agent::AppSpec) -> Result<(agent::AppSpec, AppSpec), Problem> {
    if let Some(Source::Archive(it)) = spec.source.as_mut().and_then(|it| it.kind.as_mut())
        && it.size_bytes == 0
        && it.sha256.is_empty()
    {
        // What comes with `source_end` is put in its place before any agent sees it.
        (it.size_bytes, it.sha256) = (1, vec![0; 32].into());
    }
    let checked = AppSpec::try_from(spec)?;
    Ok(((&checked).into(), checked))
}

/// The specification as it is stored: without secrets, which are sealed.
fn stored(spec: &AppSpec) -> Result<String, Problem> {
    serde_json::to_string(spec).map_err(|error| {
        tracing::error!(%error, "could not write a specification");
        Problem::internal("the specification could not be stored")
    })
}

fn source_kind(spec: &AppSpec) -> SourceKind {
    match &spec.source {
        slipway_proto::spec::Source::Archive { .. } => SourceKind::Code,
        slipway_proto::spec::Source::Git { .. } => SourceKind::Git,
        slipway_proto::spec::Source::Image { .. } => SourceKind::Image,
        slipway_proto::spec::Source::Release { .. } => SourceKind::Rollback,
    }
}

/// The servers that were named; else those that run the app, else the only one there is.
async fn servers_for(
    owner: &Owner,
    spec: &AppSpec,
    named: &[String],
) -> Result<Vec<Server>, Problem> {
    let mut servers: Vec<Server> = Vec::new();
    for name in named {
        let server = owner.server(name).await.map_err(|it| refused(it).field("servers"))?;
        if servers.iter().all(|it| it.id != server.id) {
            servers.push(server);
        }
    }
    if servers.is_empty() {
        servers = usual_servers(owner, spec).await?;
    }
    if let Some(server) = servers.iter().find(|it| it.agent_id.is_none()) {
        let message = format!("server `{}` has not enrolled yet", server.name);
        return Err(Problem::new(Kind::Conflict, "SW-SERVER-NOT-ENROLLED", message)
            .field("servers")
            .hint("run `slipway-agent enroll` on it with its join token"));
    }
    Ok(servers)
}

async fn usual_servers(owner: &Owner, spec: &AppSpec) -> Result<Vec<Server>, Problem> {
    let all = owner.servers().await.map_err(refused)?;
    let app = owner.app(spec.key.app.as_str(), spec.key.environment()).await;
    if let Ok(app) = app {
        let runs = owner.app_servers(app.id).await.map_err(refused)?;
        let (mine, _): (Vec<_>, Vec<_>) =
            all.iter().cloned().partition(|it| runs.iter().any(|on| on.server_id == it.id));
        if !mine.is_empty() {
            return Ok(mine);
        }
    }
    match all.len() {
        1 => Ok(all),
        0 => Err(Problem::new(Kind::Conflict, "SW-SERVER-NONE", "there is no server yet")
            .field("servers")
            .hint("add one with `slipway server add`, or try `slipway dev up`")),
        _ => {
            let names = all.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ");
            let message = format!("there are several servers: {names}");
            Err(Problem::invalid("SW-SERVER-CHOICE", "servers", message)
                .hint("name one with `--server`"))
        }
    }
}
