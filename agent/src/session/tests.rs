//! The life of a session against a stand-in for the control plane.

use std::time::UNIX_EPOCH;

use slipway_proto::{
    control::v1::{
        AcceptKeys, AcceptedKey, Alive, Refused, Renewed, session_request::Part as Out,
        session_response::Part as In,
    },
    key::NodeKey,
};
use tokio::task::JoinHandle;

use super::*;
use crate::{identity::tests::joined, stand_in::StandIn};

const BEAT: Duration = Duration::from_millis(50);
/// Nothing here takes this long unless it is broken.
const LONG: Duration = Duration::from_secs(20);

struct Home {
    stand_in: StandIn,
    identity: Arc<Identity>,
    clock: Clock,
    states: watch::Receiver<State>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Problem>>,
    _dir: tempfile::TempDir,
}

impl Home {
    async fn start() -> Self {
        Self::start_after(Duration::ZERO).await
    }

    /// Starts so long after the certificate was signed.
    async fn start_after(passed: Duration) -> Self {
        let stand_in = StandIn::start().await;
        let dir = tempfile::tempdir().unwrap();
        let identity = joined(dir.path(), &stand_in.shared().authority, &stand_in.address());
        let hello = Hello { agent_version: "0.1.0".into(), ..Hello::default() };
        let figures: Figures =
            Arc::new(|| Heartbeat { running_containers: 3, ..Heartbeat::default() });
        let clock = Clock::manual(Clock::system().now() + passed);
        let (session, states) = Session::new(Arc::clone(&identity), hello, figures, clock.clone());
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "`end` waits for it")]
        let task = tokio::spawn(session.run(stop.clone()));
        Self { stand_in, identity, clock, states, stop, task, _dir: dir }
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&State) -> bool) {
        let found = tokio::time::timeout(LONG, self.states.wait_for(wanted)).await;
        assert!(found.is_ok_and(|it| it.is_ok()), "never {what}");
    }

    async fn until_online(&mut self) {
        self.until("online", |it| matches!(it, State::Online { .. })).await;
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(LONG, self.task).await.unwrap().unwrap().unwrap();
        self.stand_in.end().await;
    }
}

#[tokio::test]
async fn an_agent_says_hello_and_then_that_it_lives() {
    let mut home = Home::start().await;
    let mut talk = home.stand_in.session().await;
    talk.welcome(BEAT).await;
    home.until_online().await;
    for _ in 0..5 {
        let Some(Out::Heartbeat(beat)) = talk.next().await else { panic!("no heartbeat") };
        assert_eq!(beat.running_containers, 3);
        talk.say(In::Alive(Alive { now: None })).await;
    }
    home.end().await;
}

#[tokio::test]
async fn a_lost_session_comes_back_by_itself() {
    let mut home = Home::start().await;
    for _ in 0..3 {
        let mut talk = home.stand_in.session().await;
        talk.welcome(BEAT).await;
        home.until_online().await;
        drop(talk);
        home.until("offline", |it| matches!(it, State::Offline { .. })).await;
    }
    home.end().await;
}

#[tokio::test]
async fn a_control_plane_that_answers_no_heartbeat_is_left() {
    let mut home = Home::start().await;
    let mut silent = home.stand_in.session().await;
    silent.welcome(BEAT).await;
    home.until_online().await;
    // It takes the heartbeats and says nothing.
    let mut again = home.stand_in.session().await;
    again.welcome(BEAT).await;
    let mut beats = 0;
    while silent.next().await.is_some() {
        beats += 1;
    }
    assert!((1..10).contains(&beats), "{beats}");
    home.end().await;
}

#[tokio::test]
async fn a_refused_agent_does_not_come_back() {
    let mut home = Home::start().await;
    let mut talk = home.stand_in.session().await;
    talk.welcome(BEAT).await;
    talk.say(In::Refused(Refused {
        code: "SW-AGENT-REVOKED".into(),
        message: "it was removed".into(),
    }))
    .await;
    home.until("refused", |it| matches!(it, State::Refused { .. })).await;
    let State::Refused { reason } = home.states.borrow().clone() else { panic!() };
    assert_eq!(reason, "SW-AGENT-REVOKED: it was removed");
    let again = tokio::time::timeout(Duration::from_millis(700), home.stand_in.session()).await;
    assert!(again.is_err(), "it came back");
    home.end().await;
}

#[tokio::test]
async fn the_certificate_is_renewed_on_the_living_session_when_it_is_time() {
    // 20 of 25 hours: past any random point, before the end.
    let mut home = Home::start_after(Duration::from_hours(19)).await;
    let before = home.identity.credentials().leaf();
    let mut talk = home.stand_in.session().await;
    talk.welcome(Duration::from_secs(30)).await;
    let Some(Out::Renew(renew)) = talk.next().await else { panic!("no renewal") };
    let shared = home.stand_in.shared();
    let renewed = Renewed { chain_der: shared.sign(&renew.csr_der), ca_der: shared.roots() };
    talk.say(In::Renewed(renewed)).await;
    let renewed = async {
        while home.identity.credentials().leaf() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, renewed).await.unwrap();
    let after = home.identity.credentials().leaf();
    assert_ne!(after.spki_sha256, before.spki_sha256, "a new key each time");
    home.end().await;
}

#[tokio::test]
async fn new_keys_are_accepted_at_once_and_old_ones_no_more() {
    let mut home = Home::start().await;
    let (old, new) = (NodeKey::derive(b"dop_v1_test", "u"), NodeKey::derive(b"dop_v1_next", "u"));
    let mut talk = home.stand_in.session().await;
    let Some(Out::Hello(_)) = talk.next().await else { panic!("no hello") };
    let accepted =
        |key: &NodeKey| AcceptedKey { sha256: key.hash().bytes().to_vec().into(), not_after: None };
    talk.say(In::Welcome(slipway_proto::control::v1::Welcome {
        accepted_keys: vec![accepted(&old)],
        now: Some(UNIX_EPOCH.into()),
        ..Default::default()
    }))
    .await;
    home.until_online().await;
    assert!(home.identity.keys().accept(old.expose(), &home.clock));
    talk.say(In::AcceptKeys(AcceptKeys { keys: vec![accepted(&new)] })).await;
    let taken = async {
        while !home.identity.keys().accept(new.expose(), &home.clock) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, taken).await.unwrap();
    assert!(!home.identity.keys().accept(old.expose(), &home.clock));
    home.end().await;
}
