//! `slipway dev status`: what runs, and where.

use serde_json::json;

use super::{Shell, Where, place::Place, process};
use crate::cli::{
    Error,
    output::{
        Paint,
        table::{Cell, Table},
    },
};

/// The programs, in the order in which they start.
pub(super) const PROGRAMS: [&str; 3] = ["control", "proxy", "agent"];

/// Runs the verb; fails when something does not run.
pub(super) fn run(args: Where, shell: &Shell<'_>) -> Result<(), Error> {
    let place = Place::of(&args, shell.environment)?;
    let Some(settings) = place.settings()? else {
        return Err(Error::local(
            format!("nothing was started in {}", place.dir().display()),
            "slipway dev up",
        ));
    };
    let mut rows = Vec::new();
    for name in PROGRAMS {
        rows.push((name, process::find(&place, name)?));
    }
    rows.push(("nginx", process::nginx(&place)));
    let down = rows.iter().filter(|(_, it)| it.is_none()).count();
    if shell.output.json() {
        let parts = rows.iter().map(|(name, it)| {
            json!({"name": name, "running": it.is_some(), "pid": it.as_ref().map(|it| it.pid), "log": place.log(name)})
        });
        shell.output.document(&json!({
            "folder": place.dir(),
            "context": settings.context,
            "programs": parts.collect::<Vec<_>>(),
        }))?;
    } else {
        let mut table = Table::new(["PROGRAM", "STATE", "PID", "LOG"]);
        for (name, mark) in &rows {
            let (paint, word) =
                if mark.is_some() { (Paint::Good, "running") } else { (Paint::Bad, "stopped") };
            let pid = mark.as_ref().map_or_else(|| "-".to_owned(), |it| it.pid.to_string());
            let log = place.log(name).display().to_string();
            table.row([(*name).into(), Cell::painted(paint, word), pid.into(), log.into()]);
        }
        shell.output.table(&table, "")?;
    }
    match down {
        0 => Ok(()),
        _ => Err(Error::local("not everything runs", "slipway dev up")),
    }
}
