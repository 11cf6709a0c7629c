//! Joining, proving and renewing, with a stand-in for the control plane on loopback.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderValue};
use slipway_host::clock::Clock;
use slipway_proto::{control::v1::AcceptedKey, key::NodeKey, policy::Role, problem::Problem};
use slipway_transport::{
    Authenticate as _, Caller, Certificate, Channel, Guard, Peer, agent_name,
    channel::unary,
    listener::{Limits, serve_tls},
    peer,
    testing::{Authority, agent, control, operator},
    tls::{ClientAuth, ClientTls, Protocols, ServerTls},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{
    enroll::{About, Join, Refused, enroll},
    home::Names,
    renew::Key,
    *,
};
use crate::stand_in::StandIn;

fn node_key() -> NodeKey {
    NodeKey::derive(b"dop_v1_test", "u")
}

/// An identity on disk, as after joining.
pub(crate) fn joined(dir: &Path, authority: &Authority, control: &str) -> Arc<Identity> {
    let key = Key::new().unwrap();
    let now = Clock::system().now();
    let from = now - Duration::from_hours(1);
    let spki = key.spki();
    let who = agent("u", "a");
    let chain = authority.sign(&who, &spki, from, now + Duration::from_hours(24)).unwrap();
    let names = Names { server_name: "web-1".into(), control: control.into(), droplet_id: 7 };
    let home = Home::open(dir).unwrap();
    home.save(&Saved::new(&key, &chain, &authority.roots(), names).unwrap()).unwrap();
    let accepted =
        AcceptedKey { sha256: node_key().hash().bytes().to_vec().into(), not_after: None };
    Keys::load(&home).unwrap().replace(&[accepted]).unwrap();
    Identity::load(dir).unwrap().unwrap()
}

struct Caught {
    auth: Auth,
    clock: Clock,
}

impl Caught {
    fn new(identity: Option<Arc<Identity>>) -> Self {
        let clock = Clock::manual(Clock::system().now());
        Self { auth: Auth::new(identity, clock.clone()), clock }
    }

    async fn call(&self, who: &peer::Identity, keys: &[&str]) -> Result<Caller, Problem> {
        let certificate = Certificate {
            identity: who.clone(),
            serial: "1".into(),
            spki_sha256: [0; 32],
            not_before: UNIX_EPOCH,
            not_after: self.clock.now() + Duration::from_hours(1),
        };
        let addr = ([192, 0, 2, 1], 1).into();
        let peer = Peer::Tls { certificate: Some(Arc::new(certificate)), addr };
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append("x-api-key", HeaderValue::from_bytes(key.as_bytes()).unwrap());
        }
        self.auth.authenticate(&peer, &headers).await
    }

    async fn code(&self, who: &peer::Identity, keys: &[&str]) -> String {
        self.call(who, keys).await.map_or_else(
            |it| format!("{:?} {}", it.kind, it.code),
            |it| format!("{:?}{}", it.role, if it.read_only { " reads" } else { "" }),
        )
    }
}

#[tokio::test]
async fn a_caller_needs_the_right_certificate_and_the_right_key() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    let caught = Caught::new(Some(joined(dir.path(), &authority, "localhost:1")));
    let key = node_key();
    let key = key.expose();
    assert_eq!(caught.code(&control(), &[key]).await, "Control");
    assert_eq!(caught.code(&operator("u", false), &[key]).await, "Operator reads");
    assert_eq!(caught.code(&operator("u", true), &[key]).await, "Operator");
    assert_eq!(caught.code(&operator("v", true), &[key]).await, "Denied SW-DENIED");
    assert_eq!(caught.code(&agent("u", "a"), &[key]).await, "Denied SW-DENIED");
    let elsewhere = peer::Identity::Control { install: "other".into(), replica: "r".into() };
    assert_eq!(caught.code(&elsewhere, &[key]).await, "Denied SW-DENIED");
    let upper = key.to_uppercase();
    let long = "x".repeat(1 << 20);
    for keys in
        [vec![], vec![""], vec![key, key], vec![upper.as_str()], vec![long.as_str()], vec!["ü"]]
    {
        assert_eq!(caught.code(&control(), &keys).await, "Unauthenticated SW-KEY");
    }
}

#[tokio::test]
async fn twenty_wrong_keys_close_the_door_for_a_minute() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    let caught = Caught::new(Some(joined(dir.path(), &authority, "localhost:1")));
    for _ in 0..20 {
        assert_eq!(caught.code(&control(), &["x"]).await, "Unauthenticated SW-KEY");
    }
    let key = node_key();
    assert_eq!(caught.code(&control(), &[key.expose()]).await, "Exhausted SW-KEY");
    caught.clock.advance(Duration::from_mins(1));
    assert_eq!(caught.code(&control(), &[key.expose()]).await, "Control");
}

#[tokio::test]
async fn an_expired_certificate_on_a_living_connection_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    let caught = Caught::new(Some(joined(dir.path(), &authority, "localhost:1")));
    let certificate = Arc::new(Certificate {
        identity: control(),
        serial: "1".into(),
        spki_sha256: [0; 32],
        not_before: UNIX_EPOCH,
        not_after: caught.clock.now(),
    });
    let peer = Peer::Tls { certificate: Some(certificate), addr: ([192, 0, 2, 1], 1).into() };
    let problem = caught.auth.authenticate(&peer, &HeaderMap::new()).await.unwrap_err();
    assert_eq!(problem.code, "SW-CERT-EXPIRED");
}

#[tokio::test]
async fn the_socket_is_for_root_and_for_ourselves() {
    let caught = Caught::new(None);
    let own = nix::unistd::geteuid().as_raw();
    for (uid, expected) in [(0, true), (own, true), (own + 1, false)] {
        let result = caught.auth.authenticate(&Peer::Unix { uid }, &HeaderMap::new()).await;
        assert_eq!(result.is_ok_and(|it| it.role == Role::LocalRoot), expected, "{uid}");
    }
}

#[tokio::test]
async fn a_renewal_reaches_the_listener_and_the_disk_and_a_wrong_one_neither() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    let identity = joined(dir.path(), &authority, "localhost:1");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let tls =
        ServerTls::new(Arc::clone(identity.credentials()), ClientAuth::Required, Protocols::Grpc);
    let (_, health) = tonic_health::server::health_reporter();
    let service = Guard::new(
        Routes::new(health).prepare(),
        Auth::new(Some(Arc::clone(&identity)), Clock::system()),
    );
    let stop = CancellationToken::new();
    let served = serve_tls(listener, Arc::new(tls), service, Limits::default(), stop.clone());
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let task = tokio::spawn(served);
    let check = async |from: &Authority| {
        let tls = ClientTls::mutual(from.credentials(&control()).unwrap());
        let channel = Channel::tls(&address, &agent_name("a"), tls).unwrap();
        let channel = channel.with_key(node_key().expose()).unwrap();
        let request = unary(HealthCheckRequest { service: String::new() });
        HealthClient::new(channel).check(request).await.map(drop)
    };
    check(&authority).await.unwrap();

    let next = Authority::new().unwrap();
    let (key, now) = (Key::new().unwrap(), Clock::system().now());
    let sign = |who: &peer::Identity, key: &Key| {
        next.sign(who, &key.spki(), now, now + Duration::from_hours(1)).unwrap()
    };
    let wrong = sign(&agent("u", "ab"), &key);
    assert!(matches!(identity.adopt(&key, wrong, next.roots()), Err(Error::Answer(_))));
    let mixed = sign(&agent("u", "a"), &Key::new().unwrap());
    assert!(matches!(identity.adopt(&key, mixed, next.roots()), Err(Error::Credentials(_))));
    check(&authority).await.unwrap();

    identity.adopt(&key, sign(&agent("u", "a"), &key), next.roots()).unwrap();
    check(&next).await.unwrap();
    assert!(check(&authority).await.is_err());
    let again = Identity::load(dir.path()).unwrap().unwrap();
    assert_eq!(again.credentials().leaf(), identity.credentials().leaf());
    assert_eq!((again.server_name(), again.control()), ("web-1".into(), "localhost:1".into()));
    stop.cancel();
    task.await.unwrap();
}

fn about() -> About {
    About { agent_version: "0.1.0".into(), droplet_id: 7, ..About::default() }
}

fn write_join(dir: &Path, stand_in: &StandIn) -> Join {
    let path = dir.join("join.json");
    let text = format!(r#"{{"control":"{}","token":"{}"}}"#, stand_in.address(), stand_in.token());
    std::fs::write(&path, text).unwrap();
    Join::read(&path).unwrap().unwrap()
}

#[tokio::test]
async fn a_machine_joins_and_forgets_its_token() {
    let stand_in = StandIn::start().await;
    let dir = tempfile::tempdir().unwrap();
    let join = write_join(dir.path(), &stand_in);
    // The control plane is busy at first; that is not the end.
    stand_in.refuse_next(Problem::new(
        slipway_proto::problem::Kind::Unavailable,
        "SW-UNAVAILABLE",
        "starting",
    ));
    let saved = enroll(dir.path(), &join, &about()).await.unwrap();
    assert_eq!((saved.agent_id.as_str(), saved.user.as_str()), ("a", "u"));
    assert!(!dir.path().join("join.json").exists() && !dir.path().join("pki/pending.key").exists());
    let identity = Identity::load(dir.path()).unwrap().unwrap();
    assert!(identity.keys().accept(node_key().expose(), &Clock::system()));
    assert_eq!(stand_in.keys_seen().len(), 1);
    for file in ["identity.json", "accepted-keys.json"] {
        let meta = std::fs::metadata(dir.path().join("pki").join(file)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    // Again: nothing is asked, and a new file goes as well.
    let join = write_join(dir.path(), &stand_in);
    enroll(dir.path(), &join, &about()).await.unwrap();
    assert!(!dir.path().join("join.json").exists());
    assert_eq!(stand_in.keys_seen().len(), 1);
    // The disk of another droplet: it joins anew.
    let join = write_join(dir.path(), &stand_in);
    let other = About { droplet_id: 8, ..about() };
    assert_eq!(enroll(dir.path(), &join, &other).await.unwrap().droplet_id, 8);
    assert_eq!(stand_in.keys_seen().len(), 2);
    stand_in.end().await;
}

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_with_the_same_key() {
    let stand_in = StandIn::start().await;
    let dir = tempfile::tempdir().unwrap();
    let join = write_join(dir.path(), &stand_in);
    stand_in.refuse_next(Problem::invalid("SW-CSR", "csr_der", "no"));
    assert!(matches!(enroll(dir.path(), &join, &about()).await, Err(Refused::Final(_))));
    enroll(dir.path(), &join, &about()).await.unwrap();
    let seen = stand_in.keys_seen();
    assert_eq!((seen.len(), &seen[0]), (2, &seen[1]));
    stand_in.end().await;
}

#[tokio::test]
async fn a_refusal_is_final_and_keeps_the_token_for_a_look() {
    let stand_in = StandIn::start().await;
    let dir = tempfile::tempdir().unwrap();
    let join = write_join(dir.path(), &stand_in);
    stand_in.refuse_next(Problem::new(
        slipway_proto::problem::Kind::Unauthenticated,
        "SW-ENROLL-TOKEN-USED",
        "used",
    ));
    let Err(Refused::Final(problem)) = enroll(dir.path(), &join, &about()).await else { panic!() };
    assert_eq!(problem.code, "SW-ENROLL-TOKEN-USED");
    assert!(dir.path().join("join.json").exists());
    assert!(Identity::load(dir.path()).unwrap().is_none());

    // Somebody else at the address of the control plane.
    let other = StandIn::start().await;
    let lured = Join { control: other.address(), ..join };
    let Err(Refused::Final(problem)) = enroll(dir.path(), &lured, &about()).await else { panic!() };
    assert_eq!(problem.code, "SW-PIN");
    assert!(other.keys_seen().is_empty(), "the token was not shown");
    other.end().await;
    stand_in.end().await;
}

#[test]
fn a_broken_identity_is_told_and_not_replaced_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    drop(joined(dir.path(), &authority, "localhost:1"));
    let path = dir.path().join("pki/identity.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.get(..text.len() / 2).unwrap()).unwrap();
    let error = Identity::load(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error}");
}
