//! `slipway dev down`: stops the programs, and with `--purge` takes away all they made.

use std::time::Duration;

use slipway_host::fs;

use super::{Shell, Where, place::Place, process, status::PROGRAMS, sweep};
use crate::cli::{Error, context::Contexts, output::Spinner};

/// Longer than the grace that the programs give to what they are doing.
const GRACE: Duration = Duration::from_secs(40);

/// Stop what `slipway dev up` started.
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// Which one.
    #[command(flatten)]
    pub place: Where,
    /// Also remove apps with their volumes, and the folder with all state
    #[arg(long)]
    pub purge: bool,
}

/// Runs the verb.
pub(super) async fn run(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let place = Place::of(&args.place, shell.environment)?;
    let Some(settings) = place.settings()? else {
        shell.output.note(format!("nothing was started in {}", place.dir().display()));
        return Ok(());
    };
    if args.purge {
        let question =
            format!("Remove all apps of this installation and {}?", place.dir().display());
        shell.output.confirm(&question)?;
    }
    let spinner = Spinner::start(shell.output, "stopping");
    for name in PROGRAMS.iter().rev() {
        if let Some(mark) = process::find(&place, name)? {
            mark.stop(GRACE).await?;
        }
        process::forget(&place, name)?;
    }
    // nginx outlives the agent, as apps do; nobody else would end it.
    if let Some(mark) = process::nginx(&place) {
        mark.stop(GRACE).await?;
    }
    if args.purge {
        spinner.say("removing apps");
        sweep::run(&settings.name_prefix).await?;
        for path in [place.run_dir(), place.dir().to_owned()] {
            fs::remove_all(&path).map_err(|source| Error::File {
                action: "remove",
                path,
                source,
            })?;
        }
        let mut contexts = Contexts::load(shell.environment)?;
        contexts.contexts.remove(&settings.context);
        contexts.current.take_if(|it| *it == settings.context);
        contexts.save(shell.environment)?;
    }
    spinner.end();
    shell.output.note(if args.purge {
        "everything is gone"
    } else {
        "stopped; containers of apps go on running, but nothing reaches them until `slipway dev up`"
    });
    Ok(())
}
