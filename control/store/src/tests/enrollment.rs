//! Join tokens, certificates, sessions, sign-in.

use std::time::{Duration, SystemTime};

use futures::future::join_all;
use slipway_host::clock::Clock;

use super::store;
use crate::{
    AgentFacts, Ca, CaRole, Cert, CertProfile, Enrolled, Enrollment, Entry, Force, JsonText,
    NewJoinToken, Sealed, Server, ServerState, Store, UserId,
    testing::{self, Database},
};

crate::on_both_databases!(
    of_fifty_enrollments_with_one_token_one_wins,
    the_same_key_gets_the_same_certificate_again,
    a_wrong_late_or_unknown_token_is_refused,
    a_removed_server_takes_its_certificates_and_session_along,
    a_server_is_online_exactly_while_its_session_lives,
    a_server_that_does_not_enroll_fails,
    of_two_first_starts_one_makes_the_authorities,
    a_token_signs_in_until_it_is_revoked,
);

const TTL: Duration = Duration::from_secs(900);

fn entry() -> Entry {
    Entry::done("test", "test", "test")
}

async fn server(store: &Store, user: UserId, name: &str) -> Server {
    let token = NewJoinToken {
        id: format!("j-{name}"),
        secret_sha256: "aa".to_owned(),
        expires_at: store.now().plus(TTL),
    };
    store.of(user).add_server(name, token, TTL, entry()).await.unwrap()
}

fn enrollment(name: &str, user: UserId, agent: &str) -> Enrollment {
    let cert = Cert {
        serial: format!("serial-{agent}"),
        profile: CertProfile::Agent,
        spki_sha256: format!("spki-{agent}"),
        user: Some(user),
        agent_id: Some(agent.to_owned()),
        chain: JsonText(vec!["AAAA".to_owned()]),
        not_after: crate::At::from_micros(i64::MAX),
    };
    let facts = AgentFacts { address: "10.0.0.1:9999".to_owned(), ..AgentFacts::default() };
    Enrollment { token: format!("j-{name}"), secret_sha256: "aa".to_owned(), cert, facts }
}

async fn of_fifty_enrollments_with_one_token_one_wins(database: Database) {
    let (store, user) = store(&database).await;
    server(&store, user, "web").await;
    let enroll = |turn: usize| {
        let store = store.clone();
        let new = enrollment("web", user, &format!("agent-{turn}"));
        async move { store.system().enroll(new, entry()).await.unwrap() }
    };
    let outcomes = join_all((0..50).map(enroll)).await;
    let won: Vec<_> = outcomes.iter().filter(|it| matches!(it, Enrolled::New(_))).collect();
    let used = outcomes.iter().filter(|it| matches!(it, Enrolled::Used)).count();
    assert_eq!((won.len(), used), (1, 49));

    let server = store.of(user).server("web").await.unwrap();
    assert_eq!(server.state, ServerState::Offline);
    let agent = server.agent_id.unwrap();
    for turn in 0..50 {
        let serial = format!("serial-agent-{turn}");
        let cert = store.system().active_cert(&serial).await.unwrap();
        assert_eq!(cert.is_some(), agent == format!("agent-{turn}"));
    }
}

async fn the_same_key_gets_the_same_certificate_again(database: Database) {
    let (store, user) = store(&database).await;
    server(&store, user, "web").await;
    let system = store.system();
    let new = enrollment("web", user, "agent-1");
    assert!(matches!(system.enroll(new.clone(), entry()).await, Ok(Enrolled::New(_))));

    let mut again = new.clone();
    again.cert.serial = "another-serial".to_owned();
    again.cert.agent_id = Some("agent-2".to_owned());
    let Ok(Enrolled::Again(server, cert)) = system.enroll(again, entry()).await else { panic!() };
    assert_eq!(server.agent_id.as_deref(), Some("agent-1"));
    assert_eq!(cert, new.cert);
    assert!(system.active_cert("another-serial").await.unwrap().is_none());
}

async fn a_wrong_late_or_unknown_token_is_refused(database: Database) {
    let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    let store = database.store_with(clock.clone()).await.unwrap();
    let user = testing::user(&store, "ada").await.unwrap().id;
    server(&store, user, "web").await;
    let system = store.system();

    let mut wrong = enrollment("web", user, "agent-1");
    wrong.secret_sha256 = "bb".to_owned();
    assert!(matches!(system.enroll(wrong, entry()).await, Ok(Enrolled::Unknown)));
    let nobody = enrollment("other", user, "agent-1");
    assert!(matches!(system.enroll(nobody, entry()).await, Ok(Enrolled::Unknown)));
    clock.advance(TTL);
    let late = enrollment("web", user, "agent-1");
    assert!(matches!(system.enroll(late, entry()).await, Ok(Enrolled::Expired)));
    assert!(store.of(user).server("web").await.unwrap().agent_id.is_none());
}

async fn a_removed_server_takes_its_certificates_and_session_along(database: Database) {
    let (store, user) = store(&database).await;
    let (system, owner) = (store.system(), store.of(user));
    let server = server(&store, user, "web").await;
    system.enroll(enrollment("web", user, "agent-1"), entry()).await.unwrap();
    system.open_session("agent-1", "s1", "replica", &AgentFacts::default()).await.unwrap();

    owner.remove_server(server.id, Force::No, entry()).await.unwrap();
    assert!(system.active_cert("serial-agent-1").await.unwrap().is_none());
    assert!(!system.heartbeat("agent-1", "s1", &[], "{}").await.unwrap());
    assert!(system.server_of_agent("agent-1").await.is_err());
    assert!(owner.server("web").await.is_err());
    assert!(owner.remove_server(server.id, Force::Yes, entry()).await.is_err());
    // Its name is free again.
    let token = NewJoinToken {
        id: "j-2".to_owned(),
        secret_sha256: "aa".to_owned(),
        expires_at: store.now().plus(TTL),
    };
    owner.add_server("web", token, TTL, entry()).await.unwrap();
}

async fn a_server_is_online_exactly_while_its_session_lives(database: Database) {
    let (store, user) = store(&database).await;
    let (system, owner) = (store.system(), store.of(user));
    server(&store, user, "web").await;
    system.enroll(enrollment("web", user, "agent-1"), entry()).await.unwrap();
    let state = async || owner.server("web").await.unwrap().state;
    let facts = AgentFacts { agent_version: "1.2.3".to_owned(), ..AgentFacts::default() };

    let open = system.open_session("agent-1", "s1", "one", &facts).await.unwrap();
    assert_eq!((open.state, open.agent_version.as_str()), (ServerState::Online, "1.2.3"));
    assert!(system.heartbeat("agent-1", "s1", &["disk".to_owned()], "{}").await.unwrap());
    assert_eq!(owner.server("web").await.unwrap().problems.0, ["disk"]);

    // A new session ends the old one, whose late end changes nothing.
    system.open_session("agent-1", "s2", "one", &facts).await.unwrap();
    assert!(!system.heartbeat("agent-1", "s1", &[], "{}").await.unwrap());
    system.close_session("agent-1", "s1").await.unwrap();
    assert_eq!(state().await, ServerState::Online);
    system.close_session("agent-1", "s2").await.unwrap();
    assert_eq!(state().await, ServerState::Offline);

    system.open_session("agent-1", "s3", "one", &facts).await.unwrap();
    assert_eq!(system.close_sessions_of("two").await.unwrap(), 0);
    assert_eq!(system.close_sessions_of("one").await.unwrap(), 1);
    assert_eq!(state().await, ServerState::Offline);

    system.open_session("agent-1", "s4", "two", &facts).await.unwrap();
    let soon = store.now().plus(TTL);
    assert_eq!(system.close_silent_sessions(soon).await.unwrap(), 1);
    assert_eq!(state().await, ServerState::Offline);
}

async fn a_server_that_does_not_enroll_fails(database: Database) {
    let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    let store = database.store_with(clock.clone()).await.unwrap();
    let user = testing::user(&store, "ada").await.unwrap().id;
    server(&store, user, "late").await;
    server(&store, user, "here").await;
    let system = store.system();
    system.enroll(enrollment("here", user, "agent-1"), entry()).await.unwrap();
    clock.advance(TTL);
    assert!(system.fail_overdue_servers("no_contact").await.unwrap().is_empty());
    clock.advance(Duration::from_micros(1));
    assert_eq!(system.fail_overdue_servers("no_contact").await.unwrap(), ["late"]);
    let failed = store.of(user).server("late").await.unwrap();
    assert_eq!((failed.state, failed.reason.as_str()), (ServerState::Failed, "no_contact"));
}

async fn of_two_first_starts_one_makes_the_authorities(database: Database) {
    let (one, two) = (database.store().await.unwrap(), database.store().await.unwrap());
    let authorities = |name: &str| {
        [CaRole::Root, CaRole::Issuing].map(|role| {
            let id = format!("{name}-{role:?}");
            let sealed = Sealed {
                record: Ca::record(&id),
                version: 1,
                key_nonce: String::new(),
                wrapped_key: String::new(),
                nonce: String::new(),
                ciphertext: id.clone(),
            };
            let not_after = crate::At::from_micros(9);
            (Ca { id, role, certificate: "AAAA".to_owned(), not_after }, sealed)
        })
    };
    let (of_one, of_two) = (authorities("one"), authorities("two"));
    let (first, second) = (one.system(), two.system());
    let (kept, also) =
        tokio::join!(first.add_authorities(&of_one), second.add_authorities(&of_two));
    let kept = kept.unwrap();
    assert_eq!(kept, also.unwrap());
    assert_eq!(kept.len(), 2);
    for ca in &kept {
        assert_eq!(first.sealed(&Ca::record(&ca.id)).await.unwrap().ciphertext, ca.id);
    }
}

async fn a_token_signs_in_until_it_is_revoked(database: Database) {
    let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    let store = database.store_with(clock.clone()).await.unwrap();
    let user = testing::user(&store, "ada").await.unwrap();
    let (system, owner) = (store.system(), store.of(user.id));
    let sign_in = system.sign_in("t-ada").await.unwrap().unwrap();
    assert_eq!(sign_in.user, user);
    assert_eq!(owner.me().await.unwrap(), user);

    let used = async || owner.tokens().await.unwrap()[0].last_used_at;
    assert!(used().await.is_none());
    system.touch_token("t-ada").await.unwrap();
    let first = used().await.unwrap();
    assert_eq!(first.micros() % 60_000_000, 0);
    clock.advance(Duration::from_secs(60));
    system.touch_token("t-ada").await.unwrap();
    assert_eq!(used().await.unwrap().since(first), Duration::from_secs(60));

    owner.revoke_token("t-ada", entry()).await.unwrap();
    owner.revoke_token("t-ada", entry()).await.unwrap();
    assert!(system.sign_in("t-ada").await.unwrap().is_none());
}
