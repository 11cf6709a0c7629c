//! Measurements that print a table. `slipway-bench switch` compares ways to move traffic from one
//! container to the next; see [`switch`].

#![expect(clippy::print_stdout, reason = "a program that prints its findings")]

mod switch;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measurements of Slipway's parts")]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Compares ways to move traffic, with real containers under load. Needs root, Docker, nginx;
    /// HAProxy and nft for their rows.
    Switch(switch::Options),
    /// The app that runs in those containers.
    #[command(hide = true)]
    SwitchApp(switch::app::Options),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match args.what {
        What::Switch(options) => {
            let table = runtime.block_on(switch::run(&options))?;
            println!("{table}");
            Ok(())
        }
        What::SwitchApp(options) => runtime.block_on(switch::app::run(options)),
    }
}
