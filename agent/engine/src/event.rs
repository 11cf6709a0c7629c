//! What happens to our containers, as it happens.

use std::time::SystemTime;

use futures::stream::BoxStream;

use crate::{container::Health, error::Result, label::Labels};

/// Events until the stream ends with an error or the daemon goes away; the caller then subscribes
/// again and reads the state anew.
pub type Events = BoxStream<'static, Result<Event>>;

/// Something that happened to a container of ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// When, by the daemon's clock.
    pub at: SystemTime,
    /// Docker's id of the container.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// It was made.
    Created,
    /// It runs.
    Started,
    /// The kernel killed one of its processes for want of memory.
    OutOfMemory,
    /// It ended.
    Died {
        /// Its exit code.
        exit_code: i32,
    },
    /// Its own health check changed its mind.
    Health(Health),
    /// It is gone.
    Removed,
}
