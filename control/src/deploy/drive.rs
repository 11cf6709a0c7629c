//! One server's part of a deployment: one conversation with its agent, over as many streams as it
//! takes.
//!
//! The rollout says what it wants ([`Want`]) and reads what was reached ([`Reached`]); everything
//! between (sending the archive from where the agent has it, coming back after a broken stream,
//! repeating what may have been lost) happens here. Events go to the rollout's sink in the agent's
//! order, each once per process.

use std::{borrow::Cow, path::PathBuf, sync::Arc, time::Duration};

use bytes::BytesMut;
use slipway_host::redact::Redactor;
use slipway_proto::{
    agent::v1::{self as wire, deploy_request::Part, deploy_response::Event as Told},
    problem::{Kind, Problem},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom},
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::{debug, info, warn};

use slipway_store::{Failure, ServerId, System};

use crate::fleet::{Agents, Link, Target};

/// Bytes per chunk.
const CHUNK: usize = 256 << 10;
/// Messages on their way to the agent before the sender waits.
const AHEAD: usize = 4;
/// Shortest and longest wait before dialing again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often a refusal of a deployment that the agent knows is asked about again.
const REFUSALS: u32 = 5;

/// What the rollout wants of a server. It only goes forward, or to `Abort`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Want {
    /// Be prepared.
    Prepare,
    /// Serve the new release.
    Activate,
    /// Keep the new release.
    Commit,
    /// Put everything back. Why, for the log.
    Abort(String),
}

/// What a server has reached.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reached {
    /// Nothing that is known.
    Nothing,
    /// The new release runs beside the old one.
    Prepared(wire::Prepared),
    /// It serves.
    Activated {
        /// What was prepared, unless that was told to an earlier process.
        prepared: Option<wire::Prepared>,
        /// Where it answers.
        urls: Vec<String>,
    },
    /// The end: it is kept.
    Committed {
        /// What was prepared.
        prepared: Option<wire::Prepared>,
        /// Where it answers.
        urls: Vec<String>,
    },
    /// Something went wrong and the agent is putting things back.
    Failing(Failure),
    /// The end: everything is as it was. Why, unless it was asked for.
    Undone(Option<Failure>),
    /// The end: the agent refused the deployment and has nothing of it.
    Refused(Failure),
    /// The end: another replica has taken over.
    Fenced,
    /// The end of trying: it does not answer.
    Lost(Failure),
}

impl Reached {
    /// Whether nothing more will come.
    pub(super) fn is_end(&self) -> bool {
        matches!(
            self,
            Self::Committed { .. }
                | Self::Undone(_)
                | Self::Refused(_)
                | Self::Fenced
                | Self::Lost(_)
        )
    }

    /// What went wrong, if anything did.
    pub(super) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failing(it) | Self::Undone(Some(it)) | Self::Refused(it) | Self::Lost(it) => {
                Some(it)
            }
            _ => None,
        }
    }
}

fn failure(failed: &wire::Failed) -> Failure {
    let wire::Failed { code, field, message, hint, exit_code, last_lines, phase: _ } =
        failed.clone();
    Failure { code, field, message, hint, exit_code, last_lines }
}

/// The archive, in the blob store.
#[derive(Clone, Debug)]
pub(super) struct Archive {
    /// Its file.
    pub(super) path: PathBuf,
}

/// An event of one server.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// The server.
    pub(super) server_id: ServerId,
    /// Its name.
    pub(super) server: Arc<str>,
    /// The agent's event.
    pub(super) event: wire::DeployResponse,
}

/// How long an agent that does not answer is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Before anything of the deployment is known to be on it.
    pub first: Duration,
    /// Once something is.
    pub later: Duration,
}

/// One server's place on the board where the rollout reads how far each has come.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) board: watch::Sender<Vec<Reached>>,
    pub(super) index: usize,
}

impl Seat {
    fn now(&self) -> Reached {
        self.board.borrow().get(self.index).cloned().unwrap_or(Reached::Nothing)
    }

    fn reach(&self, reached: Reached) {
        self.board.send_modify(|it| {
            if let Some(slot) = it.get_mut(self.index) {
                *slot = reached;
            }
        });
    }
}

/// One server's part of a deployment.
#[derive(Debug)]
pub(super) struct Drive {
    pub(super) system: System,
    pub(super) agents: Agents,
    pub(super) server_id: ServerId,
    pub(super) server: Arc<str>,
    pub(super) start: wire::Start,
    pub(super) archive: Option<Archive>,
    pub(super) want: watch::Receiver<Want>,
    pub(super) seat: Seat,
    pub(super) sink: mpsc::Sender<Heard>,
    pub(super) patience: Patience,
    pub(super) redactor: Redactor,
    /// Whether an earlier process may have got through to the agent.
    pub(super) resumed: bool,
}

/// How one stream ended.
enum Ending {
    /// With the deployment's last event.
    Done,
    /// It broke, or could not be opened.
    Broken(Problem),
    /// Nobody listens to us any more.
    Dropped,
}

impl Drive {
    /// Goes on until the server has reached an end. Dropping the future leaves the agent as it is.
    pub(super) async fn run(mut self) {
        let mut known = self.resumed;
        let mut refusals = 0;
        let mut silent_since = Instant::now();
        let mut wait = BACKOFF.0;
        loop {
            let seen = self.start.after_seq;
            let ending = self.stream(&mut known).await;
            if self.start.after_seq > seen {
                (silent_since, wait, refusals) = (Instant::now(), BACKOFF.0, 0);
            }
            let problem = match ending {
                Ending::Done | Ending::Dropped => return,
                Ending::Broken(problem) => problem,
            };
            if problem.kind == Kind::Fenced {
                self.reach(Reached::Fenced);
                return;
            }
            let passing = matches!(
                problem.kind,
                Kind::Unavailable | Kind::Timeout | Kind::Canceled | Kind::Internal
            );
            if !passing {
                refusals += 1;
                if !known || refusals >= REFUSALS {
                    self.reach(Reached::Refused(problem.into()));
                    return;
                }
            }
            let patience = if known { self.patience.later } else { self.patience.first };
            if silent_since.elapsed() >= patience {
                warn!(server = %self.server, %problem, "gave the server up");
                self.reach(Reached::Lost(problem.into()));
                return;
            }
            debug!(server = %self.server, %problem, "stream broke; dialing again");
            tokio::time::sleep(jitter(wait)).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    /// One stream, from its opening to its end.
    async fn stream(&mut self, known: &mut bool) -> Ending {
        let link = match self.link().await {
            Ok(link) => link,
            Err(problem) => return Ending::Broken(problem),
        };
        let (requests, input) = mpsc::channel(AHEAD);
        if requests.try_send(request(Part::Start(self.start.clone()))).is_err() {
            return Ending::Dropped;
        }
        let answers = match link.deploy(ReceiverStream::new(input)).await {
            Ok(answers) => answers,
            Err(problem) => return Ending::Broken(problem),
        };
        info!(server = %self.server, after_seq = self.start.after_seq, "stream opened");
        let (accepted, offset) = watch::channel(None);
        let feed = feed(requests, self.want.clone(), offset, self.archive.clone());
        let listen = self.listen(&link, answers, accepted, known);
        tokio::select! {
            // The feeder never ends first, except when the archive cannot be read.
            problem = feed => Ending::Broken(problem),
            ending = listen => ending,
        }
    }

    /// Looks the server up each time: it may have got another address, or be gone.
    async fn link(&self) -> Result<Link, Problem> {
        let server = self.system.server(self.server_id).await.map_err(|it| it.problem())?;
        let target = Target::of(&server)?;
        self.agents.link(&target, &server.user.to_string()).await
    }

    async fn listen(
        &mut self,
        link: &Link,
        mut answers: Streaming<wire::DeployResponse>,
        accepted: watch::Sender<Option<u64>>,
        known: &mut bool,
    ) -> Ending {
        loop {
            let event = match answers.message().await {
                Ok(Some(event)) => event,
                Ok(None) => {
                    let server = &self.server;
                    let message = format!("server `{server}` ended the stream early");
                    return Ending::Broken(Problem::new(
                        Kind::Unavailable,
                        "SW-UNREACHABLE",
                        message,
                    ));
                }
                Err(status) => return Ending::Broken(link.problem(&status)),
            };
            let event = clean(&self.redactor, event);
            *known = true;
            if let Some(Told::Accepted(it)) = &event.event {
                accepted.send_replace(Some(it.source_offset));
            }
            // The agent numbers without gaps; what it repeats is known already.
            let news = event.seq > self.start.after_seq;
            let next = event.event.as_ref().and_then(|it| next(&self.seat.now(), it));
            if news {
                self.start.after_seq = event.seq;
                let (server_id, server) = (self.server_id, Arc::clone(&self.server));
                let heard = Heard { server_id, server, event };
                if self.sink.send(heard).await.is_err() {
                    return Ending::Dropped;
                }
            }
            if let Some(next) = next {
                let end = next.is_end();
                self.reach(next);
                if end {
                    return Ending::Done;
                }
            }
        }
    }

    fn reach(&self, reached: Reached) {
        self.seat.reach(reached);
    }
}

/// Takes the deployment's secrets out of what an agent tells. The agent does so itself; what is kept
/// here for good must not depend on that.
fn clean(redactor: &Redactor, mut event: wire::DeployResponse) -> wire::DeployResponse {
    let text = |it: &mut String| {
        if let Cow::Owned(clean) = redactor.text(it) {
            *it = clean;
        }
    };
    match &mut event.event {
        Some(Told::Log(it)) => text(&mut it.message),
        Some(Told::Failed(it)) => {
            text(&mut it.message);
            text(&mut it.hint);
            it.last_lines.iter_mut().for_each(text);
        }
        _ => (),
    }
    event
}

/// What an event makes of what was reached. None: nothing.
fn next(now: &Reached, event: &Told) -> Option<Reached> {
    let prepared = match now {
        Reached::Prepared(it) => Some(it.clone()),
        Reached::Activated { prepared, .. } => prepared.clone(),
        _ => None,
    };
    match event {
        Told::Prepared(it) => {
            matches!(now, Reached::Nothing).then(|| Reached::Prepared(it.clone()))
        }
        Told::Activated(it) => Some(Reached::Activated { prepared, urls: it.urls.clone() }),
        Told::Committed(_) => {
            let urls = match now {
                Reached::Activated { urls, .. } => urls.clone(),
                _ => Vec::new(),
            };
            Some(Reached::Committed { prepared, urls })
        }
        Told::Failed(it) => Some(Reached::Failing(failure(it))),
        Told::Undone(_) => Some(Reached::Undone(now.failure().cloned())),
        Told::Accepted(_) | Told::Log(_) | Told::Progress(_) | Told::Step(_) => None,
    }
}

fn request(part: Part) -> wire::DeployRequest {
    wire::DeployRequest { part: Some(part) }
}

/// Sends what the rollout wants, each thing once per stream and in order: the archive from where the
/// agent has it, then `activate`, `commit` or `abort`. Ends only when the archive cannot be read;
/// once the agent listens no more, the stream itself says so.
async fn feed(
    requests: mpsc::Sender<wire::DeployRequest>,
    mut want: watch::Receiver<Want>,
    mut accepted: watch::Receiver<Option<u64>>,
    archive: Option<Archive>,
) -> Problem {
    let (mut activated, mut committed) = (false, false);
    let mut upload = std::pin::pin!(upload(requests.clone(), &mut accepted, archive));
    let mut uploaded = false;
    loop {
        let wanted = want.borrow_and_update().clone();
        let mut parts = Vec::new();
        match &wanted {
            Want::Prepare => (),
            Want::Activate => {
                parts.extend((!activated).then_some(Part::Activate(wire::Activate {})));
            }
            Want::Commit => {
                parts.extend((!activated).then_some(Part::Activate(wire::Activate {})));
                parts.extend((!committed).then_some(Part::Commit(wire::Commit {})));
                committed = true;
            }
            Want::Abort(reason) => {
                let reason = reason.chars().take(1024).collect();
                parts.push(Part::Abort(wire::Abort { reason }));
            }
        }
        activated |= matches!(wanted, Want::Activate | Want::Commit);
        for part in parts {
            if requests.send(request(part)).await.is_err() {
                return std::future::pending().await;
            }
        }
        if matches!(wanted, Want::Abort(_)) {
            return std::future::pending().await;
        }
        tokio::select! {
            result = &mut upload, if !uploaded => match result {
                Ok(()) => uploaded = true,
                Err(problem) => return problem,
            },
            changed = want.changed() => if changed.is_err() {
                return std::future::pending().await;
            },
        }
    }
}

/// Sends the archive, from where the agent has it.
async fn upload(
    requests: mpsc::Sender<wire::DeployRequest>,
    accepted: &mut watch::Receiver<Option<u64>>,
    archive: Option<Archive>,
) -> Result<(), Problem> {
    let Some(archive) = archive else { return Ok(()) };
    let offset = accepted.wait_for(Option::is_some).await.map(|it| it.unwrap_or_default());
    let Ok(mut offset) = offset else { return std::future::pending().await };
    let failed = |error: std::io::Error| {
        warn!(%error, "could not read the archive");
        Problem::internal("the control plane could not read the archive")
    };
    let mut file = tokio::fs::File::open(&archive.path).await.map_err(failed)?;
    file.seek(SeekFrom::Start(offset)).await.map_err(failed)?;
    loop {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        while buffer.len() < CHUNK {
            if file.read_buf(&mut buffer).await.map_err(failed)? == 0 {
                break;
            }
        }
        let part = if buffer.is_empty() {
            Part::SourceEnd(wire::SourceEnd {})
        } else {
            Part::Chunk(wire::Chunk { offset, data: buffer.freeze() })
        };
        let last = matches!(part, Part::SourceEnd(_));
        if let Part::Chunk(it) = &part {
            offset += u64::try_from(it.data.len()).unwrap_or_default();
        }
        if requests.send(request(part)).await.is_err() {
            return std::future::pending().await;
        }
        if last {
            return Ok(());
        }
    }
}

/// Between half of `wait` and all of it.
fn jitter(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}
