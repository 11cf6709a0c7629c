//! `slipway-agent`: the node daemon, the traffic switch, and the commands of whoever stands at the
//! machine. Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.

use std::{io::Write as _, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};
use slipway_agent::{
    command,
    config::{self, EXIT_CONFIG, Flags},
    server,
};
use slipway_host::{Chain, redact::Redactor, telemetry};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The Slipway node agent.
#[derive(Debug, Parser)]
#[command(name = "slipway-agent", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What is logged, such as `info` or `info,slipway_agent=debug`.
    #[arg(long, global = true, env = "SLIPWAY_LOG", default_value = "info")]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the agent: the service.
    Run {
        #[command(flatten)]
        flags: Flags,
    },
    /// Runs the traffic switch: a service of its own.
    Proxy {
        #[command(flatten)]
        flags: Flags,
    },
    /// Joins a control plane, with the join file or by hand.
    Enroll {
        #[command(flatten)]
        flags: Flags,
        #[command(flatten)]
        how: command::Enroll,
    },
    /// Wipes the identity, so that a snapshot of this machine can be taken.
    Seal {
        #[command(flatten)]
        flags: Flags,
        /// Seal although apps run here; they are not touched.
        #[arg(long)]
        force: bool,
    },
    /// Tells whether this machine is fit: Docker, nginx, disk, clock.
    Check {
        #[command(flatten)]
        flags: Flags,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints the version.
    Version,
    /// Prints a completion script for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Why the program ends with something other than 0.
enum End {
    Config(config::Error),
    Failed(anyhow::Error),
}

impl From<config::Error> for End {
    fn from(error: config::Error) -> Self {
        Self::Config(error)
    }
}

impl<E: Into<anyhow::Error>> From<Failed<E>> for End {
    fn from(Failed(error): Failed<E>) -> Self {
        Self::Failed(error.into())
    }
}

/// An error that is not about the configuration.
struct Failed<E>(E);

fn main() -> ExitCode {
    let cli = Cli::parse();
    match act(cli) {
        Ok(code) => code,
        Err(End::Config(error)) => {
            complain(&Chain(&error).to_string());
            ExitCode::from(EXIT_CONFIG)
        }
        Err(End::Failed(error)) => {
            complain(&Chain(error.as_ref()).to_string());
            ExitCode::FAILURE
        }
    }
}

fn act(cli: Cli) -> Result<ExitCode, End> {
    let redactor = Redactor::new();
    let logs = telemetry::Config {
        format: telemetry::Format::Auto,
        filter: cli.log,
        redactor: redactor.clone(),
    };
    match cli.command {
        Command::Version => print(&format!("slipway-agent {}", env!("CARGO_PKG_VERSION"))),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "slipway-agent", &mut script);
            print(String::from_utf8_lossy(&script).trim_end())
        }
        Command::Run { flags } => {
            let config = config::load(flags)?;
            telemetry::init(logs).map_err(Failed)?;
            runtime()?.block_on(serve(config, redactor))
        }
        Command::Proxy { flags } => {
            let config = config::load(flags)?;
            telemetry::init(logs).map_err(Failed)?;
            runtime()?.block_on(command::proxy(&config)).map_err(Failed)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Enroll { flags, how } => {
            let config = config::load(flags)?;
            telemetry::init(logs).map_err(Failed)?;
            let said = runtime()?.block_on(command::enroll(&config, how)).map_err(Failed)?;
            print(&said)
        }
        Command::Seal { flags, force } => {
            let config = config::load(flags)?;
            let force = if force { command::Force::Yes } else { command::Force::No };
            let said = runtime()?.block_on(command::seal(&config, force)).map_err(Failed)?;
            print(&said)
        }
        Command::Check { flags, json } => {
            let config = config::load(flags)?;
            let report = runtime()?.block_on(command::check(&config));
            print(&if json { report.json() } else { report.text() })?;
            Ok(if report.fit() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, End> {
    // Two threads serve a server; more would only cost memory.
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(32)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .enable_all()
        .build();
    Ok(runtime.map_err(Failed)?)
}

async fn serve(config: config::Config, redactor: Redactor) -> Result<ExitCode, End> {
    let stop = CancellationToken::new();
    let signals = TaskTracker::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(Failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failed)?;
    let told = stop.clone();
    signals.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        tell(&[sd_notify::NotifyState::Stopping]);
        told.cancel();
    });
    let ready = || tell(&[sd_notify::NotifyState::Ready]);
    server::run(config, redactor, stop, ready).await.map_err(Failed)?;
    Ok(ExitCode::SUCCESS)
}

/// Tells the service manager, if there is one.
fn tell(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "could not tell the service manager");
    }
}

fn print(text: &str) -> Result<ExitCode, End> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").map_err(Failed)?;
    Ok(ExitCode::SUCCESS)
}

fn complain(text: &str) {
    // Nowhere is left to complain that this failed.
    drop(writeln!(std::io::stderr().lock(), "slipway-agent: {text}"));
}
