//! Numbers without gaps, and followers that miss nothing.

use futures::{StreamExt as _, TryStreamExt as _, future::join_all};

use super::{held, is_done, log, store, success};
use crate::{
    Error, Event, EventBody, Follow, NewEvent, Store, System, id::OperationId, store::Epoch,
    testing::Database,
};

crate::on_both_databases!(
    numbers_have_no_gaps_under_sixteen_writers,
    a_refused_writer_leaves_no_gap,
    positions_become_visible_in_their_order,
    a_follower_sees_everything_from_any_point,
    a_follower_at_another_replica_is_woken,
    a_reader_that_does_not_follow_ends_at_the_end,
    too_many_lines_are_cut_once_and_other_events_stay,
    every_kind_of_event_comes_back_as_it_went,
    a_large_batch_is_whole,
);

async fn all(system: &System, id: OperationId, after: u64) -> Vec<Event> {
    system.tail(id, after, Follow::No).try_collect().await.unwrap()
}

fn assert_gapless(events: &[Event], first: u64) {
    for (event, seq) in events.iter().zip(first..) {
        assert_eq!(event.seq, seq);
    }
}

async fn numbers_have_no_gaps_under_sixteen_writers(database: Database) {
    const EACH: usize = 40;
    let (store, user) = store(&database).await;
    let (one, two) = (held(&store, user).await, held(&store, user).await);
    let system = &store.system();
    join_all((0..16).map(|writer| async move {
        let (id, epoch) = if writer % 2 == 0 { one } else { two };
        for turn in 0..EACH {
            let events = (0..=turn % 3).map(|it| log(format!("{writer} {turn} {it}")));
            system.append(id, epoch, events.collect()).await.unwrap();
        }
    }))
    .await;
    let each: usize = (0..EACH).map(|turn| 1 + turn % 3).sum();
    for (id, _) in [one, two] {
        let events = all(system, id, 0).await;
        assert_eq!(events.len(), 1 + 8 * each);
        assert_gapless(&events, 1);
        for writer in 0..16 {
            let prefix = format!("{writer} ");
            let own = events.iter().filter_map(|it| match &it.body {
                EventBody::Log { message } => message.strip_prefix(&prefix),
                _ => None,
            });
            let turns: Vec<usize> =
                own.map(|it| it.split(' ').next().unwrap().parse().unwrap()).collect();
            assert!(turns.is_sorted(), "a writer's events changed their order");
        }
    }
}

async fn a_refused_writer_leaves_no_gap(database: Database) {
    let (store, user) = store(&database).await;
    let (id, epoch) = held(&store, user).await;
    let system = store.system();
    let stale = Epoch(epoch.0 - 1);
    let (good, refused, missing) = tokio::join!(
        system.append(id, epoch, vec![log("a"), log("b")]),
        system.append(id, stale, vec![log("stale")]),
        system.append(OperationId::new(), epoch, vec![log("nobody's")]),
    );
    assert_eq!(good.unwrap(), 3);
    assert!(matches!(refused, Err(Error::Fenced { operation }) if operation == id));
    assert!(matches!(missing, Err(Error::Fenced { .. })));
    assert_eq!(system.append(id, epoch, vec![log("c")]).await.unwrap(), 4);

    let events = all(&system, id, 0).await;
    assert_gapless(&events, 1);
    assert_eq!(events.len(), 4);
    let positions: Vec<_> = events.iter().map(|it| it.pos).collect();
    assert_eq!(positions, [1, 2, 3, 4], "positions have a gap");
}

/// Two replicas write; a reader that goes on after the highest position it saw misses none.
async fn positions_become_visible_in_their_order(database: Database) {
    const READ: &str = "select pos from event where pos > $1 order by pos";
    const EVENTS: i64 = 2 * 60;
    let (one, user) = store(&database).await;
    let two = database.store().await.unwrap();
    let operations = [held(&one, user).await, held(&one, user).await];
    let write = |store: Store, (id, epoch): (OperationId, Epoch)| async move {
        for turn in 0..60 {
            store.system().append(id, epoch, vec![log(turn.to_string())]).await.unwrap();
        }
    };
    let read = async {
        let mut seen = Vec::new();
        while i64::try_from(seen.len()).unwrap() < EVENTS + 2 {
            let last = seen.last().copied().unwrap_or(0);
            let rows: Vec<(i64,)> =
                one.db().all(crate::db::query("read", READ).bind(last)).await.unwrap();
            seen.extend(rows.into_iter().map(|(pos,)| pos));
        }
        seen
    };
    let ((), (), seen) =
        tokio::join!(write(one.clone(), operations[0]), write(two, operations[1]), read);
    assert_eq!(seen, (1..=EVENTS + 2).collect::<Vec<_>>());
}

async fn a_follower_sees_everything_from_any_point(database: Database) {
    let (store, user) = store(&database).await;
    let (id, epoch) = held(&store, user).await;
    let system = store.system();
    let write = async {
        for turn in 0..30 {
            let events = (0..7).map(|it| log(format!("{turn} {it}"))).collect();
            system.append(id, epoch, events).await.unwrap();
        }
        system.finish(id, epoch, success()).await.unwrap();
    };
    let follow = |after: u64| {
        let store = store.clone();
        async move {
            let tail = store.of(user).tail(id, after, Follow::Yes).await.unwrap();
            (after, tail.try_collect::<Vec<_>>().await.unwrap())
        }
    };
    let followers = join_all([0, 1, 2, 50, 100, 211].map(follow));
    let ((), followed) = tokio::join!(write, followers);
    for (after, events) in followed {
        assert_gapless(&events, after + 1);
        let last = events.last().unwrap();
        assert_eq!(last.seq, 1 + 30 * 7 + 1);
        assert!(is_done(&last.body));
    }
    let (_, late) = follow(200).await;
    assert_eq!(late.len(), 12);
}

async fn a_follower_at_another_replica_is_woken(database: Database) {
    let (one, user) = store(&database).await;
    let two = database.store().await.unwrap();
    let (id, epoch) = held(&one, user).await;
    let mut tail = Box::pin(two.system().tail(id, 0, Follow::Yes));
    assert_eq!(tail.next().await.unwrap().unwrap().seq, 1);
    let (event, appended) = tokio::join!(tail.next(), async {
        // Only now does the follower wait.
        tokio::task::yield_now().await;
        one.system().append(id, epoch, vec![log("news")]).await
    });
    assert_eq!(event.unwrap().unwrap().seq, appended.unwrap());
}

async fn a_reader_that_does_not_follow_ends_at_the_end(database: Database) {
    let (store, user) = store(&database).await;
    let (id, epoch) = held(&store, user).await;
    let system = store.system();
    for chunk in 0..4 {
        let events = (0..400).map(|it| log(format!("{chunk} {it}"))).collect();
        system.append(id, epoch, events).await.unwrap();
    }
    let events = all(&system, id, 100).await;
    assert_eq!(events.len(), 1501);
    assert_gapless(&events, 101);
}

async fn too_many_lines_are_cut_once_and_other_events_stay(database: Database) {
    let (store, user) = store(&database).await;
    let (id, epoch) = held(&store, user).await;
    let system = store.system();
    for chunk in 0..11 {
        let mut events: Vec<_> = (0..1000).map(|it| log(format!("{chunk} {it}"))).collect();
        let progress = EventBody::Progress {
            current: chunk,
            total: 11,
            unit: "steps".into(),
            item: String::new(),
        };
        events.push(NewEvent::new("build", progress));
        system.append(id, epoch, events).await.unwrap();
    }
    let events = all(&system, id, 0).await;
    assert_gapless(&events, 1);
    let is_log = |it: &&Event| matches!(it.body, EventBody::Log { .. });
    let logs: Vec<_> = events.iter().filter(is_log).collect();
    assert_eq!(logs.len(), 10_001);
    let cut = EventBody::Log { message: "… further output is not kept".to_owned() };
    assert_eq!(logs.iter().position(|it| it.body == cut), Some(10_000));
    assert_eq!(events.len() - logs.len(), 12, "other events were cut, too");
}

async fn every_kind_of_event_comes_back_as_it_went(database: Database) {
    let (store, user) = store(&database).await;
    let (id, epoch) = held(&store, user).await;
    let system = store.system();
    let bodies = [
        EventBody::Log { message: "tab\t \"quote\" \u{1f980} null\u{0}".replace('\u{0}', "") },
        EventBody::Progress { current: 1, total: 0, unit: "bytes".into(), item: "layer".into() },
        EventBody::Step { state: crate::StepState::Failed, elapsed_ms: u64::MAX },
    ];
    let events = bodies.iter().map(|it| NewEvent::new("build", it.clone()).on("brave-otter"));
    system.append(id, epoch, events.collect()).await.unwrap();
    let read = all(&system, id, 1).await;
    assert_eq!(read.len(), bodies.len());
    for (event, body) in read.iter().zip(&bodies) {
        assert_eq!(event.body, *body);
        assert_eq!((event.server.as_str(), event.phase.as_str()), ("brave-otter", "build"));
        assert_eq!(event.operation, id);
    }
}

async fn a_large_batch_is_whole(database: Database) {
    let (store, user) = store(&database).await;
    let (id, epoch) = held(&store, user).await;
    let system = store.system();
    // One less than, equal to and one more than the sizes of statements.
    let mut expected = 1;
    for size in [1, 3, 4, 5, 15, 16, 17, 127, 128, 129, 1000] {
        let events = (0..size).map(|it| log(it.to_string())).collect();
        expected += size;
        assert_eq!(system.append(id, epoch, events).await.unwrap(), expected);
    }
    let events = all(&system, id, 0).await;
    assert_gapless(&events, 1);
    assert_eq!(u64::try_from(events.len()).unwrap(), expected);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    /// Whatever is appended to whichever operation, by whomever: what was accepted is there in its
    /// order and under its numbers, and what was refused is not.
    #[test]
    fn what_was_accepted_is_there_and_nothing_else(
        appends in proptest::collection::vec((0..3_usize, 0..5_usize, proptest::bool::weighted(0.2)), 0..40)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let database = Database::sqlite().await.unwrap();
            let (store, user) = store(&database).await;
            let system = store.system();
            let mut operations = Vec::new();
            for _ in 0..3 {
                operations.push((held(&store, user).await, Vec::new()));
            }
            let mut requests = Vec::new();
            for (turn, (index, size, stale)) in appends.into_iter().enumerate() {
                let ((id, epoch), model) = &mut operations[index];
                let lines: Vec<_> = (0..size).map(|it| format!("{turn} {it}")).collect();
                let epoch = if stale { Epoch(epoch.0 - 1) } else { *epoch };
                let events = lines.iter().map(log).collect();
                requests.push((stale, system.append(*id, epoch, events)));
                if !stale {
                    model.extend(lines);
                }
            }
            // Polled together, so that they are written in groups, in this order.
            let (stale, requests): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
            for (stale, answer) in stale.into_iter().zip(join_all(requests).await) {
                assert_eq!(stale, matches!(answer, Err(Error::Fenced { .. })));
                assert_eq!(stale, answer.is_err());
            }
            for ((id, _), model) in operations {
                let events = all(&system, id, 1).await;
                assert_gapless(&events, 2);
                let lines: Vec<_> = events
                    .into_iter()
                    .map(|it| match it.body {
                        EventBody::Log { message } => message,
                        other => panic!("{other:?}"),
                    })
                    .collect();
                assert_eq!(lines, model);
            }
        });
    }
}
