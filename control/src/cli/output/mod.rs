//! Everything that is printed. Results go to standard output; progress, notes and errors to standard
//! error, so that `slipway deploy -q` in a script yields the address and nothing else.
//!
//! * [`table`]: columns that fit the terminal.
//! * [`json`]: any message of ours as JSON.
//! * [`when`]: times and durations for people.
//! * [`text`]: text of others, made harmless for a terminal.
//! * `spinner`: something that takes a moment.
//! * [`problem`]: an error with its code, its reason and its remedy.

pub(super) mod json;
mod problem;
mod spinner;
pub(super) mod table;
pub(super) mod text;
pub(super) mod when;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use serde_json::Value;
use slipway_host::clock::Clock;

pub(super) use self::spinner::Spinner;
use self::table::Table;
use super::{
    Environment, Error,
    args::{Form, Global},
};

/// How a word is painted on a terminal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Paint {
    /// Fine.
    Good,
    /// Worth a look.
    Warn,
    /// Broken.
    Bad,
    /// Beside the point.
    Dim,
    /// The point.
    Strong,
}

/// Where results and notes go, and in which form.
#[derive(Clone, Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    verbose: u8,
    yes: bool,
    color_out: bool,
    color_err: bool,
    terminal: bool,
    width: Option<usize>,
    clock: Clock,
}

#[expect(clippy::unused_self, reason = "who prints needs an output, and not its fields")]
impl Output {
    /// Decides from the flags, the variables and what the streams are connected to.
    pub fn new(global: &Global, environment: &Environment) -> Self {
        let out = io::stdout().is_terminal();
        let err = io::stderr().is_terminal();
        let plain = environment.get("NO_COLOR").is_some()
            || environment.get("TERM").is_some_and(|it| it == "dumb");
        Self {
            json: global.json || global.output == Some(Form::Json),
            quiet: global.quiet,
            verbose: global.verbose,
            yes: global.yes || environment.on("SLIPWAY_YES"),
            color_out: out && !plain,
            color_err: err && !plain,
            terminal: err && !plain,
            width: out.then(|| width(environment)),
            clock: Clock::system(),
        }
    }

    /// Whether results are for programs.
    pub(super) fn json(&self) -> bool {
        self.json
    }

    /// Whether more is wanted.
    pub(super) fn verbose(&self) -> bool {
        self.verbose > 0
    }

    /// Whether bars that move make sense on standard error.
    pub(super) fn moving(&self) -> bool {
        self.terminal && !self.quiet && !self.json
    }

    /// The clock that relative times are told by.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Prints a line of the result.
    pub(super) fn line(&self, line: impl AsRef<str>) -> Result<(), Error> {
        write_out(line.as_ref())
    }

    /// Prints the whole result as JSON.
    pub(super) fn document(&self, value: &Value) -> Result<(), Error> {
        write_out(&format!("{value:#}"))
    }

    /// Prints one object of a stream, on a line of its own.
    pub(super) fn object(&self, value: &Value) -> Result<(), Error> {
        write_out(&value.to_string())
    }

    /// Prints a table, or what to say when it has no rows.
    pub(super) fn table(&self, table: &Table, empty: &str) -> Result<(), Error> {
        if table.is_empty() {
            self.note(empty);
            return Ok(());
        }
        if self.quiet {
            return table.keys().try_for_each(write_out);
        }
        table.render(self.width, self.color_out).iter().try_for_each(|it| write_out(it))
    }

    /// Paints a word for standard output.
    pub(super) fn paint(&self, paint: Paint, text: &str) -> String {
        painted(self.color_out, paint, text)
    }

    /// Paints a word for standard error.
    pub(super) fn paint_note(&self, paint: Paint, text: &str) -> String {
        painted(self.color_err, paint, text)
    }

    /// Says something beside the result.
    pub(super) fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            write_err(text.as_ref());
        }
    }

    /// Says something only when more is wanted.
    pub(super) fn detail(&self, text: impl AsRef<str>) {
        if self.verbose() {
            write_err(text.as_ref());
        }
    }

    /// Says what went wrong.
    pub fn error(&self, error: &Error) {
        if matches!(error, Error::Print(source) if source.kind() == io::ErrorKind::BrokenPipe) {
            return;
        }
        if self.json {
            write_err(&problem::json(error).to_string());
            return;
        }
        for line in problem::lines(error, self.color_err) {
            write_err(&line);
        }
    }

    /// Asks before something is lost. Without a person at a terminal, `-y` is the only yes.
    pub(super) fn confirm(&self, question: &str) -> Result<(), Error> {
        if self.yes {
            return Ok(());
        }
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Err(Error::Usage(format!("{question} Say yes with `-y` or SLIPWAY_YES=1")));
        }
        write_err_part(&format!("{question} [y/N] "));
        let answer = read_line()?;
        if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(Error::local("not done", ""))
    }

    /// Says something without ending the line.
    pub(super) fn prompt(&self, text: &str) {
        write_err_part(text);
    }
}

/// Reads a line from standard input.
pub(super) fn read_line() -> Result<String, Error> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Error::local(format!("could not read standard input: {error}"), ""))?;
    Ok(line)
}

/// Paints a word, or leaves it.
pub(super) fn painted(color: bool, paint: Paint, text: &str) -> String {
    if !color || text.is_empty() {
        return text.to_owned();
    }
    let code = match paint {
        Paint::Good => "32",
        Paint::Warn => "33",
        Paint::Bad => "31",
        Paint::Dim => "2",
        Paint::Strong => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

fn width(environment: &Environment) -> usize {
    let named = environment.get("COLUMNS").and_then(|it| it.parse().ok());
    let asked = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    named.or_else(asked).unwrap_or(100).max(40)
}

fn write_out(line: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::Print)
}

fn write_err(line: &str) {
    // Nowhere is left to complain to.
    drop(writeln!(io::stderr().lock(), "{line}"));
}

fn write_err_part(text: &str) {
    let mut err = io::stderr().lock();
    drop(write!(err, "{text}").and_then(|()| err.flush()));
}
