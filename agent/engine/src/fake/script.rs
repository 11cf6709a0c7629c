//! What a test can tell the fake to do.

use std::{fmt, time::Duration};

use tokio::sync::watch;

use crate::{container::Health, error::Error, image::ImageConfig};

/// A call of the engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "named as the calls are")]
pub enum Call {
    Ping,
    Info,
    Build,
    Pull,
    Image,
    Tag,
    RemoveImage,
    Images,
    EnsureNetwork,
    Networks,
    RemoveNetwork,
    EnsureVolume,
    Volumes,
    RemoveVolume,
    Create,
    Start,
    Stop,
    Kill,
    Remove,
    SetRestart,
    Inspect,
    Containers,
    Wait,
    Logs,
    LastLines,
    Events,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ping => "ping",
            Self::Info => "info",
            Self::Build => "build",
            Self::Pull => "pull",
            Self::Image => "image",
            Self::Tag => "tag",
            Self::RemoveImage => "remove-image",
            Self::Images => "images",
            Self::EnsureNetwork => "ensure-network",
            Self::Networks => "networks",
            Self::RemoveNetwork => "remove-network",
            Self::EnsureVolume => "ensure-volume",
            Self::Volumes => "volumes",
            Self::RemoveVolume => "remove-volume",
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Remove => "remove",
            Self::SetRestart => "set-restart",
            Self::Inspect => "inspect",
            Self::Containers => "containers",
            Self::Wait => "wait",
            Self::Logs => "logs",
            Self::LastLines => "last-lines",
            Self::Events => "events",
        })
    }
}

/// How a container of an image behaves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Behavior {
    /// What it prints when it starts: whether to standard error, and the line.
    pub lines: Vec<(bool, String)>,
    /// When and how it ends. `None`: only when it is told to.
    pub exit: Option<Exit>,
    /// What its own health check says, if it has one.
    pub health: Option<Health>,
    /// What it answers over HTTP on the port of its variable `PORT` (else the first that the image
    /// exposes, else 8080): a status and a body. `None`: it does not listen.
    pub serves: Option<(u16, String)>,
    /// Why it cannot be started at all.
    pub start_error: Option<String>,
}

impl Behavior {
    /// It answers 200 and this body.
    pub fn serves(body: impl Into<String>) -> Self {
        Self { serves: Some((200, body.into())), ..Self::idles() }
    }

    /// It answers with this status.
    pub fn answers(status: u16) -> Self {
        Self { serves: Some((status, String::new())), ..Self::idles() }
    }

    /// It runs and does nothing.
    pub fn idles() -> Self {
        Self { lines: Vec::new(), exit: None, health: None, serves: None, start_error: None }
    }

    /// It prints a line to standard error and ends.
    pub fn crashes(code: i32, line: impl Into<String>) -> Self {
        let exit = Exit { code, oom: false, after: Duration::ZERO };
        Self { lines: vec![(true, line.into())], exit: Some(exit), ..Self::idles() }
    }

    /// Docker cannot start it, for this reason.
    pub fn cannot_start(reason: impl Into<String>) -> Self {
        Self { start_error: Some(reason.into()), ..Self::idles() }
    }
}

impl Default for Behavior {
    fn default() -> Self {
        Self::serves("ok")
    }
}

/// How a container ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Exit {
    /// Its exit code.
    pub code: i32,
    /// Whether it was for want of memory.
    pub oom: bool,
    /// How long after its start.
    pub after: Duration,
}

/// How a build goes.
#[derive(Clone, Debug, Default)]
pub struct BuildScript {
    /// What it prints.
    pub lines: Vec<String>,
    /// Why it fails: the builder's words and the exit code of a command. `None`: it succeeds.
    pub failure: Option<(String, Option<i32>)>,
    /// How its image runs.
    pub config: ImageConfig,
    /// How containers of its image behave.
    pub behavior: Behavior,
}

/// Holds calls back until it is dropped.
#[derive(Debug)]
pub struct Gate {
    /// Set when a call has come.
    reached: watch::Receiver<bool>,
    /// Closed when the gate goes.
    _open: watch::Sender<()>,
}

impl Gate {
    pub(super) fn new() -> (Self, Latch) {
        let (reach, reached) = watch::channel(false);
        let (open, opened) = watch::channel(());
        (Self { reached, _open: open }, Latch { reach, opened })
    }

    /// Waits until a call stands before it.
    pub async fn reached(&mut self) {
        // Fails only when the fake is gone, and then nothing will come.
        drop(self.reached.wait_for(|it| *it).await);
    }
}

/// The fake's side of a [`Gate`].
#[derive(Clone, Debug)]
pub(super) struct Latch {
    reach: watch::Sender<bool>,
    opened: watch::Receiver<()>,
}

impl Latch {
    pub(super) async fn pass(mut self) {
        self.reach.send_replace(true);
        // The sender never sends; it goes, and that is the news.
        while self.opened.changed().await.is_ok() {}
    }
}

/// A failure that waits for its call.
pub(super) struct Failure {
    call: Call,
    part: String,
    times: u32,
    error: Box<dyn Fn() -> Error + Send>,
}

impl Failure {
    pub(super) fn new(
        call: Call,
        part: &str,
        times: u32,
        error: impl Fn() -> Error + Send + 'static,
    ) -> Self {
        Self { call, part: part.to_owned(), times, error: Box::new(error) }
    }

    /// The error for this call, if it is meant.
    pub(super) fn strike(&mut self, call: Call, name: &str) -> Option<Error> {
        if self.call != call || !name.contains(&self.part) {
            return None;
        }
        self.times = self.times.checked_sub(1)?;
        Some((self.error)())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({} {:?} {})", self.call, self.part, self.times)
    }
}
