//! States in one word, painted.

use slipway_proto::control::v1::{self as wire, DeploymentState, ServerState};

use crate::cli::{
    Error,
    output::{Paint, table::Cell},
};

/// `web`, or `web.staging`.
pub(super) fn app_name(app: &str, environment: &str) -> String {
    match environment {
        "" | "production" => app.to_owned(),
        environment => format!("{app}.{environment}"),
    }
}

/// How a deployment stands.
pub(super) fn deployment(state: DeploymentState) -> (&'static str, Paint) {
    match state {
        DeploymentState::Unspecified => ("-", Paint::Dim),
        DeploymentState::Queued => ("queued", Paint::Dim),
        DeploymentState::Running => ("running", Paint::Warn),
        DeploymentState::Canceling => ("canceling", Paint::Warn),
        DeploymentState::Succeeded => ("succeeded", Paint::Good),
        DeploymentState::Failed => ("failed", Paint::Bad),
        DeploymentState::Stuck => ("stuck", Paint::Bad),
    }
}

/// How a server stands.
pub(super) fn server(state: ServerState) -> (&'static str, Paint) {
    match state {
        ServerState::Unspecified => ("-", Paint::Dim),
        ServerState::Provisioning => ("provisioning", Paint::Warn),
        ServerState::Online => ("online", Paint::Good),
        ServerState::Offline => ("offline", Paint::Bad),
        ServerState::Failed => ("failed", Paint::Bad),
    }
}

/// How an app stands.
pub(super) fn app(app: &wire::App) -> (&'static str, Paint) {
    match app.last_deployment() {
        DeploymentState::Running | DeploymentState::Queued => ("deploying", Paint::Warn),
        DeploymentState::Stuck => ("stuck", Paint::Bad),
        _ if app.stopped => ("stopped", Paint::Dim),
        _ if app.release == 0 => ("not deployed", Paint::Dim),
        DeploymentState::Failed => ("live, last deployment failed", Paint::Warn),
        _ => ("live", Paint::Good),
    }
}

/// A painted word as a cell.
pub(super) fn cell((word, paint): (&str, Paint)) -> Cell {
    Cell::painted(paint, word)
}

/// `3`, or `-` for none.
pub(super) fn release(number: u64) -> String {
    if number == 0 { "-".to_owned() } else { number.to_string() }
}

/// A text, or `-` for none.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// Refuses when a server did not do its part, and says why.
pub(super) fn all_servers(what: &str, servers: &[wire::ServerOutcome]) -> Result<(), Error> {
    let failed: Vec<String> = servers
        .iter()
        .filter(|it| !it.success)
        .map(|it| {
            let error = it.error.clone().unwrap_or_default();
            let hint =
                if error.hint.is_empty() { String::new() } else { format!("; {}", error.hint) };
            format!("{what} failed on {}: {}: {}{hint}", it.name, error.code, error.message)
        })
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(Error::Servers(failed.join("\n"))) }
}
