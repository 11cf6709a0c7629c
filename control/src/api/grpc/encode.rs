//! From the store's values to the contract's messages.

use std::time::Duration;

use slipway_proto::control::v1::{self as wire, event::Kind};
use slipway_store::{
    ApiToken, AppOverview, At, Deployment, DeploymentServer, DeploymentServerState,
    DeploymentState, Done, Event, EventBody, Failure, ServerDone, ServerState, StepState, User,
};

use crate::{
    app::{Live, ReleaseView},
    server::{Health, OperatorAccess, ServerView},
};

/// A time.
pub(super) fn time(at: At) -> prost_types::Timestamp {
    let micros = at.micros();
    let nanos = micros.rem_euclid(1_000_000) * 1_000;
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(nanos).unwrap_or_default(),
    }
}

/// A duration.
pub(super) fn duration(of: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(of.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(of.subsec_nanos()).unwrap_or_default(),
    }
}

/// An event.
pub(super) fn event(event: Event) -> wire::Event {
    let Event { body, seq, at, server, phase, operation: _, pos: _ } = event;
    let kind = match body {
        EventBody::Log { message } => Kind::Log(wire::LogEvent { message }),
        EventBody::Progress { current, total, unit, item } => {
            let unit = unit.into_owned();
            Kind::Progress(wire::ProgressEvent { current, total, unit, item })
        }
        EventBody::Step { state, elapsed_ms } => Kind::Step(wire::StepEvent {
            state: word(state).to_owned(),
            elapsed: Some(duration(Duration::from_millis(elapsed_ms))),
        }),
        EventBody::Done(it) => Kind::Done(done(it)),
    };
    wire::Event { seq, at: Some(time(at)), server, phase, kind: Some(kind) }
}

fn word(state: StepState) -> &'static str {
    match state {
        StepState::Started => "started",
        StepState::Done => "done",
        StepState::Failed => "failed",
    }
}

fn done(done: Done) -> wire::DoneEvent {
    let Done { success, error, servers, release } = done;
    wire::DoneEvent {
        success,
        error: error.map(problem),
        servers: servers.into_iter().map(outcome).collect(),
        release,
    }
}

/// Why something failed.
pub(super) fn problem(failure: Failure) -> wire::Problem {
    let Failure { code, field, message, hint, exit_code, last_lines } = failure;
    wire::Problem { code, field, message, hint, exit_code, last_lines }
}

/// How a server ended.
pub(super) fn outcome(server: ServerDone) -> wire::ServerOutcome {
    let ServerDone { id, name, ip, success, url: _, urls, error } = server;
    wire::ServerOutcome {
        server_id: id,
        name,
        address: ip,
        success,
        urls,
        error: error.map(problem),
    }
}

/// A deployment.
pub(super) fn deployment(
    (deployment, servers): (Deployment, Vec<DeploymentServer>),
) -> wire::Deployment {
    let source = deployment.source.name().to_owned();
    wire::Deployment {
        deployment_id: deployment.id.to_string(),
        app: deployment.app,
        environment: deployment.environment,
        release: number(deployment.release),
        state: state(deployment.state).into(),
        source,
        source_detail: deployment.source_detail,
        created_at: Some(time(deployment.created_at)),
        ended_at: deployment.ended_at.map(time),
        error: deployment.error.map(|it| problem(it.0)),
        servers: servers.into_iter().map(standing).collect(),
        last_seq: number(deployment.last_seq),
    }
}

fn standing(server: DeploymentServer) -> wire::ServerOutcome {
    wire::ServerOutcome {
        server_id: server.server_id.to_string(),
        name: server.name,
        address: server.address,
        success: server.state == DeploymentServerState::Succeeded,
        urls: server.urls.0,
        error: server.error.map(|it| problem(it.0)),
    }
}

fn state(state: DeploymentState) -> wire::DeploymentState {
    match state {
        DeploymentState::Queued => wire::DeploymentState::Queued,
        DeploymentState::Running => wire::DeploymentState::Running,
        DeploymentState::Undoing => wire::DeploymentState::Canceling,
        DeploymentState::Succeeded => wire::DeploymentState::Succeeded,
        DeploymentState::Failed => wire::DeploymentState::Failed,
        DeploymentState::Stuck => wire::DeploymentState::Stuck,
    }
}

fn number(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// An app.
pub(super) fn app(overview: AppOverview) -> wire::App {
    let AppOverview { app, servers, last_deployment } = overview;
    let urls = servers.iter().flat_map(|it| it.urls.iter().cloned()).collect();
    wire::App {
        app: app.name,
        environment: app.environment,
        release: number(app.release),
        servers: servers.into_iter().map(|it| it.name).collect(),
        urls,
        tags: app.tags.0,
        deployed_at: app.deployed_at.map(time),
        last_deployment: last_deployment.map_or(0, |it| state(it).into()),
        stopped: app.stopped,
    }
}

/// What a server says of an app.
pub(super) fn live(live: Live) -> wire::AppOnServer {
    let Live { server, app } = live;
    match app {
        Ok(app) => wire::AppOnServer { server, app: Some(app), error: String::new() },
        Err(problem) => wire::AppOnServer { server, app: None, error: problem.to_string() },
    }
}

/// A release.
pub(super) fn release(view: ReleaseView) -> wire::Release {
    let ReleaseView { release, serving, kept } = view;
    wire::Release {
        release: number(release.number),
        source: release.source.name().to_owned(),
        source_detail: release.source_detail,
        image_id: release.image_id,
        committed_at: release.committed_at.map(time),
        serving,
        kept,
        deployment_id: release.deployment.to_string(),
    }
}

/// A server.
pub(super) fn server(view: ServerView) -> wire::Server {
    let stale_hint = view.stale();
    let ServerView { server, apps } = view;
    let state = match server.state {
        ServerState::Provisioning => wire::ServerState::Provisioning,
        ServerState::Online => wire::ServerState::Online,
        ServerState::Offline => wire::ServerState::Offline,
        ServerState::Failed => wire::ServerState::Failed,
    };
    wire::Server {
        server_id: server.id.to_string(),
        name: server.name,
        agent_id: server.agent_id.unwrap_or_default(),
        state: state.into(),
        address: server.address,
        agent_version: server.agent_version,
        stale: stale_hint.is_some(),
        stale_hint: stale_hint.unwrap_or_default(),
        last_seen_at: server.last_seen_at.map(time),
        created_at: Some(time(server.created_at)),
        problems: server.problems.0,
        reason: server.reason,
        region: server.region,
        image: server.image,
        apps,
    }
}

/// How a server is.
pub(super) fn health(health: Health) -> wire::CheckHealthResponse {
    let Health { view, answer, round_trip } = health;
    let round_trip = Some(duration(round_trip));
    let server = Some(server(view));
    match answer {
        Ok((health, version)) => wire::CheckHealthResponse {
            server,
            health: Some(health),
            version: Some(version),
            error: String::new(),
            round_trip,
        },
        Err(problem) => wire::CheckHealthResponse {
            server,
            health: None,
            version: None,
            error: problem.to_string(),
            round_trip,
        },
    }
}

/// What a person needs to call an agent.
pub(super) fn access(access: OperatorAccess) -> wire::IssueOperatorCertificateResponse {
    let OperatorAccess { chain, roots, tls_name, address, api_key } = access;
    wire::IssueOperatorCertificateResponse {
        chain_der: chain.into_iter().map(Into::into).collect(),
        ca_der: roots.into_iter().map(Into::into).collect(),
        tls_name,
        address,
        api_key,
    }
}

/// A user.
pub(super) fn user(user: User) -> wire::User {
    wire::User {
        user_id: user.id.to_string(),
        name: user.name,
        admin: user.admin,
        created_at: Some(time(user.created_at)),
    }
}

/// A token, without its secret.
pub(super) fn token(token: ApiToken) -> wire::ApiToken {
    wire::ApiToken {
        token_id: token.id,
        name: token.name,
        read_only: token.read_only,
        created_at: Some(time(token.created_at)),
        expires_at: Some(time(token.expires_at)),
        last_used_at: token.last_used_at.map(time),
    }
}
