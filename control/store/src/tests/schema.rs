//! Opening, migrating and closing.

use super::{held, log, store};
use crate::{Error, testing::Database};

crate::on_both_databases!(
    migrations_run_twice,
    two_replicas_open_one_database_at_once,
    the_installation_keeps_its_id,
    a_closed_store_says_so_and_keeps_what_it_accepted,
);

async fn migrations_run_twice(database: Database) {
    let store = database.store().await.unwrap();
    store.db().migrate().await.unwrap();
    store.close().await;
    let again = database.store().await.unwrap();
    again.db().migrate().await.unwrap();
    again.ready().await.unwrap();
}

async fn two_replicas_open_one_database_at_once(database: Database) {
    let (one, two) = tokio::join!(database.store(), database.store());
    assert_eq!(one.unwrap().install(), two.unwrap().install());
}

async fn the_installation_keeps_its_id(database: Database) {
    let first = database.store().await.unwrap().install().to_owned();
    assert_eq!(first.len(), 26);
    assert_eq!(database.store().await.unwrap().install(), first);
}

async fn a_closed_store_says_so_and_keeps_what_it_accepted(database: Database) {
    let (store, user) = store(&database).await;
    let (id, epoch) = held(&store, user).await;
    let system = store.system();
    let appends: Vec<_> =
        (0..50).map(|it| system.append(id, epoch, vec![log(it.to_string())])).collect();
    let (appended, ()) = tokio::join!(futures::future::join_all(appends), async {
        tokio::task::yield_now().await;
        store.close().await;
    });
    let accepted = appended.iter().filter(|it| it.is_ok()).count();
    assert!(appended.iter().all(|it| matches!(it, Ok(_) | Err(Error::Closed))), "{appended:?}");
    assert!(matches!(store.ready().await, Err(Error::Closed)));

    let again = database.store().await.unwrap();
    let events = again.of(user).events(id, 1, 100).await.unwrap();
    assert_eq!(events.len(), accepted);
}
