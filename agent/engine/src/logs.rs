//! Output of containers.

use std::time::SystemTime;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::error::Result;

/// Batches of lines, as fast as they are taken. Dropping it ends the reading.
pub type Logs = BoxStream<'static, Result<Vec<LogLine>>>;

/// The longest line. What is longer comes in several.
pub const MAX_LINE: usize = 64 << 10;

/// Which lines of a container.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LogQuery {
    /// Keep following until the container ends.
    pub follow: bool,
    /// Only lines at or after this time.
    pub since: Option<SystemTime>,
    /// Only lines before this time.
    pub until: Option<SystemTime>,
    /// Only the last lines. `None`: all.
    pub tail: Option<u32>,
}

/// A line of output.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLine {
    /// When it was written, by the daemon's clock.
    pub at: SystemTime,
    /// Whether it went to standard error.
    pub stderr: bool,
    /// The bytes without the line's end; not always UTF-8.
    pub bytes: Bytes,
}

impl LogLine {
    /// The text, what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}
