//! Prints how fast the store is: `cargo run --example figures -- [URL]…`. Without an address it
//! takes a file of SQLite in the temporary folder. The database should be empty.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::unwrap_used, reason = "a broken measurement has no figures")]

use std::time::{Duration, Instant};

use futures::{StreamExt as _, future::join_all};
use slipway_store::{
    Claimant, Done, Entry, Epoch, Follow, NewEvent, NewOperation, NewToken, OperationId, Recorded,
    StepState, Store, UserId,
};

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let mut urls: Vec<_> = std::env::args().skip(1).collect();
    if urls.is_empty() {
        urls.push(format!("sqlite://{}/slipway.db", folder.path().display()));
    }
    for url in urls {
        let store = Store::open(&url, folder.path()).await.unwrap();
        println!("{}", url.split("://").next().unwrap());
        let user = user(&store).await;
        events(&store, user).await;
        claims(&store, user).await;
        wake(&store, user).await;
    }
}

async fn user(store: &Store) -> UserId {
    let token = NewToken {
        id: "figures".to_owned(),
        name: "figures".to_owned(),
        secret_sha256: "00".to_owned(),
        read_only: false,
        expires_at: store.now(),
    };
    let entry = Entry::done("figures", "user.create", "figures");
    store.system().add_user("figures", false, token, entry).await.unwrap().id
}

async fn create(store: &Store, user: UserId, by: Option<&Claimant>) -> (OperationId, Epoch) {
    let new = NewOperation {
        id: OperationId::new(),
        kind: "figures",
        input: "{}".to_owned(),
        idempotency_key: None,
        deadline: Duration::from_secs(60),
        first: NewEvent::step("plan", StepState::Started, 0),
    };
    match store.of(user).create_operation(new, by).await.unwrap() {
        Recorded::New(it) | Recorded::Existing(it) => (it.id, it.epoch),
    }
}

fn me() -> Claimant {
    Claimant { owner: "figures".to_owned(), lease: Duration::from_secs(15) }
}

fn line() -> NewEvent {
    NewEvent::log("build", "Step 3/9 : RUN cargo build --release --locked").on("brave-otter")
}

fn rate(what: &str, count: u32, start: Instant) {
    let elapsed = start.elapsed();
    println!(
        "  {what}: {count} in {:.1} ms, {:.0}/s, {:.0} µs each",
        elapsed.as_secs_f64() * 1e3,
        f64::from(count) / elapsed.as_secs_f64(),
        elapsed.as_secs_f64() * 1e6 / f64::from(count)
    );
}

async fn events(store: &Store, user: UserId) {
    let system = store.system();
    let (id, epoch) = create(store, user, Some(&me())).await;
    let start = Instant::now();
    for _ in 0..1000 {
        system.append(id, epoch, vec![line()]).await.unwrap();
    }
    rate("events, one after the other, each durable", 1000, start);

    let mut operations = Vec::new();
    for _ in 0..16 {
        operations.push(create(store, user, Some(&me())).await);
    }
    let start = Instant::now();
    join_all(operations.iter().map(|(id, epoch)| async {
        for _ in 0..250 {
            system.append(*id, *epoch, vec![line()]).await.unwrap();
        }
    }))
    .await;
    rate("events, 16 operations, each durable", 4000, start);

    let (id, epoch) = create(store, user, Some(&me())).await;
    let start = Instant::now();
    for _ in 0..9 {
        system.append(id, epoch, vec![line(); 1000]).await.unwrap();
    }
    rate("events, 1000 at a time", 9000, start);

    let start = Instant::now();
    let read = system.tail(id, 0, Follow::No).count().await;
    rate("events read", u32::try_from(read).unwrap(), start);
    system.finish(id, epoch, Done::default()).await.unwrap();
}

async fn claims(store: &Store, user: UserId) {
    let start = Instant::now();
    for _ in 0..200 {
        create(store, user, None).await;
    }
    rate("operations recorded", 200, start);
    let start = Instant::now();
    let mut claimed = 0;
    while store.system().claim(&me()).await.unwrap().is_some() {
        claimed += 1;
    }
    rate("operations claimed", claimed, start);
    let start = Instant::now();
    for _ in 0..200 {
        store.system().claim(&me()).await.unwrap();
    }
    rate("looks that find nothing", 200, start);
}

/// From the append to a follower that waits.
async fn wake(store: &Store, user: UserId) {
    let system = store.system();
    let (id, epoch) = create(store, user, Some(&me())).await;
    let mut tail = Box::pin(system.tail(id, 1, Follow::Yes));
    let mut waited = Duration::ZERO;
    for _ in 0..200 {
        let start = Instant::now();
        let (event, _) = tokio::join!(tail.next(), system.append(id, epoch, vec![line()]));
        event.unwrap().unwrap();
        waited += start.elapsed();
    }
    println!("  append to follower: {:.0} µs", waited.as_secs_f64() * 1e6 / 200.0);
}
