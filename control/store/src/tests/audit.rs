//! A changed, missing, moved or cut row of the audit log shows.

use futures::future::join_all;

use super::store;
use crate::{Entry, Store, Verified, db::query, testing::Database};

crate::on_both_databases!(
    an_untouched_log_is_whole_however_many_write,
    every_kind_of_tampering_shows,
    a_refused_change_leaves_no_entry,
);

async fn verified(store: &Store) -> Verified {
    store.system().verify_audit().await.unwrap()
}

async fn an_untouched_log_is_whole_however_many_write(database: Database) {
    let (store, _) = store(&database).await;
    let other = database.store().await.unwrap();
    let write = |turn: usize| {
        let store = if turn.is_multiple_of(2) { store.clone() } else { other.clone() };
        async move {
            let entry = Entry::done("user:ada", "test", turn.to_string());
            store.system().audit(entry).await.unwrap();
        }
    };
    join_all((0..40).map(write)).await;
    // One more for the user.
    assert!(matches!(verified(&store).await, Verified::Whole { rows: 41, .. }));
    let rows = store.system().audit_rows(39, 100).await.unwrap();
    assert_eq!(rows.iter().map(|it| it.seq).collect::<Vec<_>>(), [40, 41]);
    assert_eq!(rows[0].hash, rows[1].prev_hash);
}

async fn every_kind_of_tampering_shows(database: Database) {
    const BROKEN: &[(&str, &str, i64)] = &[
        ("a changed part", "update audit set actor = 'user:eve' where seq = 3", 3),
        ("a changed time", "update audit set at = at + 1 where seq = 3", 3),
        ("a changed hash", "update audit set hash = prev_hash where seq = 3", 3),
        ("a missing row", "delete from audit where seq = 3", 3),
        ("the first row missing", "delete from audit where seq = 1", 1),
        ("a cut end", "delete from audit where seq >= 5", 5),
        (
            "text moved between parts",
            "update audit set action = 'te', object = 'st3' where seq = 3",
            3,
        ),
        ("a shortened head", "update audit_head set seq = 4", 4),
    ];
    const ROWS: &str = "insert into kept select * from audit";
    const HEAD: &str = "insert into kept_head select * from audit_head";
    let (store, _) = store(&database).await;
    for turn in 0..6 {
        let entry = Entry::done("user:ada", "test", turn.to_string());
        store.system().audit(entry).await.unwrap();
    }
    let run = async |text: &'static str| {
        store.db().execute(query("tamper", text)).await.unwrap();
    };
    run("create table kept as select * from audit where seq < 0").await;
    run("create table kept_head as select * from audit_head where seq < 0").await;
    run(ROWS).await;
    run(HEAD).await;
    for (what, tamper, seq) in BROKEN {
        run(tamper).await;
        assert_eq!(verified(&store).await, Verified::Broken { seq: *seq }, "{what}");
        run("delete from audit").await;
        run("delete from audit_head").await;
        run("insert into audit select * from kept").await;
        run("insert into audit_head select * from kept_head").await;
        assert!(matches!(verified(&store).await, Verified::Whole { rows: 7, .. }), "{what}");
    }
}

async fn a_refused_change_leaves_no_entry(database: Database) {
    let (store, _) = store(&database).await;
    assert!(crate::testing::user(&store, "ada").await.is_err());
    assert!(matches!(verified(&store).await, Verified::Whole { rows: 1, .. }));
}
