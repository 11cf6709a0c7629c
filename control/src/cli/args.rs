//! The verbs and their flags. What a verb takes is written beside what it does.

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::verb::{
    completion, context, deploy, deployments, dev, doctor, events, inspect, login, logs, ls, power,
    ps, releases, rm, rollback, serve, server, token, user, version,
};

/// Deploys apps to your own servers and keeps them running.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = AFTER_HELP)]
pub struct Cli {
    /// Flags of every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Start here:
  slipway dev up            a control plane and this machine as its server
  slipway deploy            build and run what is in this folder
  slipway ls                what runs, and where it answers

Which control plane: SLIPWAY_URL and SLIPWAY_TOKEN, or `slipway login` and `slipway context use`.
Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.";

/// Flags of every verb.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// Form of the results
    #[arg(short, long, global = true, value_enum, value_name = "FORM", help_heading = "Global")]
    pub output: Option<Form>,
    /// Same as `-o json`
    #[arg(long, global = true, conflicts_with = "output", help_heading = "Global")]
    pub json: bool,
    /// Print results only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global")]
    pub quiet: bool,
    /// Print more; twice for still more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global")]
    pub verbose: u8,
    /// Answer every question with yes (`SLIPWAY_YES=1`)
    #[arg(short, long, global = true, help_heading = "Global")]
    pub yes: bool,
    /// Use this context instead of the current one
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global")]
    pub context: Option<String>,
}

/// Form of the results.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Form {
    /// For people.
    Table,
    /// For programs: one document, or one object per line for streams.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build, start and switch to a new release of an app
    Deploy(Box<deploy::Args>),
    /// List apps
    Ls(ls::Args),
    /// List containers
    Ps(ps::Args),
    /// Show everything about an app
    Inspect(inspect::Args),
    /// Show what an app prints
    Logs(logs::Args),
    /// Show the events of a deployment
    Events(events::Args),
    /// List, show and cancel deployments
    Deployments(deployments::Args),
    /// List the releases of an app
    Releases(releases::Args),
    /// Go back to an earlier release
    Rollback(rollback::Args),
    /// Stop an app and keep everything else
    Stop(power::Args),
    /// Start a stopped app
    Start(power::Args),
    /// Restart an app
    Restart(power::Args),
    /// Remove an app
    Rm(rm::Args),
    /// Manage servers
    #[command(subcommand)]
    Server(server::Command),
    /// Try Slipway on this machine: a control plane and one server
    #[command(subcommand)]
    Dev(dev::Command),
    /// Remember a control plane and how to get in
    Login(login::Args),
    /// Choose between control planes
    #[command(subcommand)]
    Context(context::Command),
    /// Manage users
    #[command(subcommand)]
    User(user::Command),
    /// Manage API tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Find out what is wrong
    Doctor(doctor::Args),
    /// Run the control plane
    Serve(Box<serve::Args>),
    /// Print a completion script
    Completion(completion::Args),
    /// Print versions
    Version(version::Args),
}

/// An app, on the command line.
#[derive(Args, Clone, Debug)]
pub struct AppArgs {
    /// Name of the app, as `slipway ls` shows it
    #[arg(value_name = "APP")]
    pub app: String,
    /// Environment [default: production]
    #[arg(short = 'd', long, value_name = "NAME")]
    pub environment: Option<String>,
    /// Only on this server; may be repeated
    #[arg(short, long = "server", value_name = "SERVER")]
    pub servers: Vec<String>,
}

impl AppArgs {
    /// The target. `web.staging` means `web -d staging`.
    pub fn target(&self) -> slipway_proto::control::v1::AppTarget {
        let (app, environment) = match (self.app.split_once('.'), &self.environment) {
            (Some((app, environment)), None) => (app.to_owned(), environment.to_owned()),
            (_, environment) => (self.app.clone(), environment.clone().unwrap_or_default()),
        };
        slipway_proto::control::v1::AppTarget { app, environment, servers: self.servers.clone() }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_app_may_carry_its_environment() {
        let args = |app: &str, environment: Option<&str>| AppArgs {
            app: app.to_owned(),
            environment: environment.map(str::to_owned),
            servers: Vec::new(),
        };
        let target = args("web.staging", None).target();
        assert_eq!((target.app.as_str(), target.environment.as_str()), ("web", "staging"));
        let target = args("web", Some("staging")).target();
        assert_eq!((target.app.as_str(), target.environment.as_str()), ("web", "staging"));
        let target = args("web", None).target();
        assert_eq!((target.app.as_str(), target.environment.as_str()), ("web", ""));
    }
}
