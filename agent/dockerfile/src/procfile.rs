//! The command that a `Procfile` gives.

use slipway_proto::problem::Problem;

use crate::{command::Command, files::Files};

/// The command of `web`, if there is a `Procfile` with one.
pub(crate) fn web(files: &Files) -> Result<Option<Command>, Problem> {
    let text = files.text("Procfile");
    for line in text.lines() {
        let Some((name, command)) = line.split_once(':') else { continue };
        if name.trim() != "web" {
            continue;
        }
        let command = Command::line(command).ok_or_else(|| {
            let message = "the `web` line of the Procfile is empty or has control characters";
            Problem::invalid("SW-DOCKERFILE-PROCFILE", "source", message)
                .hint("write one command: `web: gunicorn app:app --bind 0.0.0.0:$PORT`")
        })?;
        return Ok(Some(command));
    }
    Ok(None)
}
