//! Deployments from their record to their end, and what they leave of apps and releases.

use std::time::Duration;

use futures::TryStreamExt as _;

use super::{claimant, is_done, log, new_operation, store, success};
use crate::{
    AppLock, DeploymentServerState, DeploymentState, Digest, Entry, Error, Failure, Follow,
    NewDeployment, NewJoinToken, Operation, Owner, Recorded, Release, Sealed, Seen, ServerId,
    ServerOutcome, SourceKind, Store, UserId, What, testing::Database,
};

crate::on_both_databases!(
    a_deployment_is_recorded_whole_or_not_at_all,
    a_successful_deployment_serves,
    a_failed_deployment_changes_nothing_that_serves,
    releases_are_numbered_and_listed_newest_first,
    an_app_is_changed_by_one_operation_at_a_time,
    what_an_agent_told_is_noted_with_its_events,
    a_deployment_is_found_by_a_prefix_that_only_it_has,
    pages_follow_each_other,
    a_blob_is_needed_until_its_deployment_ends,
    an_operation_that_nobody_can_end_is_given_up,
    a_removed_app_leaves_its_deployments_and_takes_its_secrets,
);

fn entry() -> Entry {
    Entry::done("test", "test", "test")
}

async fn server(owner: &Owner, store: &Store, name: &str) -> ServerId {
    let token = NewJoinToken {
        id: format!("j-{name}"),
        secret_sha256: "aa".to_owned(),
        expires_at: store.now().plus(Duration::from_secs(60)),
    };
    let limit = Duration::from_secs(60);
    owner.add_server(name, token, limit, entry()).await.unwrap().id
}

fn new(app: &str, servers: &[ServerId]) -> NewDeployment {
    let operation = new_operation(None);
    let secrets = Sealed {
        record: Release::record(operation.id),
        version: 1,
        key_nonce: "n".to_owned(),
        wrapped_key: "k".to_owned(),
        nonce: "n".to_owned(),
        ciphertext: "c".to_owned(),
    };
    NewDeployment {
        operation,
        app: app.to_owned(),
        environment: "production".to_owned(),
        tags: vec!["red".to_owned()],
        spec: "{}".to_owned(),
        secrets: Some(secrets),
        source: SourceKind::Image,
        source_detail: "nginx:1.27".to_owned(),
        servers: servers.to_vec(),
    }
}

async fn create(owner: &Owner, new: NewDeployment) -> Operation {
    owner.create_deployment(new, &claimant("one"), entry()).await.unwrap().into_inner()
}

fn served(server_id: ServerId) -> ServerOutcome {
    ServerOutcome {
        server_id,
        state: DeploymentServerState::Succeeded,
        image_id: "sha256:1".to_owned(),
        urls: vec!["http://web".to_owned()],
        error: None,
    }
}

async fn succeed(store: &Store, operation: &Operation, outcomes: &[ServerOutcome]) {
    let (id, epoch) = (operation.id, operation.epoch);
    let state = DeploymentState::Succeeded;
    store.system().finish_deployment(id, epoch, state, outcomes, success()).await.unwrap();
}

async fn a_deployment_is_recorded_whole_or_not_at_all(database: Database) {
    let (store, user) = store(&database).await;
    let owner = store.of(user);
    let web = server(&owner, &store, "web").await;
    let refused = owner
        .create_deployment(new("shop", &[web, ServerId::new()]), &claimant("one"), entry())
        .await;
    assert!(matches!(refused, Err(Error::Missing { what: What::Server })));
    assert!(owner.apps().await.unwrap().is_empty());
    assert!(owner.deployments(None, None, 10).await.unwrap().is_empty());
    assert!(store.system().open_operations().await.unwrap().is_empty());

    let mut keyed = new("shop", &[web]);
    keyed.operation.idempotency_key = Some("key".to_owned());
    let first = create(&owner, keyed.clone()).await;
    keyed.operation.id = crate::OperationId::new();
    let again = owner.create_deployment(keyed, &claimant("one"), entry()).await.unwrap();
    assert!(matches!(&again, Recorded::Existing(it) if it.id == first.id));

    let deployment = owner.deployment(&first.id.to_string()).await.unwrap();
    assert_eq!(deployment.state, DeploymentState::Queued);
    assert_eq!((deployment.app.as_str(), deployment.release, deployment.last_seq), ("shop", 1, 1));
    let servers = owner.deployment_servers(first.id).await.unwrap();
    assert_eq!(servers.len(), 1);
    assert_eq!(servers[0].state, DeploymentServerState::Pending);
    assert!(owner.sealed(&Release::record(first.id)).await.is_ok());
}

async fn a_successful_deployment_serves(database: Database) {
    let (store, user) = store(&database).await;
    let owner = store.of(user);
    let (web, db) = (server(&owner, &store, "web").await, server(&owner, &store, "db").await);
    let operation = create(&owner, new("shop", &[web, db])).await;
    store
        .system()
        .set_deployment_state(operation.id, operation.epoch, DeploymentState::Running)
        .await
        .unwrap();
    succeed(&store, &operation, &[served(web), served(db)]).await;

    let apps = owner.apps().await.unwrap();
    assert_eq!(apps.len(), 1);
    assert_eq!(apps[0].app.release, 1);
    assert_eq!(apps[0].app.tags.0, ["red"]);
    assert!(apps[0].app.deployed_at.is_some());
    assert_eq!(apps[0].last_deployment, Some(DeploymentState::Succeeded));
    let names: Vec<_> = apps[0].servers.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["db", "web"]);
    assert_eq!(apps[0].servers[0].urls.0, ["http://web"]);
    assert_eq!(owner.apps_on(web).await.unwrap(), ["shop"]);
    let in_use = owner.remove_server(web, crate::Force::No, entry()).await;
    assert!(matches!(in_use, Err(Error::InUse { .. })));

    let releases = owner.releases(apps[0].app.id).await.unwrap();
    assert!(releases[0].kept && releases[0].committed_at.is_some());
    assert_eq!(releases[0].image_id, "sha256:1");
    let deployment = owner.deployment(&operation.id.to_string()).await.unwrap();
    assert_eq!(deployment.state, DeploymentState::Succeeded);
    assert!(deployment.ended_at.is_some());
    let events = owner.events(operation.id, 0, 10).await.unwrap();
    assert!(is_done(&events.last().unwrap().body));
}

async fn a_failed_deployment_changes_nothing_that_serves(database: Database) {
    let (store, user) = store(&database).await;
    let owner = store.of(user);
    let web = server(&owner, &store, "web").await;
    succeed(&store, &create(&owner, new("shop", &[web])).await, &[served(web)]).await;
    let before = owner.app("shop", "production").await.unwrap();

    let operation = create(&owner, new("shop", &[web])).await;
    let failure = Failure {
        code: "SW-HEALTH-TIMEOUT".to_owned(),
        message: "not healthy after 60s".to_owned(),
        exit_code: Some(1),
        last_lines: vec!["boom".to_owned()],
        ..Failure::default()
    };
    let mut outcome = served(web);
    outcome.state = DeploymentServerState::Failed;
    outcome.error = Some(failure.clone());
    let done = crate::Done { error: Some(failure.clone()), ..crate::Done::default() };
    let (id, epoch) = (operation.id, operation.epoch);
    store
        .system()
        .finish_deployment(id, epoch, DeploymentState::Failed, &[outcome], done)
        .await
        .unwrap();

    let after = owner.app("shop", "production").await.unwrap();
    assert_eq!((after.release, after.deployed_at), (before.release, before.deployed_at));
    assert_eq!(owner.app_servers(after.id).await.unwrap()[0].release, 1);
    let deployment = owner.deployment(&id.to_string()).await.unwrap();
    assert_eq!(deployment.error.unwrap().0, failure);
    let servers = owner.deployment_servers(id).await.unwrap();
    assert_eq!(servers[0].error.as_ref().unwrap().0, failure);
    let releases = owner.releases(after.id).await.unwrap();
    assert!(!releases[0].kept && releases[0].committed_at.is_none());
}

async fn releases_are_numbered_and_listed_newest_first(database: Database) {
    let (store, user) = store(&database).await;
    let owner = store.of(user);
    let web = server(&owner, &store, "web").await;
    let created =
        futures::future::join_all((0..5).map(|_| create(&owner, new("shop", &[web])))).await;
    assert_eq!(created.len(), 5);
    let app = owner.app("shop", "production").await.unwrap();
    let numbers: Vec<_> =
        owner.releases(app.id).await.unwrap().into_iter().map(|it| it.number).collect();
    assert_eq!(numbers, [5, 4, 3, 2, 1]);
    assert_eq!(owner.release(app.id, 3).await.unwrap().number, 3);
    let missing = owner.release(app.id, 6).await;
    assert!(matches!(missing, Err(Error::Missing { what: What::Release })));
    store.system().forget_release_image(app.id, 3).await.unwrap();
    assert!(!owner.release(app.id, 3).await.unwrap().kept);
}

async fn an_app_is_changed_by_one_operation_at_a_time(database: Database) {
    let (store, user) = store(&database).await;
    let owner = store.of(user);
    let system = store.system();
    let web = server(&owner, &store, "web").await;
    let one = create(&owner, new("shop", &[web])).await;
    let two = create(&owner, new("shop", &[web])).await;
    let other = create(&owner, new("blog", &[web])).await;
    let app = owner.app("shop", "production").await.unwrap().id;
    let blog = owner.app("blog", "production").await.unwrap().id;

    let lock = async |it: &Operation, app| system.lock_app(it.id, it.epoch, app).await.unwrap();
    assert_eq!(lock(&one, app).await, AppLock::Held);
    assert_eq!(lock(&one, app).await, AppLock::Held);
    assert_eq!(lock(&two, app).await, AppLock::HeldBy(one.id));
    assert_eq!(lock(&other, blog).await, AppLock::Held);

    let mut freed = system.watch_app(app);
    succeed(&store, &one, &[served(web)]).await;
    freed.wait_at_most(Duration::from_secs(3600)).await;
    assert_eq!(lock(&two, app).await, AppLock::Held);
    let ended = system.lock_app(one.id, one.epoch, app).await;
    assert!(matches!(ended, Err(Error::Fenced { .. })));
}

async fn what_an_agent_told_is_noted_with_its_events(database: Database) {
    let (store, user) = store(&database).await;
    let owner = store.of(user);
    let system = store.system();
    let web = server(&owner, &store, "web").await;
    let Operation { id, epoch, .. } = create(&owner, new("shop", &[web])).await;
    let seen = |agent_seq| Seen { server: web, agent_seq };
    system.append_seen(id, epoch, vec![log("a"), log("b")], seen(2)).await.unwrap();
    let noted = async || system.deployment_servers(id).await.unwrap()[0].agent_seq;
    assert_eq!(noted().await, 2);
    system.append_seen(id, epoch, vec![], seen(1)).await.unwrap();
    assert_eq!(noted().await, 2, "it never goes back");
    let stale = crate::store::Epoch(epoch.0 - 1);
    assert!(system.append_seen(id, stale, vec![log("c")], seen(3)).await.is_err());
    assert_eq!(noted().await, 2);
}

async fn a_deployment_is_found_by_a_prefix_that_only_it_has(database: Database) {
    let (store, user) = store(&database).await;
    let owner = store.of(user);
    let web = server(&owner, &store, "web").await;
    let (one, two) =
        (create(&owner, new("shop", &[web])).await, create(&owner, new("shop", &[web])).await);
    let whole = one.id.to_string();
    assert_eq!(owner.deployment(&whole).await.unwrap().id, one.id);
    assert_eq!(owner.deployment(&whole.to_uppercase()).await.unwrap().id, one.id);
    // UUIDv7: made in the same moment, they begin alike.
    let common = whole.chars().zip(two.id.to_string().chars()).take_while(|(a, b)| a == b).count();
    let prefix = |len: usize| whole.chars().take(len).collect::<String>();
    assert_eq!(owner.deployment(&prefix(common + 1)).await.unwrap().id, one.id);
    let ambiguous = owner.deployment(&prefix(6)).await;
    assert!(matches!(ambiguous, Err(Error::Ambiguous { .. })));
    for wrong in [prefix(5).as_str(), "", "%%%%%%%", "' or 1 = 1 --", "zzzzzzzz"] {
        let missing = owner.deployment(wrong).await;
        assert!(matches!(missing, Err(Error::Missing { .. })), "{wrong}");
    }
}

async fn pages_follow_each_other(database: Database) {
    let (store, user) = store(&database).await;
    let owner = store.of(user);
    let web = server(&owner, &store, "web").await;
    for turn in 0..7 {
        create(&owner, new(if turn % 2 == 0 { "even" } else { "odd" }, &[web])).await;
    }
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = owner.deployments(None, before, 3).await.unwrap();
        before = page.last().map(|it| it.id);
        if before.is_none() {
            break;
        }
        seen.extend(page.into_iter().map(|it| it.id));
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.iter().rev().is_sorted());
    assert_eq!(owner.deployments(Some("even"), None, 10).await.unwrap().len(), 4);
    assert!(owner.deployments(Some("none"), None, 10).await.unwrap().is_empty());
}

async fn a_blob_is_needed_until_its_deployment_ends(database: Database) {
    let (store, user) = store(&database).await;
    let owner = store.of(user);
    let system = store.system();
    let web = server(&owner, &store, "web").await;
    let operation = create(&owner, new("shop", &[web])).await;
    let digest = Digest::new([7; 32]);
    system.set_deployment_blob(operation.id, operation.epoch, digest).await.unwrap();
    assert!(system.needed_blobs().await.unwrap().contains(&digest));
    succeed(&store, &operation, &[served(web)]).await;
    assert!(system.needed_blobs().await.unwrap().is_empty());
}

async fn an_operation_that_nobody_can_end_is_given_up(database: Database) {
    let (store, user) = store(&database).await;
    let owner = store.of(user);
    let system = store.system();
    let web = server(&owner, &store, "web").await;
    let Operation { id, epoch, .. } = create(&owner, new("shop", &[web])).await;
    let failure = Failure { code: "SW-INTERNAL".to_owned(), ..Failure::default() };
    system.abandon(id, epoch, failure).await.unwrap();
    let deployment = system.deployment(id).await.unwrap();
    assert_eq!(deployment.state, DeploymentState::Stuck);
    let events: Vec<_> = system.tail(id, 0, Follow::Yes).try_collect().await.unwrap();
    assert!(events.last().unwrap().is_last());
}

async fn a_removed_app_leaves_its_deployments_and_takes_its_secrets(database: Database) {
    let (store, user) = store(&database).await;
    let owner = store.of(user);
    let web = server(&owner, &store, "web").await;
    let operation = create(&owner, new("shop", &[web])).await;
    succeed(&store, &operation, &[served(web)]).await;
    let app = owner.app("shop", "production").await.unwrap();

    let runs = owner.remove_app(app.id, entry()).await;
    assert!(matches!(runs, Err(Error::InUse { .. })));
    assert_eq!(owner.app("shop", "production").await.unwrap().id, app.id, "it was rolled back");
    owner.remove_app_server(app.id, web).await.unwrap();
    owner.remove_app(app.id, entry()).await.unwrap();

    assert!(owner.app("shop", "production").await.is_err());
    assert!(owner.sealed(&Release::record(operation.id)).await.is_err());
    assert!(owner.deployment(&operation.id.to_string()).await.is_ok());
    let again = create(&owner, new("shop", &[web])).await;
    assert_eq!(owner.deployment(&again.id.to_string()).await.unwrap().release, 1);
}

/// A user's app that serves, for tests of other things.
pub(super) async fn deployed(store: &Store, user: UserId, app: &str) -> (Operation, ServerId) {
    let owner = store.of(user);
    let web = server(&owner, store, &format!("{app}-server")).await;
    let operation = create(&owner, new(app, &[web])).await;
    succeed(store, &operation, &[served(web)]).await;
    (operation, web)
}
