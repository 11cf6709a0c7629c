//! Building images.

use std::{io, time::Duration};

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::label::Labels;

/// A build context: a tar, in pieces. An error in it fails the build.
pub type Context = BoxStream<'static, io::Result<Bytes>>;

/// What to build, and within which limits.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Name and tag of the image.
    pub tag: String,
    /// Path of the Dockerfile within the context.
    pub dockerfile: String,
    /// Labels of the image.
    pub labels: Labels,
    /// What the build may use.
    pub limits: BuildLimits,
    /// Who builds.
    pub builder: Builder,
    /// What of earlier builds may be used.
    pub cache: Cache,
}

impl BuildRequest {
    /// A build of the context's `Dockerfile` with the default limits.
    pub fn new(tag: impl Into<String>, labels: Labels) -> Self {
        Self {
            tag: tag.into(),
            dockerfile: "Dockerfile".to_owned(),
            labels,
            limits: BuildLimits::default(),
            builder: Builder::default(),
            cache: Cache::default(),
        }
    }
}

/// What a build may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BuildLimits {
    /// Memory of each `RUN`, in bytes, without swap on top.
    pub memory_bytes: u64,
    /// CPU of each `RUN`, in thousandths of one; all of them when `None`.
    pub cpu_millis: Option<u32>,
    /// The longest time from start to end, the upload of the context included.
    pub time: Duration,
    /// The longest time without a sign of life: no byte of the context taken, no line printed.
    pub idle: Duration,
}

impl Default for BuildLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            cpu_millis: None,
            time: Duration::from_mins(30),
            idle: Duration::from_mins(10),
        }
    }
}

/// Who builds.
///
/// The classic builder is the default: it enforces the memory limit, ends its containers when the
/// caller goes away, has no cache that one build could leave behind for another to read, and is in
/// every daemon. `BuildKit` understands `RUN --mount` and here-documents but takes no memory limit
/// over this interface, so it is for Dockerfiles that need it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Builder {
    /// The daemon's first builder.
    #[default]
    Classic,
    /// `BuildKit` inside the daemon.
    BuildKit,
}

/// What of earlier builds may be used. Never images named by the caller.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Cache {
    /// Steps that this daemon has already done with the same input.
    #[default]
    Local,
    /// Nothing.
    None,
}

/// Something that happened in a build.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BuildEvent {
    /// A step of the Dockerfile began.
    Step {
        /// Its number, from 1.
        current: u32,
        /// How many there are.
        total: u32,
    },
    /// A line of output, without its end and without control sequences of terminals.
    Line(String),
    /// A base image is being pulled.
    Pull(crate::image::LayerProgress),
}
