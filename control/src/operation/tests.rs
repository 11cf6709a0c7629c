//! What the runner promises, on both databases from one text.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures::{TryStreamExt as _, future::pending};
use slipway_host::clock::Clock;
use slipway_proto::problem::Problem;
use slipway_store::{
    Claimant, Done, Event, EventBody, Follow, NewEvent, NewOperation, OperationId, StepState,
    Store, UserId,
    testing::{self, Database},
};
use tokio::sync::{Notify, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Ended, Error, Handler, Run, Runner, Settings, StopReason, Undo};

slipway_store::on_both_databases!(
    a_restart_goes_on_behind_the_last_finished_step,
    a_dead_replicas_operation_goes_on_at_another,
    a_run_that_lost_its_operation_is_dropped,
    a_request_to_stop_reaches_the_run,
    a_deadline_reaches_the_run,
    no_more_run_at_once_than_there_are_slots,
    a_stop_waits_for_what_ends_in_time_and_hands_the_rest_over,
    an_adopted_operation_is_held_until_it_is_started,
    a_handler_that_always_fails_is_given_up_after_the_deadline,
    what_was_done_is_put_back_in_reverse_and_once,
);

/// Wakes a test that hangs, instead of the test runner.
const PATIENCE: Duration = Duration::from_secs(30);

struct Work<F>(F);

impl<F, R> Handler for Work<F>
where
    F: Fn(Run) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Ended, Error>> + Send,
{
    const KIND: &'static str = "test";

    fn run(&self, run: Run) -> impl Future<Output = Result<Ended, Error>> + Send {
        (self.0)(run)
    }
}

fn claimant(owner: &str, lease: Duration) -> Claimant {
    Claimant { owner: owner.to_owned(), lease }
}

/// A replica at work.
struct Replica {
    runner: Runner,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Replica {
    fn start<F, R>(store: &Store, settings: Settings, work: F) -> Self
    where
        F: Fn(Run) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Ended, Error>> + Send + 'static,
    {
        let runner = Runner::builder(store.clone(), settings).handle(Work(work)).build();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (driven, token) = (runner.clone(), stop.clone());
        tasks.spawn(async move { driven.drive(token).await });
        tasks.close();
        Self { runner, stop, tasks }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.unwrap();
    }
}

fn settings(owner: &str) -> Settings {
    let claimant = claimant(owner, Duration::from_secs(15));
    Settings { claimant, at_once: 8, grace: Duration::from_millis(50) }
}

async fn store(database: &Database) -> (Store, UserId) {
    let store = database.store().await.unwrap();
    let user = testing::user(&store, "ada").await.unwrap();
    (store, user.id)
}

async fn record(
    store: &Store,
    user: UserId,
    deadline: Duration,
    by: Option<&Claimant>,
) -> slipway_store::Operation {
    let new = NewOperation {
        id: OperationId::new(),
        kind: "test",
        input: "7".to_owned(),
        idempotency_key: None,
        deadline,
        first: NewEvent::step("plan", StepState::Started, 0),
    };
    store.of(user).create_operation(new, by).await.unwrap().into_inner()
}

/// The events of an operation, once it has ended.
async fn ended(store: &Store, id: OperationId) -> Vec<Event> {
    let tail = store.system().tail(id, 0, Follow::Yes);
    tokio::time::timeout(PATIENCE, tail.try_collect()).await.unwrap().unwrap()
}

fn outcome(events: &[Event]) -> &Done {
    match &events.last().unwrap().body {
        EventBody::Done(done) => done,
        other => panic!("{other:?}"),
    }
}

async fn succeed(run: &Run) -> Result<Ended, Error> {
    run.finish(Done { success: true, ..Done::default() }).await
}

async fn a_restart_goes_on_behind_the_last_finished_step(database: Database) {
    let (store, user) = store(&database).await;
    let (built, started) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let work = |hang: bool| {
        let (built, started) = (Arc::clone(&built), Arc::clone(&started));
        move |run: Run| {
            let (built, started) = (Arc::clone(&built), Arc::clone(&started));
            async move {
                let build = async { Ok::<_, Error>(built.fetch_add(1, Ordering::SeqCst) + 40) };
                let image: usize = run.step("build", build).await?;
                let start = async {
                    started.notify_one();
                    if hang {
                        pending::<()>().await;
                    }
                    Ok::<_, Error>(())
                };
                run.step("start", start).await?;
                run.append(vec![NewEvent::log("start", image.to_string())]).await?;
                succeed(&run).await
            }
        }
    };
    let killed = Replica::start(&store, settings("one"), work(true));
    let operation = record(&store, user, PATIENCE, None).await;
    tokio::time::timeout(PATIENCE, started.notified()).await.unwrap();

    // The first one is still there, as a process that hangs would be.
    let again = database.store().await.unwrap();
    let restarted = Replica::start(&again, settings("one"), work(false));
    let events = ended(&store, operation.id).await;
    assert!(outcome(&events).success);
    let log = EventBody::Log { message: "40".to_owned() };
    assert!(events.iter().any(|it| it.body == log), "the result was not kept");
    assert_eq!(built.load(Ordering::SeqCst), 1, "a finished step was repeated");
    restarted.stop().await;
    killed.stop().await;
}

async fn a_dead_replicas_operation_goes_on_at_another(database: Database) {
    let (store, user) = store(&database).await;
    let dead = claimant("dead", Duration::from_millis(300));
    let operation = record(&store, user, PATIENCE, Some(&dead)).await;
    let replica = Replica::start(&store, settings("two"), async |run| succeed(&run).await);
    let events = ended(&store, operation.id).await;
    assert!(outcome(&events).success);
    let waited = events[1].at.since(events[0].at);
    assert!(Duration::from_millis(300) <= waited, "taken while it was held: {waited:?}");
    replica.stop().await;
}

async fn a_run_that_lost_its_operation_is_dropped(database: Database) {
    struct Dropped(Option<oneshot::Sender<()>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                sender.send(()).unwrap_or(());
            }
        }
    }
    let (store, user) = store(&database).await;
    let (sender, dropped) = oneshot::channel();
    let (sender, begun) = (Mutex::new(Some(sender)), Arc::new(Notify::new()));
    let first = Arc::clone(&begun);
    let mut short = settings("one");
    short.claimant.lease = Duration::from_secs(2);
    let replica = Replica::start(&store, short.clone(), move |_run| {
        let guard = Dropped(sender.lock().unwrap().take());
        first.notify_one();
        async move {
            let _guard = guard;
            pending().await
        }
    });
    let operation = record(&store, user, PATIENCE, None).await;
    tokio::time::timeout(PATIENCE, begun.notified()).await.unwrap();
    // Another process with the same identity takes it over.
    let other = database.store().await.unwrap();
    let taken = other.system().claim_own(&short.claimant).await.unwrap();
    assert_eq!(taken[0].id, operation.id);
    tokio::time::timeout(PATIENCE, dropped).await.unwrap().unwrap();
    assert!(!store.system().renew(operation.id, taken[0].epoch, PATIENCE).await.unwrap());
    replica.stop().await;
}

async fn asked_to_stop(run: Run) -> Result<Ended, Error> {
    let reason = run.stop_asked().await;
    assert_eq!(run.stop_reason(), Some(reason));
    run.append(vec![NewEvent::log("undo", format!("{reason:?}"))]).await?;
    run.finish(Done::default()).await
}

fn says(events: &[Event], reason: StopReason) -> bool {
    let log = EventBody::Log { message: format!("{reason:?}") };
    events.iter().any(|it| it.body == log)
}

async fn a_request_to_stop_reaches_the_run(database: Database) {
    let (store, user) = store(&database).await;
    let replica = Replica::start(&store, settings("one"), asked_to_stop);
    let running = record(&store, user, PATIENCE, Some(replica.runner.claimant())).await;
    replica.runner.start(replica.runner.adopt(running.clone()).await.unwrap());
    store.of(user).request_cancel(running.id).await.unwrap();
    assert!(says(&ended(&store, running.id).await, StopReason::Canceled));

    // One that was asked before anybody ran it.
    let dead = claimant("dead", Duration::ZERO);
    let waiting = record(&store, user, PATIENCE, Some(&dead)).await;
    store.of(user).request_cancel(waiting.id).await.unwrap();
    assert!(says(&ended(&store, waiting.id).await, StopReason::Canceled));
    replica.stop().await;
}

async fn a_deadline_reaches_the_run(database: Database) {
    let (store, user) = store(&database).await;
    let replica = Replica::start(&store, settings("one"), asked_to_stop);
    let short = record(&store, user, Duration::from_millis(200), None).await;
    let past = record(&store, user, Duration::ZERO, None).await;
    assert!(says(&ended(&store, short.id).await, StopReason::Deadline));
    assert!(says(&ended(&store, past.id).await, StopReason::Deadline));
    replica.stop().await;
}

async fn no_more_run_at_once_than_there_are_slots(database: Database) {
    let (store, user) = store(&database).await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let highest = Arc::clone(&most);
    let mut two = settings("one");
    two.at_once = 2;
    let replica = Replica::start(&store, two, move |run| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            run.append(vec![NewEvent::log("build", "at work")]).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            succeed(&run).await
        }
    });
    let mut ids = Vec::new();
    for turn in 0..8 {
        let by = (turn % 2 == 0).then(|| replica.runner.claimant().clone());
        let operation = record(&store, user, PATIENCE, by.as_ref()).await;
        ids.push(operation.id);
        if by.is_some() {
            replica.runner.start(replica.runner.adopt(operation).await.unwrap());
        }
    }
    for id in ids {
        assert!(outcome(&ended(&store, id).await).success);
    }
    assert_eq!(highest.load(Ordering::SeqCst), 2);
    replica.stop().await;
}

async fn a_stop_waits_for_what_ends_in_time_and_hands_the_rest_over(database: Database) {
    let (store, user) = store(&database).await;
    let begun = Arc::new(Notify::new());
    let signal = Arc::clone(&begun);
    let mut patient = settings("one");
    patient.grace = Duration::from_secs(1);
    let replica = Replica::start(&store, patient, move |run: Run| {
        signal.notify_one();
        async move {
            if run.operation().deadline_at.since(run.operation().created_at) < PATIENCE {
                tokio::time::sleep(Duration::from_millis(200)).await;
                return succeed(&run).await;
            }
            pending().await
        }
    });
    let quick = record(&store, user, PATIENCE / 2, None).await;
    tokio::time::timeout(PATIENCE, begun.notified()).await.unwrap();
    let endless = record(&store, user, PATIENCE, None).await;
    tokio::time::timeout(PATIENCE, begun.notified()).await.unwrap();
    replica.stop().await;

    assert!(outcome(&ended(&store, quick.id).await).success);
    // Nobody has to wait for its lease.
    let other = claimant("two", Duration::from_secs(15));
    assert_eq!(store.system().claim(&other).await.unwrap().unwrap().id, endless.id);
}

async fn an_adopted_operation_is_held_until_it_is_started(database: Database) {
    let (store, user) = store(&database).await;
    let mut short = settings("one");
    short.claimant.lease = Duration::from_millis(600);
    let replica = Replica::start(&store, short, async |run: Run| {
        assert_eq!(run.input::<u32>()?, 7);
        succeed(&run).await
    });
    let operation = record(&store, user, PATIENCE, Some(replica.runner.claimant())).await;
    let run = replica.runner.adopt(operation.clone()).await.unwrap();
    // Its source takes longer than its lease.
    for part in 0..5 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        run.append(vec![NewEvent::log("upload", part.to_string())]).await.unwrap();
    }
    assert_eq!(store.of(user).operation(operation.id).await.unwrap().epoch, run.epoch());
    replica.runner.start(run);
    assert!(outcome(&ended(&store, operation.id).await).success);

    // Whoever received the source is gone.
    let dropped = record(&store, user, PATIENCE, Some(replica.runner.claimant())).await;
    drop(replica.runner.adopt(dropped.clone()).await.unwrap());
    assert!(outcome(&ended(&store, dropped.id).await).success);
    replica.stop().await;
}

async fn a_handler_that_always_fails_is_given_up_after_the_deadline(database: Database) {
    let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    let store = database.store_with(clock.clone()).await.unwrap();
    let user = testing::user(&store, "ada").await.unwrap().id;
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&attempts);
    let mut eager = settings("one");
    eager.claimant.lease = Duration::from_millis(100);
    let replica = Replica::start(&store, eager, move |_run| {
        count.fetch_add(1, Ordering::SeqCst);
        async { panic!("a bug") }
    });
    let operation = record(&store, user, Duration::from_secs(60), None).await;
    // Its leases end by this clock; it is past its deadline only after the second attempt.
    let time = async {
        loop {
            let tried = attempts.load(Ordering::SeqCst);
            clock.advance(Duration::from_secs(if tried < 2 { 1 } else { 3600 }));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let events = tokio::select! {
        events = ended(&store, operation.id) => events,
        () = time => unreachable!(),
    };
    let failure = outcome(&events).error.clone().unwrap();
    assert_eq!(failure.code, "SW-INTERNAL");
    assert!(!failure.message.contains("a bug"));
    assert!(1 < attempts.load(Ordering::SeqCst), "it was given up before its deadline");
    replica.stop().await;
}

async fn what_was_done_is_put_back_in_reverse_and_once(database: Database) {
    let (store, user) = store(&database).await;
    let acts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&acts);
    let replica = Replica::start(&store, settings("one"), move |run: Run| {
        let acts = Arc::clone(&acts);
        async move {
            let mut again = Undo::default();
            for turn in 0..2 {
                let mut undo = Undo::default();
                for name in ["container", "network", "image"] {
                    let acts = Arc::clone(&acts);
                    undo.push(name, move || {
                        let acts = Arc::clone(&acts);
                        async move {
                            acts.lock().unwrap().push(name);
                            match name {
                                "network" => Err(Problem::internal("busy")),
                                _ => Ok(()),
                            }
                        }
                    });
                }
                if turn == 0 {
                    let left = undo.unwind(&run).await?;
                    assert_eq!(left.len(), 1);
                    assert_eq!(left[0].0, "network");
                } else {
                    again = undo;
                }
            }
            // As a run that starts again would.
            let again_run = Run::begin(run.store().clone(), run.operation().clone(), PATIENCE);
            let (same, renew) = again_run.await?;
            drop(renew);
            again.unwind(&same).await?;
            succeed(&run).await
        }
    });
    let operation = record(&store, user, PATIENCE, None).await;
    assert!(outcome(&ended(&store, operation.id).await).success);
    let acts = seen.lock().unwrap().clone();
    assert_eq!(acts[..5], ["image", "network", "network", "network", "container"]);
    assert_eq!(acts[5..], ["network", "network", "network"], "what was put back was repeated");
    replica.stop().await;
}
