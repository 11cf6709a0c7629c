//! A moving line for something that takes a moment; plain lines where nothing moves.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Output;

/// A line that says what is being done.
#[derive(Debug)]
pub(in crate::cli) struct Spinner {
    bar: Option<ProgressBar>,
    output: Output,
}

impl Spinner {
    /// Says the first thing.
    pub(in crate::cli) fn start(output: &Output, text: &str) -> Self {
        let bar = output.moving().then(|| {
            let style = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}");
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(100));
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        let spinner = Self { bar, output: output.clone() };
        spinner.say(text);
        spinner
    }

    /// Says the next thing.
    pub(in crate::cli) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => self.output.detail(format!("{text} …")),
        }
    }

    /// Leaves no trace.
    pub(in crate::cli) fn end(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
