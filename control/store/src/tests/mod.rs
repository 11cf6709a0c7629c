//! What the store promises, on both databases from one text.

mod apps;
mod audit;
mod enrollment;
mod events;
mod operations;
mod schema;
mod tenants;

use std::time::Duration;

use crate::{
    Claimant, Done, Epoch, EventBody, NewEvent, NewOperation, Operation, OperationId, StepState,
    Store, UserId,
    testing::{self, Database},
};

/// A store with a user.
async fn store(database: &Database) -> (Store, UserId) {
    let store = database.store().await.unwrap();
    let user = testing::user(&store, "ada").await.unwrap();
    (store, user.id)
}

fn claimant(owner: &str) -> Claimant {
    Claimant { owner: owner.to_owned(), lease: Duration::from_secs(15) }
}

/// A replica whose leases end at once.
fn forgetful(owner: &str) -> Claimant {
    Claimant { owner: owner.to_owned(), lease: Duration::ZERO }
}

fn new_operation(key: Option<&str>) -> NewOperation {
    NewOperation {
        id: OperationId::new(),
        kind: "test",
        input: "{}".to_owned(),
        idempotency_key: key.map(str::to_owned),
        deadline: Duration::from_secs(60),
        first: NewEvent::step("plan", StepState::Started, 0),
    }
}

/// Records an operation that `one` holds.
async fn held(store: &Store, user: UserId) -> (OperationId, Epoch) {
    let new = new_operation(None);
    let recorded = store.of(user).create_operation(new, Some(&claimant("one"))).await.unwrap();
    let Operation { id, epoch, .. } = recorded.into_inner();
    (id, epoch)
}

fn log(message: impl Into<String>) -> NewEvent {
    NewEvent::log("build", message)
}

fn success() -> Done {
    Done { success: true, ..Done::default() }
}

fn is_done(body: &EventBody) -> bool {
    matches!(body, EventBody::Done(done) if done.success)
}
