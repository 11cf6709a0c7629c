//! One session that lives, from the welcome to its end.

use std::{sync::Arc, time::Duration};

use slipway_host::Chain;
use slipway_proto::{
    control::v1::{
        AcceptedKey, Alive, Heartbeat, Renew, Renewed, SessionRequest, Welcome,
        session_request::Part as In, session_response::Part as Answer,
    },
    problem::{Kind, Problem},
};
use slipway_store::Entry;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    MAX_TEXT, der,
    registry::{Out, answer},
    session::{Home, Shared},
};
use crate::pki::{Csr, Profile};

/// Time between two notes of an agent's life in the store, as long as nothing is new: a write for
/// each heartbeat of a large fleet would keep the database busy with nothing else.
const NOTE: Duration = Duration::from_secs(10);
/// What may be wrong at a time.
const MAX_PROBLEMS: usize = 20;
/// Longest sentence of a problem.
const MAX_PROBLEM: usize = 2 * MAX_TEXT;
/// Time between two renewals of one session.
const RENEWAL: Duration = Duration::from_mins(1);

/// Why a session ends.
enum End {
    /// Nothing was heard in time, or the agent went away.
    Gone(&'static str),
    /// Another session took its place, or this replica is stopping.
    Over,
    /// The agent did something wrong.
    Wrong(Problem),
}

pub(super) struct Live {
    shared: Arc<Shared>,
    home: Home,
    session: String,
    out: Out,
    end: CancellationToken,
    noted: Option<(Instant, Vec<String>)>,
    renewed: Option<Instant>,
}

impl Live {
    pub(super) fn new(
        shared: Arc<Shared>,
        home: Home,
        session: String,
        out: Out,
        end: CancellationToken,
    ) -> Self {
        Self { shared, home, session, out, end, noted: None, renewed: None }
    }

    pub(super) async fn run(mut self, requests: Streaming<SessionRequest>, keys: Vec<AcceptedKey>) {
        let end = self.talk(requests, keys).await;
        let (server, agent) = (&self.home.name, &self.home.agent);
        match end {
            End::Over => tracing::info!(%server, %agent, "a session has ended"),
            End::Gone(why) => tracing::warn!(%server, %agent, why, "an agent is gone"),
            End::Wrong(problem) => {
                tracing::warn!(%server, %agent, %problem, "a session was ended");
                // It is told if it still listens.
                drop(self.out.try_send(Err(problem.into())));
            }
        }
        self.shared.sessions.leave(agent, &self.session);
        let system = self.shared.store.system();
        if let Err(error) = system.close_session(agent, &self.session).await {
            // The sweep over silent sessions makes up for it.
            tracing::error!(error = %Chain(&error), %agent, "could not note the end of a session");
        }
    }

    async fn talk(
        &mut self,
        mut requests: Streaming<SessionRequest>,
        accepted_keys: Vec<AcceptedKey>,
    ) -> End {
        let pulse = self.shared.pulse;
        let welcome = Welcome {
            heartbeat: prost_types::Duration::try_from(pulse.every).ok(),
            expected_version: self.shared.expected_version.clone(),
            accepted_keys,
            now: Some(self.shared.store.clock().now().into()),
        };
        if self.out.send(Ok(answer(Answer::Welcome(welcome)))).await.is_err() {
            return End::Gone("it went away");
        }
        let (end, stop) = (self.end.clone(), self.shared.stop.clone());
        loop {
            let next = tokio::select! {
                () = end.cancelled() => return End::Over,
                () = stop.cancelled() => return End::Over,
                next = timeout(pulse.silence, requests.message()) => next,
            };
            let done = match next {
                Err(_) => return End::Gone("nothing was heard in time"),
                Ok(Err(_)) => return End::Gone("the connection broke"),
                Ok(Ok(None)) => return End::Gone("it went away"),
                Ok(Ok(Some(message))) => self.take(message).await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn take(&mut self, message: SessionRequest) -> Result<(), End> {
        match message.part {
            Some(In::Heartbeat(heartbeat)) => self.heartbeat(heartbeat).await,
            Some(In::Renew(renew)) => self.renew(renew).await,
            Some(In::Hello(_)) => Err(End::Wrong(Problem::invalid(
                "SW-FIRST-MESSAGE",
                "part",
                "`hello` comes first and only first",
            ))),
            // A newer agent may say more than we know.
            None => Ok(()),
        }
    }

    async fn heartbeat(&mut self, heartbeat: Heartbeat) -> Result<(), End> {
        let now = self.shared.store.clock().now();
        self.shared.sessions.heard(&self.home.agent, &self.session, now);
        let problems = problems(&heartbeat);
        let known = self.noted.as_ref().is_some_and(|(at, it)| {
            at.elapsed() < NOTE.max(self.shared.pulse.every) && *it == problems
        });
        if !known {
            let figures = figures(&heartbeat);
            let system = self.shared.store.system();
            match system.heartbeat(&self.home.agent, &self.session, &problems, &figures).await {
                Ok(true) => self.noted = Some((Instant::now(), problems)),
                Ok(false) => return Err(End::Over),
                // The session is worth more than its note; the next heartbeat tries again.
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "could not note a heartbeat");
                }
            }
        }
        self.say(Answer::Alive(Alive { now: Some(now.into()) })).await
    }

    async fn renew(&mut self, renew: Renew) -> Result<(), End> {
        if self.renewed.is_some_and(|it| it.elapsed() < RENEWAL) {
            let message = "more than one renewal a minute";
            return Err(End::Wrong(Problem::new(Kind::Exhausted, "SW-RATE", message)));
        }
        let csr = Csr::parse(&renew.csr_der).map_err(End::Wrong)?;
        let profile =
            Profile::Agent { user: self.home.user.clone(), agent: self.home.agent.clone() };
        let authority = &self.shared.authority;
        let issued = authority.sign(&csr, &profile).map_err(|it| End::Wrong(it.into()))?;
        let actor = format!("agent:{}", self.home.agent);
        let audit = Entry::done(actor, "certificate.renew", format!("server:{}", self.home.name));
        authority.record(&issued, audit).await.map_err(|it| End::Wrong(it.into()))?;
        self.renewed = Some(Instant::now());
        let renewed = Renewed { chain_der: der(&issued.chain), ca_der: der(&authority.roots()) };
        self.say(Answer::Renewed(renewed)).await
    }

    async fn say(&self, part: Answer) -> Result<(), End> {
        let sent = timeout(self.shared.pulse.silence, self.out.send(Ok::<_, Status>(answer(part))));
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone("it went away")),
            Err(_) => Err(End::Gone("it reads nothing any more")),
        }
    }
}

/// What is wrong there, cut and harmless: it ends up on screens.
fn problems(heartbeat: &Heartbeat) -> Vec<String> {
    let clean = |it: &String| {
        it.chars().filter(|it| !it.is_control()).take(MAX_PROBLEM).collect::<String>()
    };
    heartbeat.problems.iter().take(MAX_PROBLEMS).map(clean).collect()
}

fn figures(heartbeat: &Heartbeat) -> String {
    serde_json::json!({
        "load1": heartbeat.load1,
        "disk_free_bytes": heartbeat.disk_free_bytes,
        "memory_available_bytes": heartbeat.memory_available_bytes,
        "running_containers": heartbeat.running_containers,
    })
    .to_string()
}
