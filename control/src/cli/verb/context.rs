//! `slipway context`: which control plane is used.

use serde_json::json;

use super::Shell;
use crate::cli::{
    Error,
    context::{Contexts, FROM_ENVIRONMENT},
    output::{
        Paint,
        table::{Cell, Table},
    },
};

/// Choose between control planes.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// List contexts
    Ls,
    /// Use this context from now on
    Use {
        /// Name of the context
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Forget a context
    Rm {
        /// Name of the context
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Runs the verb.
pub(super) fn run(command: Command, shell: &Shell<'_>) -> Result<(), Error> {
    let mut contexts = Contexts::load(shell.environment)?;
    match command {
        Command::Ls => list(&contexts, shell),
        Command::Use { name } => {
            if !contexts.contexts.contains_key(&name) {
                return Err(missing(&name));
            }
            contexts.current = Some(name.clone());
            contexts.save(shell.environment)?;
            shell.output.note(format!("using `{name}`"));
            Ok(())
        }
        Command::Rm { name } => {
            if contexts.contexts.remove(&name).is_none() {
                return Err(missing(&name));
            }
            contexts.current.take_if(|it| *it == name);
            contexts.save(shell.environment)?;
            shell.output.note(format!("`{name}` is forgotten"));
            Ok(())
        }
    }
}

fn missing(name: &str) -> Error {
    Error::local(
        format!("there is no context `{name}`"),
        "`slipway context ls` shows those that exist",
    )
}

fn list(contexts: &Contexts, shell: &Shell<'_>) -> Result<(), Error> {
    let current = contexts.chosen(shell.environment, None).ok().map(|it| it.name);
    let is_current = |name: &str| current.as_deref() == Some(name);
    let mut rows: Vec<(&str, &str)> =
        contexts.contexts.iter().map(|(name, it)| (name.as_str(), it.url.as_str())).collect();
    if is_current(FROM_ENVIRONMENT) {
        rows.insert(
            0,
            (FROM_ENVIRONMENT, shell.environment.get("SLIPWAY_URL").unwrap_or_default()),
        );
    }
    if shell.output.json() {
        let rows = rows
            .iter()
            .map(|(name, url)| json!({"name": name, "url": url, "current": is_current(name)}));
        return shell.output.document(&rows.collect());
    }
    let mut table = Table::new(["NAME", "URL", ""]);
    for (name, url) in rows {
        let mark = if is_current(name) { Cell::painted(Paint::Good, "current") } else { "".into() };
        table.row([name.into(), url.into(), mark]);
    }
    shell.output.table(&table, "no contexts yet; `slipway dev up` or `slipway login URL` makes one")
}
