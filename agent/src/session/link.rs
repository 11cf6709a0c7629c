//! One connection of the session, from the first message to its end.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use slipway_host::Chain;
use slipway_proto::{
    control::v1::{
        AcceptedKey, Renew, Renewed, SessionRequest, SessionResponse, Welcome,
        session_request::Part as Out, session_response::Part as In,
        session_service_client::SessionServiceClient,
    },
    problem::{Kind, Problem},
};
use slipway_transport::Channel;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Session, State};
use crate::identity::renew::{self, Key};

/// Time for the control plane to answer the hello.
const WELCOME: Duration = Duration::from_secs(20);
/// What the control plane may ask for.
const HEARTBEAT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(50)..=Duration::from_secs(60);
/// Heartbeats without an answer after which the connection counts as dead.
const SILENT: u32 = 3;
/// A clock that is off by more breaks certificates sooner or later.
const SKEW: Duration = Duration::from_secs(30);
/// Time between two tries to renew.
const RENEW_AGAIN: Duration = Duration::from_mins(10);
/// Longest wait for the renewal in one piece, so that a corrected clock is noticed.
const RENEW_LOOK: Duration = Duration::from_hours(1);

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// It can be dialed again.
    Lost { problem: Problem },
    /// It must not be.
    Refused { reason: String },
}

fn lost(code: &'static str, message: &str) -> End {
    End::Lost { problem: Problem::new(Kind::Unavailable, code, message) }
}

impl From<tonic::Status> for End {
    fn from(status: tonic::Status) -> Self {
        let problem = Problem::from_status(&status);
        if problem.code == "SW-AGENT-REVOKED" {
            return Self::Refused { reason: problem.to_string() };
        }
        Self::Lost { problem }
    }
}

/// One connection.
pub(super) struct Link<'a> {
    session: &'a Session,
    channel: Channel,
    /// The key whose certificate was asked for.
    asked: Option<Key>,
    renew_at: SystemTime,
    alive: bool,
}

impl<'a> Link<'a> {
    pub(super) fn new(session: &'a Session, channel: Channel) -> Self {
        let renew_at = renew::due(&session.identity.credentials().leaf());
        Self { session, channel, asked: None, renew_at, alive: false }
    }

    /// Whether the control plane ever answered a heartbeat on this connection.
    pub(super) fn was_alive(&self) -> bool {
        self.alive
    }

    pub(super) async fn run(&mut self) -> End {
        match self.talk().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn talk(&mut self) -> Result<std::convert::Infallible, End> {
        let (out, requests) = mpsc::channel(4);
        send(&out, Out::Hello(self.session.hello.clone())).await?;
        let mut client = SessionServiceClient::new(self.channel.clone());
        let opening = async {
            let mut answers = client.session(ReceiverStream::new(requests)).await?.into_inner();
            let first = answers.message().await?;
            Ok::<_, End>((answers, first))
        };
        let (mut answers, first) = timeout(WELCOME, opening)
            .await
            .map_err(|_| lost("SW-TIMEOUT", "the control plane did not answer the hello"))??;
        let heartbeat = match first.and_then(|it| it.part) {
            Some(In::Welcome(welcome)) => self.welcome(welcome),
            Some(In::Refused(it)) => {
                return Err(End::Refused { reason: format!("{}: {}", it.code, it.message) });
            }
            _ => return Err(lost("SW-PROTOCOL", "the control plane did not say welcome")),
        };
        self.live(&out, &mut answers, heartbeat).await
    }

    /// Takes over what the control plane says at the beginning.
    fn welcome(&self, welcome: Welcome) -> Duration {
        let Welcome { heartbeat, expected_version, accepted_keys, now } = welcome;
        if let Some(theirs) = now.and_then(|it| SystemTime::try_from(it).ok()) {
            self.compare(theirs);
        }
        let own = &self.session.hello.agent_version;
        if !expected_version.is_empty() && expected_version != *own {
            tracing::warn!(%expected_version, %own, "the control plane expects another version");
        }
        self.accept(&accepted_keys);
        tracing::info!(server = %self.session.identity.server_name(), "online");
        self.session.set(State::Online { since: self.session.clock.now() });
        heartbeat
            .and_then(|it| Duration::try_from(it).ok())
            .unwrap_or(Duration::from_secs(5))
            .clamp(*HEARTBEAT.start(), *HEARTBEAT.end())
    }

    async fn live(
        &mut self,
        out: &mpsc::Sender<SessionRequest>,
        answers: &mut Streaming<SessionResponse>,
        heartbeat: Duration,
    ) -> Result<std::convert::Infallible, End> {
        let mut beats = interval_at(Instant::now() + heartbeat, heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let now = self.session.clock.now();
            let renewal = RENEW_LOOK.min(renew::until(self.renew_at, now));
            tokio::select! {
                answer = answers.message() => {
                    heard = Instant::now();
                    let answer = answer?.ok_or_else(|| {
                        lost("SW-SESSION-ENDED", "the control plane ended the session")
                    })?;
                    self.take(answer)?;
                }
                _ = beats.tick() => {
                    if heard.elapsed() > heartbeat * SILENT {
                        return Err(lost("SW-SILENT", "the control plane does not answer"));
                    }
                    send(out, Out::Heartbeat((self.session.figures)())).await?;
                }
                () = sleep(renewal) => {
                    if self.renew_at <= self.session.clock.now() {
                        self.ask_renewal(out).await?;
                    }
                }
            }
        }
    }

    /// Takes over one message.
    fn take(&mut self, answer: SessionResponse) -> Result<(), End> {
        match answer.part {
            Some(In::Alive(alive)) => {
                self.alive = true;
                if let Some(theirs) = alive.now.and_then(|it| SystemTime::try_from(it).ok()) {
                    self.compare(theirs);
                }
            }
            Some(In::Renewed(renewed)) => self.renewed(renewed),
            Some(In::AcceptKeys(keys)) => self.accept(&keys.keys),
            Some(In::Refused(it)) => {
                return Err(End::Refused { reason: format!("{}: {}", it.code, it.message) });
            }
            Some(In::Welcome(_)) => {
                return Err(lost("SW-PROTOCOL", "the control plane said welcome twice"));
            }
            // A newer control plane may say more than we know.
            None => (),
        }
        Ok(())
    }

    async fn ask_renewal(&mut self, out: &mpsc::Sender<SessionRequest>) -> Result<(), End> {
        self.renew_at = self.session.clock.now() + RENEW_AGAIN;
        match Key::new().and_then(|key| Ok((key.request()?, key))) {
            Ok((csr, key)) => {
                self.asked = Some(key);
                send(out, Out::Renew(Renew { csr_der: csr.into() })).await
            }
            Err(error) => {
                tracing::error!(error = %Chain(&error), "could not ask for a new certificate");
                Ok(())
            }
        }
    }

    fn renewed(&mut self, renewed: Renewed) {
        let Some(key) = self.asked.take() else {
            tracing::warn!("the control plane sent a certificate that nobody asked for");
            return;
        };
        let certificates = |list: Vec<bytes::Bytes>| {
            list.into_iter().map(|it| CertificateDer::from(it.to_vec())).collect::<Vec<_>>()
        };
        let Renewed { chain_der, ca_der } = renewed;
        let identity = &self.session.identity;
        match identity.adopt(&key, certificates(chain_der), certificates(ca_der)) {
            Ok(()) => {
                let leaf = identity.credentials().leaf();
                self.renew_at = renew::due(&leaf);
                tracing::info!(serial = %leaf.serial, "renewed the certificate");
            }
            Err(error) => {
                tracing::error!(error = %Chain(&error), "could not use the new certificate");
            }
        }
    }

    fn accept(&self, keys: &[AcceptedKey]) {
        if let Err(error) = self.session.identity.keys().replace(keys) {
            tracing::error!(error = %Chain(&error), "could not take over the keys to accept");
        }
    }

    fn compare(&self, theirs: SystemTime) {
        let ours = self.session.clock.now();
        let skew = ours.duration_since(theirs).unwrap_or_else(|it| it.duration());
        if skew > SKEW {
            tracing::warn!(?skew, "this machine's clock differs from the control plane's");
        }
    }
}

async fn send(out: &mpsc::Sender<SessionRequest>, part: Out) -> Result<(), End> {
    // Full means that nothing has left for several heartbeats.
    match timeout(*HEARTBEAT.end(), out.send(SessionRequest { part: Some(part) })).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(lost("SW-SESSION-ENDED", "the connection is gone")),
        Err(_) => Err(lost("SW-SILENT", "the control plane takes nothing any more")),
    }
}
