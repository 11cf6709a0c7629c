//! Logs: to a terminal, as JSON, or to the journal with a field of its own for each value.
//!
//! Everything passes the redactor before it reaches a sink, panics included. [`init`] is called
//! once, in `main`; nothing else in the program knows where logs go.

mod journal;
mod writer;

use std::{io::IsTerminal as _, panic, path::PathBuf, sync::Arc};

use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::redact::Redactor;
use journal::Journal;
use writer::Redacting;

/// Where logs go and how they look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// The journal when the service manager connected stderr to it, else text.
    #[default]
    Auto,
    /// Text on stderr, colored on a terminal.
    Text,
    /// A JSON object per line on stderr.
    Json,
    /// The journal.
    Journal,
}

/// What to log.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where logs go.
    pub format: Format,
    /// What is logged, such as `info` or `info,slipway_agent=debug`.
    pub filter: String,
    /// Takes secrets out.
    pub redactor: Redactor,
}

/// Logs that could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The filter cannot be read.
    #[error("`{filter}` is not a log filter; use `info` or `info,slipway_agent=debug`")]
    Filter {
        /// The filter.
        filter: String,
        /// Why.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The journal cannot be reached.
    #[error("the journal cannot be reached")]
    Journal(#[source] std::io::Error),
    /// Logs were set up before.
    #[error("logs are set up already")]
    Twice(#[source] TryInitError),
}

type Sink = Box<dyn Layer<Registry> + Send + Sync>;

/// Sets up the logs of this process, and logs panics.
///
/// # Errors
/// See [`Error`].
pub fn init(config: Config) -> Result<(), Error> {
    let Config { format, filter, redactor } = config;
    let filter = EnvFilter::try_new(&filter).map_err(|source| Error::Filter { filter, source })?;
    let sink = sink(format, redactor, std::io::stderr)?;
    tracing_subscriber::registry()
        .with(sink.with_filter(filter))
        .try_init()
        .map_err(Error::Twice)?;
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|it| PathBuf::from(it.file()).display().to_string());
        let line = info.location().map(panic::Location::line);
        let text = info.payload_as_str().unwrap_or("no message");
        tracing::error!(file = place, line, "panicked: {text}");
    }));
    Ok(())
}

fn sink<W>(format: Format, redactor: Redactor, out: W) -> Result<Sink, Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let format = match format {
        Format::Auto if systemd_journal_logger::connected_to_journal() => Format::Journal,
        Format::Auto => Format::Text,
        other => other,
    };
    let writer = Redacting::new(out, redactor.clone());
    Ok(match format {
        Format::Journal => Box::new(Journal::connect(redactor).map_err(Error::Journal)?),
        Format::Json => {
            fmt::layer().json().flatten_event(true).with_writer(writer).with_ansi(false).boxed()
        }
        Format::Auto | Format::Text => {
            let colored = std::io::stderr().is_terminal();
            fmt::layer().compact().with_writer(writer).with_ansi(colored).boxed()
        }
    })
}

/// Logs into memory, for tests that look at them.
#[derive(Clone, Debug, Default)]
pub struct Capture(Arc<std::sync::Mutex<Vec<u8>>>);

impl Capture {
    /// A subscriber that writes text here; install it with `tracing::subscriber::set_default`.
    pub fn subscriber(&self, redactor: Redactor) -> impl tracing::Subscriber + Send + Sync + use<> {
        let writer = Redacting::new(self.clone(), redactor);
        tracing_subscriber::registry().with(fmt::layer().with_writer(writer).with_ansi(false))
    }

    /// What was logged.
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl std::io::Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Capture {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_reaches_the_log_in_any_format() {
        for format in [Format::Text, Format::Json] {
            let redactor = Redactor::new();
            let _live = redactor.register(["hunter\"22"]);
            let capture = Capture::default();
            let sink = sink(format, redactor, capture.clone()).unwrap();
            let subscriber = tracing_subscriber::registry().with(sink);
            tracing::subscriber::with_default(subscriber, || {
                let span = tracing::info_span!("login", password = "hunter\"22");
                let _entered = span.entered();
                tracing::info!(url = "https://me:pw@host", "said hunter\"22 twice");
            });
            let text = capture.text();
            assert!(!text.contains("hunter") && !text.contains("me:pw"), "{text}");
            assert!(text.contains("[redacted] twice"), "{text}");
        }
    }

    #[test]
    fn a_bad_filter_is_named() {
        let config = Config {
            format: Format::Text,
            filter: "info,=,x[".to_owned(),
            redactor: Redactor::new(),
        };
        assert!(init(config).unwrap_err().to_string().contains("info,=,x["));
    }
}
