//! What belongs to another user is missing, in every way of asking for it.

use super::{apps::deployed, new_operation, store};
use crate::{
    Credential, CredentialId, CredentialKind, Entry, Error, Follow, Force, NewToken, Sealed,
    Stopped,
    testing::{self, Database},
};

crate::on_both_databases!(
    another_users_rows_are_missing,
    another_users_rows_cannot_be_changed,
    names_are_free_for_each_user,
);

fn entry() -> Entry {
    Entry::done("test", "test", "test")
}

fn sealed(record: &str) -> Sealed {
    Sealed {
        record: record.to_owned(),
        version: 1,
        key_nonce: String::new(),
        wrapped_key: String::new(),
        nonce: String::new(),
        ciphertext: "secret".to_owned(),
    }
}

/// The same answer as for what does not exist at all.
#[track_caller]
fn missing<T>(answer: Result<T, Error>) {
    assert!(matches!(answer.err(), Some(Error::Missing { .. })));
}

async fn another_users_rows_are_missing(database: Database) {
    let (store, ada) = store(&database).await;
    let eve = testing::user(&store, "eve").await.unwrap().id;
    let (operation, server) = deployed(&store, ada, "shop").await;
    let app = store.of(ada).app("shop", "production").await.unwrap().id;
    store.of(ada).put_sealed(&sealed("a|b|c")).await.unwrap();

    let eve = store.of(eve);
    missing(eve.server(&server.to_string()).await);
    missing(eve.server("shop-server").await);
    missing(eve.app("shop", "production").await);
    missing(eve.release(app, 1).await);
    missing(eve.operation(operation.id).await);
    missing(eve.deployment(&operation.id.to_string()).await);
    missing(eve.events(operation.id, 0, 10).await);
    missing(eve.tail(operation.id, 0, Follow::No).await.map(drop));
    missing(eve.sealed("a|b|c").await);
    assert!(eve.servers().await.unwrap().is_empty());
    assert!(eve.apps().await.unwrap().is_empty());
    assert!(eve.apps_on(server).await.unwrap().is_empty());
    assert!(eve.app_servers(app).await.unwrap().is_empty());
    assert!(eve.releases(app).await.unwrap().is_empty());
    assert!(eve.deployments(None, None, 10).await.unwrap().is_empty());
    assert!(eve.deployment_servers(operation.id).await.unwrap().is_empty());
    assert!(eve.credentials().await.unwrap().is_empty());
    assert_eq!(eve.tokens().await.unwrap().len(), 1);
}

async fn another_users_rows_cannot_be_changed(database: Database) {
    let (store, ada) = store(&database).await;
    let eve = testing::user(&store, "eve").await.unwrap().id;
    let (operation, server) = deployed(&store, ada, "shop").await;
    let (ada, eve) = (store.of(ada), store.of(eve));
    let app = ada.app("shop", "production").await.unwrap().id;
    let open = ada.create_operation(new_operation(None), None).await.unwrap().into_inner();
    let credential = Credential {
        id: CredentialId::new(),
        kind: CredentialKind::Git,
        name: "default".to_owned(),
        detail: "github.com".to_owned(),
        key_version: 1,
        created_at: store.now(),
    };
    let secret = sealed(&Credential::record(credential.id));
    ada.add_credential(&credential, &secret, entry()).await.unwrap();

    missing(eve.request_cancel(open.id).await);
    missing(eve.remove_server(server, Force::Yes, entry()).await);
    missing(eve.set_stopped(app, Stopped::Yes, entry()).await);
    missing(eve.remove_app(app, entry()).await);
    missing(eve.remove_credential(credential.id, entry()).await);
    eve.remove_app_server(app, server).await.unwrap();
    eve.revoke_token("t-ada", entry()).await.unwrap();
    eve.remove_sealed(&secret.record).await.unwrap();
    eve.put_sealed(&Sealed { ciphertext: "mine".to_owned(), ..secret.clone() }).await.unwrap();

    assert!(!ada.operation(open.id).await.unwrap().cancel_requested);
    assert!(!ada.app("shop", "production").await.unwrap().stopped);
    assert_eq!(ada.app_servers(app).await.unwrap().len(), 1);
    assert_eq!(ada.tokens().await.unwrap().len(), 1);
    assert_eq!(ada.sealed(&secret.record).await.unwrap(), secret);
    assert_eq!(ada.credentials().await.unwrap(), [credential]);
    assert!(ada.deployment(&operation.id.to_string()).await.is_ok());
}

async fn names_are_free_for_each_user(database: Database) {
    let (store, ada) = store(&database).await;
    let eve = testing::user(&store, "eve").await.unwrap().id;
    let token = |id: &str| NewToken {
        id: id.to_owned(),
        name: "laptop".to_owned(),
        secret_sha256: "aa".to_owned(),
        read_only: true,
        expires_at: store.now(),
    };
    for (user, id) in [(ada, "one"), (eve, "two")] {
        store.of(user).add_token(token(id), entry()).await.unwrap();
        let app = if user == ada { "shop" } else { "blog" };
        deployed(&store, user, app).await;
    }
    let newest = &store.of(eve).tokens().await.unwrap()[0];
    assert!(newest.read_only && newest.id == "two");
}
