//! An error for people: what happened, where, the container's last words, and what to do.

use serde_json::{Value, json};
use slipway_host::Chain;
use slipway_proto::{control::v1 as wire, problem::Problem};

use super::{Paint, json as encode, painted, text::harmless};
use crate::cli::Error;

/// The lines that a person reads.
pub(super) fn lines(error: &Error, color: bool) -> Vec<String> {
    let head = |text: &str| format!("{} {text}", painted(color, Paint::Bad, "error:"));
    match error {
        Error::Problem(problem) => of_problem(problem, color),
        Error::Deployment { deployment_id, done } => of_deployment(deployment_id, done, color),
        Error::Config { message, hint } | Error::Local { message, hint } => {
            let mut lines = vec![head(message)];
            lines.extend(remedy(hint, color));
            lines
        }
        Error::Usage(message) => vec![head(message), "see `slipway help`".to_owned()],
        Error::Servers(message) => vec![head(message)],
        Error::File { .. } | Error::Print(_) => vec![head(&Chain(error).to_string())],
        Error::Left => Vec::new(),
    }
}

/// The object that a program reads.
pub(super) fn json(error: &Error) -> Value {
    let plain = |code: &str, message: String, hint: &str| json!({"type": "error", "code": code, "field": "", "message": message, "hint": hint});
    match error {
        Error::Problem(problem) => json!({
            "type": "error",
            "code": problem.code,
            "field": problem.field.as_deref().unwrap_or_default(),
            "message": problem.message,
            "hint": problem.hint.as_deref().unwrap_or_default(),
        }),
        Error::Deployment { deployment_id, done } => {
            let mut value = done.error.as_ref().map_or(json!({}), encode::problem);
            if let Some(object) = value.as_object_mut() {
                object.insert("type".to_owned(), json!("error"));
                object.insert("deployment_id".to_owned(), json!(deployment_id));
            }
            value
        }
        Error::Config { message, hint } => plain("SW-CONFIG", message.clone(), hint),
        Error::Local { message, hint } => plain("SW-LOCAL", message.clone(), hint),
        Error::Usage(message) => plain("SW-USAGE", message.clone(), ""),
        Error::Servers(message) => plain("SW-SERVERS", message.clone(), ""),
        Error::File { .. } | Error::Print(_) => plain("SW-FILE", Chain(error).to_string(), ""),
        Error::Left => plain("SW-INTERRUPTED", error.to_string(), ""),
    }
}

fn of_problem(problem: &Problem, color: bool) -> Vec<String> {
    let field = problem.field.as_deref().unwrap_or_default();
    let mut lines = vec![sentence(&problem.code, field, &problem.message, color)];
    lines.extend(remedy(problem.hint.as_deref().unwrap_or_default(), color));
    lines
}

fn of_deployment(deployment_id: &str, done: &wire::DoneEvent, color: bool) -> Vec<String> {
    let mut lines = Vec::new();
    match &done.error {
        Some(error) => lines.extend(of_wire(error, color)),
        None => {
            lines.push(format!("{} the deployment failed", painted(color, Paint::Bad, "error:")));
        }
    }
    for server in done.servers.iter().filter(|it| !it.success) {
        let Some(error) = &server.error else { continue };
        if done
            .error
            .as_ref()
            .is_some_and(|it| it.message == error.message && it.code == error.code)
        {
            continue;
        }
        lines.push(painted(
            color,
            Paint::Strong,
            &format!("on {}:", harmless(&server.name, false)),
        ));
        lines.extend(of_wire(error, color));
    }
    lines.push(painted(color, Paint::Dim, &format!("all events: slipway events {deployment_id}")));
    lines
}

fn of_wire(problem: &wire::Problem, color: bool) -> Vec<String> {
    let mut lines = vec![sentence(&problem.code, &problem.field, &problem.message, color)];
    if let Some(code) = problem.exit_code {
        lines.push(format!("  the new container ended with exit code {code}"));
    }
    if !problem.last_lines.is_empty() {
        lines.push("  its last lines:".to_owned());
        let bar = painted(color, Paint::Dim, "|");
        lines.extend(
            problem.last_lines.iter().map(|it| format!("    {bar} {}", harmless(it, color))),
        );
    }
    lines.extend(remedy(&problem.hint, color));
    lines
}

fn sentence(code: &str, field: &str, message: &str, color: bool) -> String {
    let head = painted(color, Paint::Bad, "error:");
    let code = painted(color, Paint::Strong, code);
    let message = harmless(message, false);
    match field {
        "" => format!("{head} {code}: {message}"),
        field => format!("{head} {code} ({field}): {message}"),
    }
}

fn remedy(hint: &str, color: bool) -> Option<String> {
    let head = painted(color, Paint::Good, "what to do:");
    (!hint.is_empty()).then(|| format!("{head} {}", harmless(hint, false)))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn unhealthy() -> Error {
        let error = wire::Problem {
            code: "SW-HEALTH-TIMEOUT".to_owned(),
            message: "`web` was not healthy within 60 s".to_owned(),
            hint: "let the app listen on $PORT".to_owned(),
            exit_code: Some(3),
            last_lines: vec!["starting".to_owned(), "boom \x1b[2J".to_owned()],
            ..Default::default()
        };
        let server = wire::ServerOutcome {
            name: "local".to_owned(),
            error: Some(error.clone()),
            ..Default::default()
        };
        let done =
            wire::DoneEvent { error: Some(error), servers: vec![server], ..Default::default() };
        Error::Deployment { deployment_id: "0198".to_owned(), done: Box::new(done) }
    }

    #[test]
    fn a_failed_deployment_shows_the_last_lines_once_and_the_remedy() {
        expect![[r#"
            error: SW-HEALTH-TIMEOUT: `web` was not healthy within 60 s
              the new container ended with exit code 3
              its last lines:
                | starting
                | boom \x1b[2J
            what to do: let the app listen on $PORT
            all events: slipway events 0198"#]]
        .assert_eq(&lines(&unhealthy(), false).join("\n"));
    }

    #[test]
    fn a_program_gets_the_same_in_fields() {
        let value = json(&unhealthy());
        assert_eq!(value["code"], "SW-HEALTH-TIMEOUT");
        assert_eq!(value["deployment_id"], "0198");
        assert_eq!(value["exit_code"], 3);
    }
}
