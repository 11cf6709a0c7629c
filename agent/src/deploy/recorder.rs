//! Writes a deployment's records, one writer per running deployment.
//!
//! Records go through one queue to one task, which takes all that wait, writes them, makes them
//! durable with a single `fdatasync`, and only then tells those who wait and those who observe. So
//! the order in the file is the order of the world, nobody sees an event that a power cut could
//! take back, and a build that prints fast costs one sync per batch rather than per line.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use slipway_host::{Chain, clock::Clock};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, warn};

use super::{
    Error,
    event::{Event, Phase, Progress, Stamped, StepState, plain},
    journal::Journal,
    record::{Facts, Mark, Record},
};

/// Records that may wait for the writer before those who produce them wait too.
const QUEUE: usize = 256;
/// Reports of progress per deployment; and the least time between two of one phase.
const MAX_REPORTS: u32 = 2_000;
const REPORT_EVERY: Duration = Duration::from_millis(200);
/// Output kept per deployment, in bytes. What comes after it is counted and dropped.
const MAX_OUTPUT: u64 = 4 << 20;

/// How far a deployment's file is durable.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Durable {
    /// Bytes.
    pub(super) len: u64,
    /// The last event is among them.
    pub(super) over: bool,
}

/// What is asked of the writer.
struct Entry {
    event: Option<Event>,
    mark: Option<Mark>,
    record: Option<Record>,
    done: Option<oneshot::Sender<Result<(), String>>>,
}

/// The producing end.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    queue: mpsc::Sender<Entry>,
    durable: watch::Receiver<Durable>,
    closed: CancellationToken,
    /// The phase that began last.
    last: Arc<Mutex<Option<(Phase, Instant)>>>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

impl Recorder {
    /// Starts the writer. It ends when the last recorder is dropped.
    pub(super) fn start(
        journal: Journal,
        facts: &Facts,
        clock: Clock,
        tasks: &TaskTracker,
    ) -> Self {
        let (queue, entries) = mpsc::channel(QUEUE);
        let start = Durable { len: journal.len(), over: facts.state.is_over() };
        let (durable_tx, durable) = watch::channel(start);
        let writer = Writer {
            journal,
            clock,
            next_seq: facts.last_seq + 1,
            output: facts.output,
            reports: 0,
            reported: None,
            over: start.over,
            durable: durable_tx,
        };
        let closed = CancellationToken::new();
        tasks.spawn(writer.run(entries, closed.clone()).in_current_span());
        Self { queue, durable, closed, last: Arc::default() }
    }

    /// Ends the writer once it has written what waits: the deployment is over, or the agent stops.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Tells how far the file is durable, as it grows.
    pub(super) fn durable(&self) -> watch::Receiver<Durable> {
        self.durable.clone()
    }

    /// Writes the first record. Returns when it is durable.
    pub(super) async fn open(&self, record: Record) -> Result<(), Error> {
        self.put(None, None, Some(record)).await
    }

    /// Records something that only the agent needs to know. Returns when it is durable.
    pub(super) async fn mark(&self, mark: Mark) -> Result<(), Error> {
        self.put(None, Some(mark), None).await
    }

    /// Records an event and what becomes true with it. Returns when both are durable.
    pub(super) async fn event(&self, event: Event, mark: Option<Mark>) -> Result<(), Error> {
        self.put(Some(event), mark, None).await
    }

    /// Passes on lines of output. Waits only while the writer is behind.
    pub(super) async fn output(&self, phase: Phase, text: &str) {
        for line in text.lines() {
            let message = plain(line);
            self.send(Event::Log { phase, message }).await;
        }
    }

    /// Passes on how far something has come.
    pub(super) async fn progress(&self, progress: Progress) {
        self.send(Event::Progress(progress)).await;
    }

    /// Says that a phase begins.
    pub(super) async fn begin(&self, phase: Phase) -> Begun {
        let at = Instant::now();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((phase, at));
        self.send(Event::Step { phase, state: StepState::Started, elapsed: None }).await;
        Begun { phase, at }
    }

    /// Says that a phase ended well.
    pub(super) async fn done(&self, Begun { phase, at }: Begun) {
        let elapsed = Some(at.elapsed());
        self.send(Event::Step { phase, state: StepState::Done, elapsed }).await;
    }

    /// Says that a phase failed, if it had begun.
    pub(super) async fn broke(&self, phase: Phase) {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, at)) = last.filter(|it| it.0 == phase) {
            let elapsed = Some(at.elapsed());
            self.send(Event::Step { phase, state: StepState::Failed, elapsed }).await;
        }
    }

    async fn send(&self, event: Event) {
        let entry = Entry { event: Some(event), mark: None, record: None, done: None };
        // Without a writer the agent is going down; the state records say so where it matters.
        drop(self.queue.send(entry).await);
    }

    async fn put(
        &self,
        event: Option<Event>,
        mark: Option<Mark>,
        record: Option<Record>,
    ) -> Result<(), Error> {
        let (done, written) = oneshot::channel();
        let entry = Entry { event, mark, record, done: Some(done) };
        self.queue.send(entry).await.map_err(|_| Error::Stopping)?;
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(Error::Journal { reason }),
            Err(_) => Err(Error::Stopping),
        }
    }
}

/// A phase that began.
#[derive(Debug)]
pub(super) struct Begun {
    phase: Phase,
    at: Instant,
}

struct Writer {
    journal: Journal,
    clock: Clock,
    next_seq: u64,
    output: u64,
    reports: u32,
    reported: Option<(Phase, Instant)>,
    over: bool,
    durable: watch::Sender<Durable>,
}

impl Writer {
    async fn run(mut self, mut entries: mpsc::Receiver<Entry>, closed: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                count = entries.recv_many(&mut batch, QUEUE) => if count == 0 { return },
                () = closed.cancelled() => return,
            }
            let (seq, output, over) = (self.next_seq, self.output, self.over);
            let mut waiting = Vec::new();
            let mut records = Vec::with_capacity(batch.len());
            for entry in batch.drain(..) {
                self.encode(entry, &mut records, &mut waiting);
            }
            // A write that is lost with its thread: the process is going down.
            let Some((journal, result)) = write(self.journal, records).await else { return };
            self.journal = journal;
            match &result {
                Ok(()) => {
                    let durable = Durable { len: self.journal.len(), over: self.over };
                    self.durable.send_replace(durable);
                }
                Err(error) => {
                    // What was not written never was: its numbers are given out again.
                    (self.next_seq, self.output, self.over) = (seq, output, over);
                    warn!(error = %Chain(error), "could not write the journal");
                }
            }
            let outcome = result.map_err(|it| it.to_string());
            for done in waiting {
                // Whoever asked may have been cancelled; the record stands all the same.
                drop(done.send(outcome.clone()));
            }
        }
    }

    fn encode(
        &mut self,
        entry: Entry,
        records: &mut Vec<Vec<u8>>,
        waiting: &mut Vec<oneshot::Sender<Result<(), String>>>,
    ) {
        let Entry { event, mark, record, done } = entry;
        waiting.extend(done);
        if let Some(record) = record {
            records.extend(serde_json::to_vec(&record));
        }
        let Some(event) = event.filter(|_| !self.over) else {
            records.extend(mark.and_then(|it| serde_json::to_vec(&Record::Mark(it)).ok()));
            return;
        };
        let Some(event) = self.bounded(event) else { return };
        self.over = event.is_last();
        let stamped = Stamped { seq: self.next_seq, at: self.clock.now_micros(), event };
        self.next_seq += 1;
        records.extend(serde_json::to_vec(&Record::Event { stamped, mark }));
    }

    /// Lets output and reports through up to a limit, so that a journal stays small.
    fn bounded(&mut self, event: Event) -> Option<Event> {
        let (phase, message) = match event {
            Event::Log { phase, message } => (phase, message),
            Event::Progress(it) => return self.report(it).map(Event::Progress),
            other => return Some(other),
        };
        if MAX_OUTPUT < self.output {
            return None;
        }
        self.output = self.output.saturating_add(u64::try_from(message.len()).unwrap_or(u64::MAX));
        if MAX_OUTPUT < self.output {
            let message = "… there is more output; it is left out here".to_owned();
            return Some(Event::Log { phase, message });
        }
        Some(Event::Log { phase, message })
    }

    fn report(&mut self, it: Progress) -> Option<Progress> {
        let recent = self
            .reported
            .is_some_and(|(phase, at)| phase == it.phase && at.elapsed() < REPORT_EVERY);
        let complete = it.total != 0 && it.current == it.total;
        if MAX_REPORTS < self.reports || (recent && !complete) {
            return None;
        }
        self.reports += 1;
        self.reported = Some((it.phase, Instant::now()));
        Some(it)
    }
}

/// Writes on a blocking thread. None when the thread is lost, as at the end of the process.
async fn write(
    mut journal: Journal,
    records: Vec<Vec<u8>>,
) -> Option<(Journal, std::io::Result<()>)> {
    if records.is_empty() {
        return Some((journal, Ok(())));
    }
    let work = move || {
        let result = journal.append(&records);
        (journal, result)
    };
    tokio::task::spawn_blocking(work).await.ok()
}
