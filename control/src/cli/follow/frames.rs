//! Events for programs: one JSON object per line, as in the SSE frames.

use slipway_proto::control::v1 as wire;

use super::Show;
use crate::cli::{Error, Output, output::json};

/// Prints frames.
pub(super) struct Frames(Output);

impl Frames {
    /// Prints to `output`.
    pub(super) fn new(output: Output) -> Self {
        Self(output)
    }
}

impl Show for Frames {
    fn uploaded(&mut self, _bytes: u64, _total: Option<u64>) {}

    fn event(&mut self, event: &wire::Event) -> Result<(), Error> {
        self.0.object(&json::event(event))
    }

    fn note(&mut self, text: &str) {
        self.0.detail(text);
    }

    fn end(&mut self) {}
}
