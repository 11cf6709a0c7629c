//! A file for each verb: it calls, and hands what it got to the output.

pub mod completion;
pub mod context;
pub mod deploy;
pub mod deployments;
pub mod dev;
pub mod doctor;
pub mod events;
pub mod inspect;
pub mod login;
pub mod logs;
pub mod ls;
pub mod power;
pub mod ps;
pub mod releases;
pub mod rm;
pub mod rollback;
pub mod serve;
pub mod server;
pub mod token;
pub mod user;
pub mod version;
mod words;

use super::{Cli, Environment, Error, Output, args::Command, connect::Client, context::Contexts};

/// What a verb has around it.
pub(super) struct Shell<'a> {
    environment: &'a Environment,
    output: &'a Output,
    context: Option<String>,
}

impl Shell<'_> {
    /// A client of the chosen control plane.
    fn connect(&self) -> Result<Client, Error> {
        let contexts = Contexts::load(self.environment)?;
        let context = contexts.chosen(self.environment, self.context.as_deref())?;
        self.output.detail(format!("using `{}` at {}", context.name, context.url));
        Client::connect(&context)
    }
}

/// Runs the verb.
pub(super) async fn dispatch(
    cli: Cli,
    environment: &Environment,
    output: &Output,
) -> Result<(), Error> {
    let shell = &Shell { environment, output, context: cli.global.context };
    match cli.command {
        Command::Deploy(args) => Box::pin(deploy::run(*args, shell)).await,
        Command::Ls(args) => ls::run(args, shell).await,
        Command::Ps(args) => ps::run(args, shell).await,
        Command::Inspect(args) => inspect::run(args, shell).await,
        Command::Logs(args) => logs::run(args, shell).await,
        Command::Events(args) => events::run(args, shell).await,
        Command::Deployments(args) => deployments::run(args, shell).await,
        Command::Releases(args) => releases::run(args, shell).await,
        Command::Rollback(args) => Box::pin(rollback::run(args, shell)).await,
        Command::Stop(args) => power::stop(args, shell).await,
        Command::Start(args) => power::start(args, shell).await,
        Command::Restart(args) => power::restart(args, shell).await,
        Command::Rm(args) => rm::run(args, shell).await,
        Command::Server(command) => server::run(command, shell).await,
        Command::Dev(command) => Box::pin(dev::run(command, shell)).await,
        Command::Login(args) => login::run(args, shell).await,
        Command::Context(command) => context::run(command, shell),
        Command::User(command) => user::run(command, shell).await,
        Command::Token(command) => token::run(command, shell).await,
        Command::Doctor(args) => doctor::run(args, shell).await,
        Command::Serve(args) => Box::pin(serve::run(*args)).await,
        Command::Completion(args) => completion::run(&args),
        Command::Version(args) => version::run(args, shell).await,
    }
}
