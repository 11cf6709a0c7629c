//! What the viewer reads. The one place of this crate that prints.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use tokio::time::Instant;

/// A voice, with a watch.
#[derive(Clone, Copy, Debug)]
pub struct Tell {
    start: Instant,
    color: bool,
}

impl Default for Tell {
    fn default() -> Self {
        Self::new()
    }
}

impl Tell {
    /// Begins now.
    pub fn new() -> Self {
        Self { start: Instant::now(), color: std::io::stdout().is_terminal() }
    }

    /// Begins a step.
    pub fn step(self, text: &str) {
        self.line("");
        self.line(&format!(
            "{} {text}",
            self.strong(&format!("[{:>5.1}s]", self.elapsed().as_secs_f64()))
        ));
    }

    /// Shows a command that is about to run.
    pub fn command(self, args: &[&str]) {
        self.line(&format!("  $ slipway {}", args.join(" ")));
    }

    /// Says that something was checked and holds.
    pub fn good(self, text: &str) {
        let mark = if self.color { "\x1b[32m✓\x1b[0m" } else { "✓" };
        self.line(&format!("  {mark} {text}"));
    }

    /// Prints a line.
    pub fn line(self, text: &str) {
        // A viewer who is gone misses nothing.
        drop(writeln!(std::io::stdout().lock(), "{text}"));
    }

    /// Prints lines, set off.
    pub fn quote(self, text: &str) {
        text.lines().for_each(|it| self.line(&format!("    {it}")));
    }

    /// Since the beginning.
    pub fn elapsed(self) -> Duration {
        self.start.elapsed()
    }

    fn strong(self, text: &str) -> String {
        if self.color { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}
