//! `slipway logs`: what an app prints, merged over its containers and servers.

use slipway_proto::{agent::v1::LogLine, control::v1 as wire};

use super::Shell;
use crate::cli::{
    Error,
    args::AppArgs,
    follow::Keys,
    output::{Paint, text::harmless, when},
};

/// Show what an app prints.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which app.
    #[command(flatten)]
    pub app: AppArgs,
    /// Keep following
    #[arg(short, long)]
    pub follow: bool,
    /// Only lines since then: 10m, a date, or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only lines before then
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    pub until: Option<String>,
    /// Only the last lines of each container; 0 for all [default: 100, all with --since]
    #[arg(short = 'n', long = "tail", value_name = "N")]
    pub tail: Option<u32>,
    /// Begin each line with its time
    #[arg(short, long)]
    pub timestamps: bool,
}

/// Runs the verb.
pub(super) async fn run(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let now = shell.output.clock().now();
    let moment =
        |text: &Option<String>| text.as_deref().map(|it| when::parse_moment(it, now)).transpose();
    let since = moment(&args.since)?;
    let request = wire::LogsRequest {
        target: Some(args.app.target()),
        follow: args.follow,
        tail: args.tail.unwrap_or(if since.is_some() { 0 } else { 100 }),
        since,
        until: moment(&args.until)?,
    };
    let client = shell.connect()?;
    let mut keys = Keys::new();
    let mut stream = client.apps().logs(request).await?.into_inner();
    let mut failed = false;
    loop {
        let message = tokio::select! {
            message = stream.message() => message?,
            () = keys.pressed() => return Ok(()),
        };
        let Some(message) = message else { break };
        failed |= !message.error.is_empty();
        print(&message, &args, shell)?;
    }
    if failed {
        return Err(Error::Servers(
            "some servers did not answer; what they have is missing above".to_owned(),
        ));
    }
    Ok(())
}

fn print(message: &wire::LogsResponse, args: &Args, shell: &Shell<'_>) -> Result<(), Error> {
    let output = shell.output;
    if output.json() {
        return frames(message, shell);
    }
    if message.dropped > 0 {
        output.note(format!("… {} lines dropped: this reader is too slow", message.dropped));
    }
    for line in &message.lines {
        let who =
            output.paint(Paint::Dim, &format!("{}/{}", message.server, short(&line.container)));
        let text = harmless(&line.text, true);
        match line.at.as_ref().filter(|_| args.timestamps).and_then(when::rfc3339) {
            Some(time) => {
                output.line(format!("{} {who} {text}", output.paint(Paint::Dim, &time)))?;
            }
            None => output.line(format!("{who} {text}"))?,
        }
    }
    if !message.error.is_empty() {
        output.note(format!("{}: {}", message.server, harmless(&message.error, false)));
    }
    Ok(())
}

fn frames(message: &wire::LogsResponse, shell: &Shell<'_>) -> Result<(), Error> {
    if message.dropped > 0 {
        let value = serde_json::json!({"type": "dropped", "server": message.server, "count": message.dropped});
        shell.output.object(&value)?;
    }
    for line in &message.lines {
        shell.output.object(&frame(&message.server, line))?;
    }
    if !message.error.is_empty() {
        let value = serde_json::json!({"type": "error", "server": message.server, "message": message.error});
        shell.output.object(&value)?;
    }
    Ok(())
}

fn frame(server: &str, line: &LogLine) -> serde_json::Value {
    serde_json::json!({
        "type": "log",
        "time": line.at.as_ref().and_then(when::rfc3339),
        "server": server,
        "container": line.container,
        "stream": if line.stderr { "stderr" } else { "stdout" },
        "message": line.text,
    })
}

/// `slipway-web-web-3-1` is `web-3-1` to its owner.
fn short(container: &str) -> &str {
    let rest = container.strip_prefix("slipway-").unwrap_or(container);
    rest.split_once('-').map_or(rest, |it| it.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_called_by_service_release_and_number() {
        assert_eq!(short("slipway-web-web-3-1"), "web-3-1");
        assert_eq!(short("other"), "other");
    }

    #[test]
    fn a_frame_tells_the_two_streams_apart() {
        let line = LogLine { stderr: true, text: "boom".to_owned(), ..LogLine::default() };
        assert_eq!(frame("local", &line)["stream"], "stderr");
    }
}
