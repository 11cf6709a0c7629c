use std::time::Duration;

use http::HeaderValue;
use slipway_host::clock::Clock;
use slipway_store::{Entry, User};

use super::*;

struct Home {
    store: Store,
    auth: Auth,
    clock: Clock,
    pin: slipway_proto::token::Pin,
    _dir: tempfile::TempDir,
}

impl Home {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("db").display());
        let clock = Clock::manual(Clock::system().now());
        let store = Store::open_with(&url, dir.path(), clock.clone()).await.unwrap();
        let pin = slipway_proto::token::Pin::of(b"root");
        Self { auth: Auth::new(store.clone()), store, clock, pin, _dir: dir }
    }

    async fn user(&self, name: &str, admin: bool, read_only: bool) -> (User, String) {
        let ttl = Duration::from_hours(1);
        let (text, new) = token::api(&self.pin, "t", read_only, self.store.now(), ttl);
        let audit = Entry::done("system", "user.create", name);
        let user = self.store.system().add_user(name, admin, new, audit).await.unwrap();
        (user, text.expose().clone())
    }

    async fn call(&self, values: &[&str]) -> Result<Caller, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let addr = ([192, 0, 2, 1], 1).into();
        self.auth.authenticate(&Peer::Tls { certificate: None, addr }, &headers).await
    }

    async fn code(&self, values: &[&str]) -> String {
        let result = self.call(values).await;
        result.map_or_else(|it| it.code.into_owned(), |it| format!("{:?}", it.role))
    }
}

#[tokio::test]
async fn a_token_signs_its_user_in_and_nobody_else() {
    let home = Home::new().await;
    let (ana, token) = home.user("ana", false, true).await;
    let (_, admin) = home.user("bob", true, false).await;
    let caller = home.call(&[&format!("Bearer {token}")]).await.unwrap();
    assert_eq!((caller.role, caller.read_only), (Role::User, true));
    assert_eq!(caller.user_id(), Some(ana.id.to_string().as_str()));
    assert_eq!(home.code(&[&format!("bearer {admin}")]).await, "Admin");
    assert_eq!(home.code(&[]).await, "Anyone");
    let owner = home.store.of(ana.id);
    assert!(owner.tokens().await.unwrap()[0].last_used_at.is_some());

    // The other user's secret behind this token's id.
    let (head, _) = token.rsplit_once('_').unwrap();
    let (_, secret) = admin.rsplit_once('_').unwrap();
    let mixed = format!("Bearer {head}_{secret}");
    let good = format!("Bearer {token}");
    for values in [
        vec![mixed.as_str()],
        vec![token.as_str()],
        vec!["Basic YTpi"],
        vec!["Bearer "],
        vec!["Bearer swp_x"],
        vec![good.as_str(), good.as_str()],
    ] {
        assert_eq!(home.code(&values).await, "SW-TOKEN", "{values:?}");
    }
}

#[tokio::test]
async fn an_expired_and_a_revoked_token_sign_nobody_in() {
    let home = Home::new().await;
    let (ana, token) = home.user("ana", false, false).await;
    let value = format!("Bearer {token}");
    home.clock.advance(Duration::from_hours(1));
    assert_eq!(home.code(&[&value]).await, "SW-TOKEN-EXPIRED");
    let id = ApiToken::parse(&token).unwrap().id().to_owned();
    let audit = Entry::done("user:ana", "token.revoke", &id);
    home.store.of(ana.id).revoke_token(&id, audit).await.unwrap();
    assert_eq!(home.code(&[&value]).await, "SW-TOKEN");
}
