//! What a command printed, and how it ended.

use std::fmt;

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use slipway_host::exec::Output;

/// A command that ended.
#[derive(Clone, Debug)]
pub struct Said {
    args: Vec<String>,
    /// Its exit code; 255 when a signal ended it.
    pub code: i32,
    /// Its results.
    pub stdout: String,
    /// Everything else that it said.
    pub stderr: String,
}

impl Said {
    pub(super) fn new(args: &[&str], output: Output) -> Self {
        Self {
            args: args.iter().map(|it| (*it).to_owned()).collect(),
            code: output.status.code().unwrap_or(255),
            stdout: output.stdout,
            stderr: output.stderr,
        }
    }

    /// Expects exit code 0.
    pub fn done(&self) -> Result<()> {
        ensure!(self.code == 0, "{self}");
        Ok(())
    }

    /// Expects exit code 1 and this code among what was said.
    pub fn refused(&self, code: &str) -> Result<()> {
        ensure!(self.code == 1 || self.code == 2, "{self}");
        ensure!(self.stderr.contains(code), "{code} is not in: {self}");
        Ok(())
    }

    /// The objects of a stream, one per line.
    pub fn objects(&self) -> Result<Vec<Value>> {
        objects(&self.stdout)
    }
}

/// The objects of a stream, one per line.
pub(super) fn objects(text: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(it) => objects.push(it),
            Err(error) => bail!("not an object ({error}): {line}"),
        }
    }
    Ok(objects)
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { args, code, stdout, stderr } = self;
        write!(f, "`slipway {}` ended with {code}\n{stdout}{stderr}", args.join(" "))
    }
}
