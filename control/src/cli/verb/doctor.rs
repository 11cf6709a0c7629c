//! `slipway doctor`: looks at everything between this shell and the servers, in order, and says what
//! to do about the first thing that is wrong.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use slipway_proto::control::v1 as wire;

use super::Shell;
use crate::cli::{
    Error,
    connect::Client,
    context::{Context, Contexts},
    output::{Paint, text::harmless},
};

/// Find out what is wrong.
#[derive(clap::Args, Debug)]
pub struct Args;

/// What one look found.
struct Finding {
    what: &'static str,
    ok: bool,
    detail: String,
    hint: String,
}

impl Finding {
    fn good(what: &'static str, detail: impl Into<String>) -> Self {
        Self { what, ok: true, detail: detail.into(), hint: String::new() }
    }

    fn bad(what: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what, ok: false, detail: detail.into(), hint: hint.into() }
    }

    fn of(what: &'static str, error: &Error) -> Self {
        match error {
            Error::Problem(it) => Self::bad(
                what,
                format!("{}: {}", it.code, it.message),
                it.hint.as_deref().unwrap_or_default(),
            ),
            Error::Config { message, hint } | Error::Local { message, hint } => {
                Self::bad(what, message.as_str(), hint.as_str())
            }
            other => Self::bad(what, slipway_host::Chain(other).to_string(), ""),
        }
    }
}

/// Runs the verb.
pub(super) async fn run(_args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let mut findings = vec![file(shell)];
    look(shell, &mut findings).await;
    if shell.output.json() {
        let all = findings
            .iter()
            .map(|it| json!({"check": it.what, "ok": it.ok, "detail": it.detail, "hint": it.hint}));
        shell.output.document(&all.collect())?;
    } else {
        findings.iter().try_for_each(|it| print(it, shell))?;
    }
    match findings.iter().filter(|it| !it.ok).count() {
        0 => Ok(()),
        1 => Err(Error::Servers("one thing is wrong".to_owned())),
        bad => Err(Error::Servers(format!("{bad} things are wrong"))),
    }
}

fn print(finding: &Finding, shell: &Shell<'_>) -> Result<(), Error> {
    let output = shell.output;
    let (paint, mark) = if finding.ok { (Paint::Good, "✓") } else { (Paint::Bad, "✗") };
    let mark = output.paint(paint, mark);
    output.line(format!("{mark} {:<14} {}", finding.what, harmless(&finding.detail, false)))?;
    if finding.hint.is_empty() {
        return Ok(());
    }
    output.line(format!("  what to do: {}", harmless(&finding.hint, false)))
}

/// Who else can read the tokens.
fn file(shell: &Shell<'_>) -> Finding {
    let path = Contexts::path(shell.environment);
    let shown = path.display().to_string();
    match std::fs::metadata(&path) {
        Err(_) => Finding::good("contexts", format!("{shown} does not exist yet")),
        Ok(it) if it.permissions().mode() & 0o077 != 0 => Finding::bad(
            "contexts",
            format!("{shown} can be read by others"),
            format!("chmod 600 {shown}"),
        ),
        Ok(_) => Finding::good("contexts", shown),
    }
}

/// Each look needs the ones before it.
async fn look(shell: &Shell<'_>, findings: &mut Vec<Finding>) {
    let chosen = Contexts::load(shell.environment)
        .and_then(|it| it.chosen(shell.environment, shell.context.as_deref()));
    let context = match chosen {
        Ok(context) => context,
        Err(error) => return findings.push(Finding::of("context", &error)),
    };
    findings.push(Finding::good("context", format!("{} at {}", context.name, context.url)));
    if let Err(error) = control(&context, findings).await {
        findings.push(Finding::of("control plane", &error));
    }
}

async fn control(context: &Context, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let client = Client::connect(context)?;
    let me = client.users().get_me(wire::GetMeRequest {}).await?.into_inner();
    let ours = env!("CARGO_PKG_VERSION");
    findings.push(Finding::good(
        "control plane",
        format!("{} answers, version {}", me.install, me.version),
    ));
    if me.version != ours {
        let detail = format!("this program is {ours}, the control plane {}", me.version);
        findings.push(Finding::bad(
            "version",
            detail,
            "install the same version of `slipway` here",
        ));
    }
    findings.push(Finding::good("token", format!("`{}`", me.user.unwrap_or_default().name)));
    let servers =
        client.servers().list_servers(wire::ListServersRequest {}).await?.into_inner().servers;
    if servers.is_empty() {
        findings.push(Finding::bad(
            "servers",
            "there are none",
            "slipway server add, or slipway dev up",
        ));
    }
    for server in servers {
        let request = wire::CheckHealthRequest { server: server.server_id.clone() };
        let answer = client.servers().check_health(request).await?.into_inner();
        findings.push(match answer.health {
            None => Finding::bad("server", format!("{}: {}", server.name, answer.error), ""),
            Some(it) if !it.healthy => {
                Finding::bad("server", format!("{}: {}", server.name, it.problems.join("; ")), "")
            }
            Some(_) if server.stale => Finding::bad(
                "server",
                format!("{}: agent {} is stale", server.name, server.agent_version),
                server.stale_hint,
            ),
            Some(_) => Finding::good("server", format!("{} is healthy", server.name)),
        });
    }
    Ok(())
}
