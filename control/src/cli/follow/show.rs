//! What an event looks like.

use slipway_proto::control::v1 as wire;

use super::{frames::Frames, lines::Lines, screen::Screen};
use crate::cli::{Error, Output};

/// A way to show a deployment.
pub(in crate::cli) trait Show: Send {
    /// So many bytes of the source have been sent, of so many if that is known.
    fn uploaded(&mut self, bytes: u64, total: Option<u64>);
    /// Something happened.
    fn event(&mut self, event: &wire::Event) -> Result<(), Error>;
    /// Something to say beside the events.
    fn note(&mut self, text: &str);
    /// Nothing more will come.
    fn end(&mut self);
}

/// The way that fits where the output goes.
pub(in crate::cli) fn show(output: &Output) -> Box<dyn Show> {
    if output.json() {
        Box::new(Frames::new(output.clone()))
    } else if output.moving() {
        Box::new(Screen::new(output.clone()))
    } else {
        Box::new(Lines::new(output.clone()))
    }
}
