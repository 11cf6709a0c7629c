//! How a deployment ends: its verdict becomes its last event and its rows, in one transaction.

use metrics::{counter, histogram};
use slipway_host::failpoint;
use slipway_store::{
    Deployment, DeploymentServer, DeploymentServerState, DeploymentState, Done, Failure,
    ServerDone, ServerOutcome, Store,
};
use tracing::{info, warn};

use super::drive::Reached;
use crate::operation::{Ended, Error, Run};

/// How a deployment ended.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Why it failed; none: it succeeded.
    pub(super) failure: Option<Failure>,
    /// Whether it could neither be finished nor put back.
    pub(super) stuck: bool,
    /// Each server, and how far it came.
    pub(super) servers: Vec<(DeploymentServer, Reached)>,
}

impl Verdict {
    /// It failed before any server was asked.
    pub(super) fn untouched(failure: Failure) -> Self {
        Self { failure: Some(failure), stuck: false, servers: Vec::new() }
    }

    fn state(&self) -> DeploymentState {
        match (&self.failure, self.stuck) {
            (_, true) => DeploymentState::Stuck,
            (Some(_), false) => DeploymentState::Failed,
            (None, false) => DeploymentState::Succeeded,
        }
    }
}

/// Writes the end down.
pub(super) async fn finish(
    run: &Run,
    deployment: &Deployment,
    mut verdict: Verdict,
) -> Result<Ended, Error> {
    if verdict.servers.is_empty() {
        let servers = run.owner().deployment_servers(deployment.id).await;
        let servers = run.check("read the deployment's servers", servers)?;
        verdict.servers = servers.into_iter().map(|it| (it, Reached::Nothing)).collect();
    }
    let state = verdict.state();
    let success = state == DeploymentState::Succeeded;
    let release = if success {
        deployment.release
    } else {
        run.check("read the app", run.system().app(deployment.app_id).await)?.release
    };
    let outcomes: Vec<_> =
        verdict.servers.iter().map(|(it, reached)| outcome(it, reached)).collect();
    let done = Done {
        success,
        error: verdict.failure.clone(),
        servers: verdict.servers.iter().map(|(it, reached)| shown(it, reached)).collect(),
        release: u64::try_from(release).unwrap_or_default(),
    };
    failpoint!("control.deploy.finish.before");
    let ended = run.finish_deployment(state, &outcomes, done).await?;
    failpoint!("control.deploy.finish.after");
    tell(run.store(), deployment, &verdict);
    Ok(ended)
}

fn tell(store: &Store, deployment: &Deployment, verdict: &Verdict) {
    let outcome = match verdict.state() {
        DeploymentState::Succeeded => "succeeded",
        DeploymentState::Stuck => "stuck",
        _ => "failed",
    };
    let took = store.now().since(deployment.created_at);
    counter!("slipway_deployments_total", "outcome" => outcome, "source" => deployment.source.name())
        .increment(1);
    histogram!("slipway_deployment_duration_seconds", "outcome" => outcome)
        .record(took.as_secs_f64());
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match &verdict.failure {
        None => info!(duration_ms, release = deployment.release, "deployed"),
        Some(failure) => {
            warn!(duration_ms, code = %failure.code, error = %failure.message, outcome, "deploy failed");
        }
    }
}

fn kept(reached: &Reached) -> Option<(String, &[String])> {
    match reached {
        Reached::Committed { prepared, urls } => {
            let image = prepared.as_ref().map(|it| it.image_id.clone()).unwrap_or_default();
            Some((image, urls))
        }
        _ => None,
    }
}

fn outcome(server: &DeploymentServer, reached: &Reached) -> ServerOutcome {
    let kept = kept(reached);
    let state = match kept {
        Some(_) => DeploymentServerState::Succeeded,
        None => DeploymentServerState::Failed,
    };
    let (image_id, urls) = kept.map(|(image, urls)| (image, urls.to_vec())).unwrap_or_default();
    let error = reached.failure().cloned();
    ServerOutcome { server_id: server.server_id, state, image_id, urls, error }
}

fn shown(server: &DeploymentServer, reached: &Reached) -> ServerDone {
    let kept = kept(reached);
    let ip = server.address.rsplit_once(':').map_or(server.address.as_str(), |(host, _)| host);
    let shown = ServerDone {
        id: server.server_id.to_string(),
        name: server.name.clone(),
        ip: ip.trim_matches(['[', ']']).to_owned(),
        success: kept.is_some(),
        error: reached.failure().cloned(),
        ..ServerDone::default()
    };
    shown.at(kept.map(|(_, urls)| urls.to_vec()).unwrap_or_default())
}
