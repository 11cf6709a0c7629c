//! The operator's command line: a client of the control plane's gRPC API, and nothing else.
//!
//! Modules in the order in which a command passes through them:
//!
//! * [`args`]: the verbs and their flags.
//! * `environment`: the variables that are read, in one place.
//! * `context`: which control plane is meant: `SLIPWAY_URL` and `SLIPWAY_TOKEN`, or the file of contexts.
//! * `connect`: the pinned connection and the clients on it.
//! * [`verb`]: a file for each verb.
//! * `follow`: a deployment's events until its end, through broken connections and Ctrl-C.
//! * `output`: everything that is printed, for people and for programs.
//! * `error`: what can go wrong here, and the exit codes.
//!
//! Results go to standard output, everything else to standard error. Nothing asks a question unless
//! a person sits at a terminal.

pub mod args;
mod connect;
mod context;
mod environment;
mod error;
mod follow;
mod output;
pub mod verb;

use std::process::ExitCode;

use clap::Parser as _;

pub use args::Cli;
pub use environment::Environment;
pub use error::Error;
pub use output::Output;

/// Runs the command of this process and tells its exit code.
pub async fn run() -> ExitCode {
    let environment = Environment::process();
    // Prints help and complaints itself, and ends with 0 or 2.
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refused) => {
            let code = if refused.use_stderr() { 2 } else { 0 };
            // A closed pipe is the reader's business.
            drop(refused.print());
            return ExitCode::from(code);
        }
    };
    let output = Output::new(&cli.global, &environment);
    match verb::dispatch(cli, &environment, &output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            output.error(&error);
            ExitCode::from(code)
        }
    }
}
