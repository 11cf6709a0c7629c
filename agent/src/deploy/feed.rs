//! Replays a deployment's events from its file, then follows it.
//!
//! An observer reads the file at its own pace, through its own handle, a block at a time. It costs
//! the deployment nothing, and a slow one holds nothing up; memory is one block per observer.

use std::{collections::VecDeque, fs::File, io, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use tokio::sync::watch;

use super::{
    event::{Event, Phase, Stamped},
    journal::Decoder,
    record::Record,
    recorder::Durable,
};

const BLOCK: u64 = 64 << 10;

/// Events of one deployment, in order, without gaps.
#[derive(Debug)]
pub struct Feed {
    file: Arc<File>,
    /// How much of the file was read.
    read: u64,
    decoder: Decoder,
    ready: VecDeque<Stamped>,
    /// The last event that was given out, or that the caller has already.
    after: u64,
    durable: watch::Receiver<Durable>,
}

impl Feed {
    /// Opens the file. Blocks.
    pub(super) fn open(
        path: &Path,
        after: u64,
        durable: watch::Receiver<Durable>,
    ) -> io::Result<Self> {
        Ok(Self {
            file: Arc::new(File::open(path)?),
            read: 0,
            decoder: Decoder::default(),
            ready: VecDeque::new(),
            after,
            durable,
        })
    }

    /// The next event. None after the last one, and when the agent stops before there is one:
    /// [`Event::is_last`] of the last event tells which. May be dropped while it waits.
    pub async fn next(&mut self) -> io::Result<Option<Stamped>> {
        loop {
            if let Some(stamped) = self.ready.pop_front() {
                self.after = stamped.seq;
                return Ok(Some(stamped));
            }
            let durable = *self.durable.borrow_and_update();
            if self.read < durable.len {
                self.fill(durable.len).await?;
            } else if durable.over || self.durable.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Whether the deployment has ended, so that an end of the events is the end.
    pub fn is_over(&self) -> bool {
        self.durable.borrow().over
    }

    async fn fill(&mut self, end: u64) -> io::Result<()> {
        let (file, at) = (Arc::clone(&self.file), self.read);
        let want = usize::try_from(BLOCK.min(end - at)).unwrap_or(0);
        let read = tokio::task::spawn_blocking(move || {
            let mut block = vec![0; want];
            file.read_exact_at(&mut block, at).map(|()| block)
        });
        let block = read.await.map_err(io::Error::other)??;
        self.read += u64::try_from(block.len()).unwrap_or(0);
        self.decoder.push(&block);
        // What is durable ends with a whole record, so there what is not one is damage.
        while let Some(record) = self.decoder.next(self.read == end) {
            if let Ok(Record::Event { stamped, .. }) = serde_json::from_slice(&record) {
                self.take(stamped);
            }
        }
        Ok(())
    }

    fn take(&mut self, stamped: Stamped) {
        let last = self.ready.back().map_or(self.after, |it| it.seq);
        // Numbers have no gaps, even where the disk has lost some.
        for seq in last.saturating_add(1)..stamped.seq.min(last.saturating_add(10_000)) {
            let message = "(this event was lost with a part of the disk)".to_owned();
            let event = Event::Log { phase: Phase::Source, message };
            self.ready.push_back(Stamped { seq, at: stamped.at, event });
        }
        if last < stamped.seq {
            self.ready.push_back(stamped);
        }
    }
}

#[cfg(test)]
mod tests {
    use slipway_host::clock::Clock;
    use tokio_util::task::TaskTracker;

    use super::{
        super::{
            journal::Journal,
            record::{Facts, Mark},
            recorder::Recorder,
        },
        *,
    };

    fn recorder(path: &Path) -> Recorder {
        let clock = Clock::manual(std::time::UNIX_EPOCH);
        let journal = Journal::create(path).unwrap();
        Recorder::start(journal, &Facts::default(), clock, &TaskTracker::new())
    }

    async fn all(mut feed: Feed) -> Vec<u64> {
        let mut seqs = Vec::new();
        while let Some(stamped) = feed.next().await.unwrap() {
            seqs.push(stamped.seq);
        }
        seqs
    }

    #[tokio::test]
    async fn observers_see_every_event_once_whenever_they_come() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let recorder = recorder(&path);
        let early = Feed::open(&path, 0, recorder.durable()).unwrap();
        let early = tokio::task::JoinSet::from_iter([all(early)]);
        for n in 0..500 {
            recorder.output(Phase::Build, &format!("line {n}\nand {n}")).await;
        }
        let late = Feed::open(&path, 990, recorder.durable()).unwrap();
        recorder.event(Event::Undone, Some(Mark::Undone)).await.unwrap();
        assert_eq!(early.join_all().await, [(1..=1001).collect::<Vec<_>>()]);
        assert_eq!(all(late).await, (991..=1001).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nothing_follows_the_last_event() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let recorder = recorder(&path);
        recorder.event(Event::Undone, Some(Mark::Undone)).await.unwrap();
        recorder.event(Event::Undone, None).await.unwrap();
        recorder.output(Phase::Undo, "late").await;
        recorder.mark(Mark::Undone).await.unwrap();
        assert_eq!(all(Feed::open(&path, 0, recorder.durable()).unwrap()).await, [1]);
    }

    #[tokio::test]
    async fn an_observer_of_an_agent_that_stops_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let recorder = recorder(&path);
        recorder.output(Phase::Build, "one").await;
        recorder.mark(Mark::Received).await.unwrap();
        let feed = Feed::open(&path, 0, recorder.durable()).unwrap();
        drop(recorder);
        assert_eq!(all(feed).await, [1]);
    }

    #[tokio::test]
    async fn endless_output_is_cut_and_the_outcome_still_arrives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let recorder = recorder(&path);
        let line = "x".repeat(60_000);
        for _ in 0..200 {
            recorder.output(Phase::Build, &line).await;
        }
        recorder.event(Event::Undone, Some(Mark::Undone)).await.unwrap();
        let seqs = all(Feed::open(&path, 0, recorder.durable()).unwrap()).await;
        assert!(seqs.len() < 80, "{} events", seqs.len());
        assert!(seqs.windows(2).all(|it| it[1] == it[0] + 1));
        assert!(std::fs::metadata(&path).unwrap().len() < 5 << 20);
    }

    #[tokio::test]
    async fn an_event_that_the_disk_lost_leaves_no_gap() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let recorder = recorder(&path);
        for n in 0..5 {
            recorder
                .event(Event::Log { phase: Phase::Build, message: format!("line {n}") }, None)
                .await
                .unwrap();
        }
        recorder.event(Event::Undone, Some(Mark::Undone)).await.unwrap();
        let durable = recorder.durable();
        drop(recorder);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(6).position(|it| it == b"line 3").unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(all(Feed::open(&path, 0, durable).unwrap()).await, [1, 2, 3, 4, 5, 6]);
    }
}
