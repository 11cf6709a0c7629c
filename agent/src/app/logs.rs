//! The output of an app: several containers in one stream, in the order of time.
//!
//! What is there already is merged line by line, at the reader's pace. With `follow`, one task per
//! running container then fills a bounded queue; a reader that is too slow loses the oldest lines and
//! is told how many. Containers that start later, as a deployment's do, join in.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use futures::{Stream, StreamExt as _, stream};
use slipway_engine::{
    Engine as _,
    event::What,
    label,
    logs::{LogLine, LogQuery, Logs},
};
use slipway_host::Chain;
use slipway_proto::{problem::Problem, value::AppKey};
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::sleep,
};
use tracing::debug;

use super::view::missing;
use crate::world::{Outside, World};

/// Lines that wait for a slow reader.
const QUEUE: usize = 10_000;
/// Lines in one answer.
const BATCH: usize = 500;
/// Bytes in one answer, more or less.
const BATCH_BYTES: usize = 256 << 10;
/// How long lines are gathered, so that those of several containers can be put in order.
const GATHER: Duration = Duration::from_millis(25);
/// Pause before Docker is asked again for its events.
const AGAIN: Duration = Duration::from_secs(1);

/// A line with its origin.
#[derive(Clone, Debug)]
pub struct Line {
    /// Name of the container.
    pub container: String,
    /// The line.
    pub line: LogLine,
}

/// Some lines, in the order of time.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The lines.
    pub lines: Vec<Line>,
    /// Lines missed before these.
    pub dropped: u64,
}

/// Streams an app's output.
///
/// # Errors
/// There is no such app, or Docker's.
pub async fn read<O: Outside>(
    world: Arc<World<O>>,
    key: AppKey,
    query: LogQuery,
) -> Result<impl Stream<Item = Result<Batch, Problem>> + Send, Problem> {
    let listed = world.engine().containers(&world.names.of(&key)).await?;
    if listed.is_empty() && world.apps.get(&key).is_none() {
        return Err(missing(&key));
    }
    let mut sources = Vec::new();
    for it in &listed {
        let backlog = LogQuery { follow: false, ..query };
        let logs = match world.engine().logs(&it.id, &backlog).await {
            Err(error) if error.is_missing() => continue,
            other => other?,
        };
        sources.push(Source { name: it.name.clone(), logs: Some(logs), ready: VecDeque::new() });
    }
    let seen = listed.iter().map(|it| (it.id.clone(), Seen::default())).collect();
    let names = listed.iter().map(|it| (it.name.clone(), it.id.clone())).collect();
    let merge = Merge { sources, seen, names };
    let state = State::Backlog { merge, world, key, query };
    Ok(stream::unfold(state, next))
}

enum State<O> {
    Backlog { merge: Merge, world: Arc<World<O>>, key: AppKey, query: LogQuery },
    Following(Follow),
    Over,
}

async fn next<O: Outside>(state: State<O>) -> Option<(Result<Batch, Problem>, State<O>)> {
    let mut follow = match state {
        State::Over => return None,
        State::Following(follow) => follow,
        State::Backlog { mut merge, world, key, query } => match merge.batch().await {
            Err(problem) => return Some((Err(problem), State::Over)),
            Ok(batch) if !batch.lines.is_empty() => {
                return Some((Ok(batch), State::Backlog { merge, world, key, query }));
            }
            Ok(_) if !query.follow => return None,
            Ok(_) => Follow::start(world, key, merge.seen, query),
        },
    };
    let batch = follow.batch().await;
    Some((Ok(batch), State::Following(follow)))
}

/// How far a container was read: the time of the last line, and how many lines have that time.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    at: Option<SystemTime>,
    count: usize,
}

impl Seen {
    fn note(&mut self, at: SystemTime) {
        if self.at == Some(at) {
            self.count += 1;
        } else {
            *self = Self { at: Some(at), count: 1 };
        }
    }
}

struct Source {
    name: String,
    logs: Option<Logs>,
    ready: VecDeque<LogLine>,
}

impl Source {
    /// Makes sure that the next line is known, if there is one.
    async fn fill(&mut self) -> Result<(), Problem> {
        while self.ready.is_empty() {
            let Some(logs) = &mut self.logs else { return Ok(()) };
            match logs.next().await {
                Some(lines) => self.ready.extend(lines?),
                None => self.logs = None,
            }
        }
        Ok(())
    }
}

/// Merges what is there already.
struct Merge {
    sources: Vec<Source>,
    seen: BTreeMap<String, Seen>,
    names: BTreeMap<String, String>,
}

impl Merge {
    async fn batch(&mut self) -> Result<Batch, Problem> {
        let (mut batch, mut bytes) = (Batch::default(), 0);
        while batch.lines.len() < BATCH && bytes < BATCH_BYTES {
            for source in &mut self.sources {
                source.fill().await?;
            }
            let heads = self.sources.iter_mut().filter(|it| !it.ready.is_empty());
            let Some(first) = heads.min_by_key(|it| it.ready.front().map(|it| it.at)) else {
                break;
            };
            let Some(line) = first.ready.pop_front() else { break };
            bytes += line.bytes.len();
            if let Some(id) = self.names.get(&first.name)
                && let Some(seen) = self.seen.get_mut(id)
            {
                seen.note(line.at);
            }
            batch.lines.push(Line { container: first.name.clone(), line });
        }
        Ok(batch)
    }
}

/// Follows containers. Its tasks end with it.
struct Follow {
    queue: Arc<Queue>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Line>,
    dropped: u64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, lines: impl Iterator<Item = Line>) {
        let mut waiting = self.lock();
        waiting.lines.extend(lines);
        let surplus = waiting.lines.len().saturating_sub(QUEUE);
        waiting.lines.drain(..surplus);
        waiting.dropped += u64::try_from(surplus).unwrap_or(0);
        drop(waiting);
        self.more.notify_one();
    }
}

impl Follow {
    fn start<O: Outside>(
        world: Arc<World<O>>,
        key: AppKey,
        seen: BTreeMap<String, Seen>,
        query: LogQuery,
    ) -> Self {
        let queue = Arc::new(Queue::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(world, key, seen, query, Arc::clone(&queue)));
        Self { queue, _tasks: tasks }
    }

    async fn batch(&mut self) -> Batch {
        loop {
            let waits = self.queue.lock().lines.is_empty();
            if waits {
                self.queue.more.notified().await;
                sleep(GATHER).await;
            }
            let mut waiting = self.queue.lock();
            let (mut end, mut bytes) = (0, 0);
            while end < BATCH.min(waiting.lines.len()) && bytes < BATCH_BYTES {
                bytes += waiting.lines.get(end).map_or(0, |it| it.line.bytes.len());
                end += 1;
            }
            let mut lines: Vec<Line> = waiting.lines.drain(..end).collect();
            let dropped = std::mem::take(&mut waiting.dropped);
            drop(waiting);
            if !lines.is_empty() {
                lines.sort_by_key(|it| it.line.at);
                return Batch { lines, dropped };
            }
        }
    }
}

/// Keeps one reader per running container of the app.
async fn follow<O: Outside>(
    world: Arc<World<O>>,
    key: AppKey,
    mut seen: BTreeMap<String, Seen>,
    query: LogQuery,
    queue: Arc<Queue>,
) {
    let mut readers = JoinSet::new();
    let mut running: BTreeMap<String, AbortHandle> = BTreeMap::new();
    loop {
        let events = world.engine().events(None).await;
        let listed = world.engine().containers(&world.names.of(&key)).await.unwrap_or_default();
        let mut fresh: HashSet<String> = HashSet::new();
        for it in listed {
            seen.entry(it.id.clone()).or_default();
            fresh.insert(it.id.clone());
            let reader = Reader { world: Arc::clone(&world), id: it.id, name: it.name, query };
            attend(&mut readers, &mut running, reader, &seen, &queue);
        }
        seen.retain(|id, _| fresh.contains(id));
        let Ok(mut events) = events else {
            sleep(AGAIN).await;
            continue;
        };
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        let ours = event.labels.get(label::APP).is_some_and(|it| *it == key.to_string());
                        if ours && event.what == What::Started {
                            seen.entry(event.id.clone()).or_insert(Seen { at: Some(event.at), count: 0 });
                            let world = Arc::clone(&world);
                            let reader = Reader { world, id: event.id, name: event.name, query };
                            attend(&mut readers, &mut running, reader, &seen, &queue);
                        }
                    }
                    Some(Err(error)) => {
                        debug!(error = %Chain(&error), "lost Docker's events; asking again");
                        break;
                    }
                    None => break,
                },
                Some(Ok((id, last))) = readers.join_next() => {
                    running.remove(&id);
                    seen.insert(id, last);
                }
            }
        }
        sleep(AGAIN).await;
    }
}

fn attend<O: Outside>(
    readers: &mut JoinSet<(String, Seen)>,
    running: &mut BTreeMap<String, AbortHandle>,
    reader: Reader<O>,
    seen: &BTreeMap<String, Seen>,
    queue: &Arc<Queue>,
) {
    if running.get(&reader.id).is_some_and(|it| !it.is_finished()) {
        return;
    }
    let from = seen.get(&reader.id).copied().unwrap_or_default();
    let id = reader.id.clone();
    running.insert(id, readers.spawn(reader.run(from, Arc::clone(queue))));
}

/// Reads one container until it ends.
struct Reader<O> {
    world: Arc<World<O>>,
    id: String,
    name: String,
    query: LogQuery,
}

impl<O: Outside> Reader<O> {
    async fn run(self, mut seen: Seen, queue: Arc<Queue>) -> (String, Seen) {
        let since = seen.at.or(self.query.since);
        let query = LogQuery { follow: true, since, until: self.query.until, tail: None };
        let Ok(mut logs) = self.world.engine().logs(&self.id, &query).await else {
            return (self.id, seen);
        };
        // Lines of the last known time come again; that many are passed over.
        let (known, mut again) = (seen.at, seen.count);
        while let Some(Ok(lines)) = logs.next().await {
            let mut fresh = Vec::with_capacity(lines.len());
            for line in lines {
                if known.is_some_and(|it| line.at < it) {
                    continue;
                }
                if known == Some(line.at) && 0 < again {
                    again -= 1;
                    continue;
                }
                seen.note(line.at);
                fresh.push(Line { container: self.name.clone(), line });
            }
            queue.push(fresh.into_iter());
        }
        (self.id, seen)
    }
}
