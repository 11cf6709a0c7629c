//! Claims, leases, epochs, steps.

use std::{collections::HashSet, time::Duration};

use futures::future::join_all;

use super::{claimant, forgetful, held, log, new_operation, store, success};
use crate::{Error, Operation, OperationState, Recorded, Store, UserId, What, testing::Database};

crate::on_both_databases!(
    two_hundred_claims_by_eight_tasks_are_distinct,
    the_same_key_finds_the_same_operation,
    an_operation_has_its_first_event_from_the_start,
    a_held_operation_is_not_claimed_and_a_forgotten_one_is,
    a_stale_owner_can_write_nothing,
    a_restarted_replica_gets_its_own_at_once,
    epochs_grow_from_operation_to_operation,
    a_released_operation_is_claimed_at_once,
    cancel_reaches_the_owner,
    a_finished_step_stays,
    an_ended_operation_takes_no_more,
    an_unknown_operation_is_missing,
);

/// Records an operation whose owner lets it go at once.
async fn forgotten(store: &Store, user: UserId) -> Operation {
    let owner = store.of(user);
    let recorded = owner.create_operation(new_operation(None), Some(&forgetful("one"))).await;
    recorded.unwrap().into_inner()
}

async fn two_hundred_claims_by_eight_tasks_are_distinct(database: Database) {
    let (store, user) = store(&database).await;
    let other = database.store().await.unwrap();
    for _ in 0..200 {
        store.of(user).create_operation(new_operation(None), None).await.unwrap();
    }
    let claims = join_all((0..8).map(|task| {
        let store = if task % 2 == 0 { store.clone() } else { other.clone() };
        async move {
            let (me, mut mine) = (claimant(&task.to_string()), Vec::new());
            while let Some(operation) = store.system().claim(&me).await.unwrap() {
                mine.push(operation);
            }
            mine
        }
    }))
    .await;
    let claimed: Vec<_> = claims.into_iter().flatten().collect();
    assert_eq!(claimed.len(), 200);
    assert_eq!(claimed.iter().map(|it| it.id).collect::<HashSet<_>>().len(), 200);
    assert_eq!(claimed.iter().map(|it| it.epoch).collect::<HashSet<_>>().len(), 200);
}

async fn the_same_key_finds_the_same_operation(database: Database) {
    let (store, user) = store(&database).await;
    let replica = database.store().await.unwrap();
    let create = |turn: usize| {
        let store = if turn.is_multiple_of(2) { store.clone() } else { replica.clone() };
        async move { store.of(user).create_operation(new_operation(Some("once")), None).await }
    };
    let recorded = join_all((0..20).map(create)).await;
    let new = recorded.iter().filter(|it| matches!(it, Ok(Recorded::New(_)))).count();
    assert_eq!(new, 1);
    let ids: HashSet<_> = recorded.into_iter().map(|it| it.unwrap().into_inner().id).collect();
    assert_eq!(ids.len(), 1);

    let other = crate::testing::user(&store, "bob").await.unwrap();
    let theirs =
        store.of(other.id).create_operation(new_operation(Some("once")), None).await.unwrap();
    assert!(matches!(theirs, Recorded::New(_)), "another user's key is another key");
}

async fn an_operation_has_its_first_event_from_the_start(database: Database) {
    let (store, user) = store(&database).await;
    let recorded =
        store.of(user).create_operation(new_operation(None), None).await.unwrap().into_inner();
    assert_eq!(recorded.last_seq, 1);
    assert_eq!(recorded.state, OperationState::Open);
    let events = store.of(user).events(recorded.id, 0, 10).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].phase, "plan");
}

async fn a_held_operation_is_not_claimed_and_a_forgotten_one_is(database: Database) {
    let (store, user) = store(&database).await;
    let system = store.system();
    let (held, _) = held(&store, user).await;
    assert!(system.claim(&claimant("two")).await.unwrap().is_none());

    let forgotten = forgotten(&store, user).await;
    let claimed = system.claim(&claimant("two")).await.unwrap().unwrap();
    assert_eq!(claimed.id, forgotten.id);
    assert_ne!(claimed.id, held);
    assert!(forgotten.epoch < claimed.epoch);
    assert_eq!(claimed.owner.as_deref(), Some("two"));
}

async fn a_stale_owner_can_write_nothing(database: Database) {
    let (store, user) = store(&database).await;
    let system = store.system();
    let operation = forgotten(&store, user).await;
    let (id, stale) = (operation.id, operation.epoch);
    let claimed = system.claim(&claimant("two")).await.unwrap().unwrap();

    let lease = Duration::from_secs(15);
    let refused: Vec<Option<Error>> = vec![
        system.append(id, stale, vec![log("late")]).await.err(),
        system.finish_step(id, stale, "late", "1").await.err(),
        system.renew(id, stale, lease).await.err(),
        system.set_input(id, stale, "1".to_owned()).await.err(),
        system.release(id, stale).await.err(),
        system.finish(id, stale, success()).await.err(),
    ];
    for (index, error) in refused.into_iter().enumerate() {
        assert!(matches!(error, Some(Error::Fenced { .. })), "{index}: {error:?}");
    }
    assert!(system.steps(id).await.unwrap().is_empty());
    assert_eq!(store.of(user).events(id, 0, 10).await.unwrap().len(), 1);
    assert!(!system.renew(id, claimed.epoch, lease).await.unwrap());
    system.finish(id, claimed.epoch, success()).await.unwrap();
}

async fn a_restarted_replica_gets_its_own_at_once(database: Database) {
    let (first, user) = store(&database).await;
    let (mine, epoch) = held(&first, user).await;
    let theirs = first
        .of(user)
        .create_operation(new_operation(None), Some(&claimant("two")))
        .await
        .unwrap()
        .into_inner();
    first.close().await;

    let store = database.store().await.unwrap();
    let own = store.system().claim_own(&claimant("one")).await.unwrap();
    assert_eq!(own.iter().map(|it| it.id).collect::<Vec<_>>(), [mine]);
    assert!(epoch < own[0].epoch);
    assert_ne!(own[0].id, theirs.id);

    // What it has claimed since is not of before the restart.
    held(&store, user).await;
    assert!(store.system().claim_own(&claimant("one")).await.unwrap().is_empty());
}

/// Agents compare the epochs of successive operations on one app.
async fn epochs_grow_from_operation_to_operation(database: Database) {
    let (store, user) = store(&database).await;
    let system = store.system();
    let operation = forgotten(&store, user).await;
    let mut last = operation.epoch;
    for _ in 0..3 {
        let again = system.claim(&forgetful("two")).await.unwrap().unwrap();
        assert!(last < again.epoch);
        last = again.epoch;
    }
    let (_, next) = held(&store, user).await;
    assert!(last < next);
}

async fn a_released_operation_is_claimed_at_once(database: Database) {
    let (store, user) = store(&database).await;
    let (id, epoch) = held(&store, user).await;
    let system = store.system();
    let mut queue = system.watch_queue();
    system.release(id, epoch).await.unwrap();
    queue.wait_at_most(Duration::from_secs(3600)).await;
    assert_eq!(system.claim(&claimant("two")).await.unwrap().unwrap().id, id);
}

async fn cancel_reaches_the_owner(database: Database) {
    let (store, user) = store(&database).await;
    let replica = database.store().await.unwrap();
    let (id, epoch) = held(&store, user).await;
    let system = store.system();
    let lease = Duration::from_secs(15);
    let mut changes = system.watch_cancel(id);
    assert!(!system.renew(id, epoch, lease).await.unwrap());
    // On SQLite there are no replicas to wake.
    let from = if database.is_postgres() { &replica } else { &store };
    from.of(user).request_cancel(id).await.unwrap();
    changes.wait_at_most(Duration::from_secs(3600)).await;
    assert!(system.renew(id, epoch, lease).await.unwrap());

    system.finish(id, epoch, success()).await.unwrap();
    store.of(user).request_cancel(id).await.unwrap();
}

async fn a_finished_step_stays(database: Database) {
    let (store, user) = store(&database).await;
    let (id, epoch) = held(&store, user).await;
    let system = store.system();
    system.finish_step(id, epoch, "prepare", "\"image\"").await.unwrap();
    system.finish_step(id, epoch, "prepare", "\"another\"").await.unwrap();
    let steps = system.steps(id).await.unwrap();
    assert_eq!(steps.get("prepare").map(String::as_str), Some("\"image\""));
}

async fn an_ended_operation_takes_no_more(database: Database) {
    let (store, user) = store(&database).await;
    let (id, epoch) = held(&store, user).await;
    let system = store.system();
    system.finish(id, epoch, success()).await.unwrap();
    let again = system.finish(id, epoch, success()).await;
    assert!(matches!(again, Err(Error::Fenced { .. })));
    let late = system.append(id, epoch, vec![log("late")]).await;
    assert!(matches!(late, Err(Error::Fenced { .. })));
    assert!(system.claim(&claimant("two")).await.unwrap().is_none());
    let operation = store.of(user).operation(id).await.unwrap();
    assert_eq!(operation.state, OperationState::Done);
    assert_eq!(operation.last_seq, 2);
    assert!(system.open_operations().await.unwrap().is_empty());
}

async fn an_unknown_operation_is_missing(database: Database) {
    let (store, user) = store(&database).await;
    let nobody = crate::OperationId::new();
    let missing = store.of(user).operation(nobody).await;
    assert!(matches!(missing, Err(Error::Missing { what: What::Operation })));
    let missing = store.of(user).request_cancel(nobody).await;
    assert!(matches!(missing, Err(Error::Missing { what: What::Operation })));
}
