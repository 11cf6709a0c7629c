//! Stop, start, restart and remove. Each is a short operation, so that it holds the app's lock, shows
//! who holds it, and frees it whatever happens; it goes on when its caller goes away.

use slipway_proto::{
    agent::v1 as agent,
    control::v1::AppTarget,
    problem::{Kind, Problem},
};
use slipway_store::{
    AppLock, Done, Entry, Failure, NewEvent, NewOperation, OperationId, Recorded, Server,
    ServerDone, Stopped, User,
};
use std::time::Duration;
use tracing::{info, warn};

use super::{Apps, Found, WIDTH, actor, link, reference};
use crate::{
    fleet::{Link, fan_out},
    operation::{Ended, Error, Handler, Run},
    refused::{interrupted, refused},
};

/// Kind of these operations.
const KIND: &str = "app";
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// What to do with an app.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Act {
    /// Stop it and keep everything else.
    Stop,
    /// Start it and wait until it is healthy.
    Start,
    /// Restart its containers.
    Restart,
    /// Remove it, but not its volumes.
    Remove,
    /// Remove it with its volumes.
    RemoveAll,
}

impl Act {
    fn word(self) -> &'static str {
        match self {
            Self::Stop => "app.stop",
            Self::Start => "app.start",
            Self::Restart => "app.restart",
            Self::Remove | Self::RemoveAll => "app.remove",
        }
    }
}

/// Ends the acts that a restart of the control plane cut off. Each is safe to ask for again.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted;

impl Handler for Interrupted {
    const KIND: &'static str = KIND;

    async fn run(&self, run: Run) -> Result<Ended, Error> {
        let message = "the control plane was restarted before it had ended";
        let problem = Problem::new(Kind::Unavailable, "SW-INTERRUPTED", message).hint("ask again");
        run.finish(Done { error: Some(problem.into()), ..Done::default() }).await
    }
}

impl Apps {
    /// Does something with an app on its servers, and tells how each of them did.
    ///
    /// # Errors
    /// SW-APP-MISSING; SW-APP-BUSY with who holds the app.
    pub async fn act(
        &self,
        user: &User,
        target: AppTarget,
        act: Act,
    ) -> Result<Vec<ServerDone>, Problem> {
        let found = self.find(user.id, &target).await?;
        let run = self.hold(user, &found, act).await?;
        let (this, user) = (self.clone(), user.clone());
        let work = self.tasks.spawn(async move { this.work(&user, found, act, run).await });
        work.await.unwrap_or_else(|_| Err(Problem::internal("the work broke; see the log")))
    }

    /// Records the operation and takes the app's lock for it.
    async fn hold(&self, user: &User, found: &Found, act: Act) -> Result<Run, Problem> {
        let store = self.deployments.store();
        let owner = store.of(user.id);
        let app = &found.app;
        let new = NewOperation {
            id: OperationId::new(),
            kind: KIND,
            input: "{}".to_owned(),
            idempotency_key: None,
            deadline: LIMIT,
            first: NewEvent::log("plan", format!("{} `{}`", act.word(), app.name)),
        };
        let runner = self.deployments.runner();
        let recorded = owner.create_operation(new, Some(runner.claimant())).await;
        let operation = recorded.map(Recorded::into_inner).map_err(refused)?;
        let run = runner.adopt(operation).await.map_err(interrupted)?;
        let lock = store.system().lock_app(run.id(), run.epoch(), app.id).await;
        match run.check("lock the app", lock).map_err(interrupted)? {
            AppLock::Held => Ok(run),
            AppLock::HeldBy(holder) => {
                let message = format!("operation {holder} is at work on `{}`", app.name);
                let problem = Problem::new(Kind::Conflict, "SW-APP-BUSY", message)
                    .hint("wait until it has ended, or cancel it");
                let done = Done { error: Some(problem.clone().into()), ..Done::default() };
                run.finish(done).await.map(drop).map_err(interrupted)?;
                Err(problem)
            }
        }
    }

    async fn work(
        &self,
        user: &User,
        found: Found,
        act: Act,
        run: Run,
    ) -> Result<Vec<ServerDone>, Problem> {
        let outcomes = self.ask(&found, act).await;
        let success = outcomes.iter().all(|it| it.success);
        let noted = self.note(user, &found, act, &outcomes).await;
        let error = noted.as_ref().err().cloned().map(Failure::from);
        let error = error.or_else(|| outcomes.iter().find_map(|it| it.error.clone()));
        let servers = outcomes.clone();
        let done = Done { success: success && noted.is_ok(), error, servers, release: 0 };
        run.finish(done).await.map(drop).map_err(interrupted)?;
        noted?;
        if success {
            info!(app = %found.app.name, action = act.word(), "done");
        } else {
            warn!(app = %found.app.name, action = act.word(), "not done everywhere");
        }
        Ok(outcomes)
    }

    /// Asks every server, and keeps every outcome.
    async fn ask(&self, found: &Found, act: Act) -> Vec<ServerDone> {
        let reference = reference(&found.app);
        let ask = |server: Server| {
            let (agents, app) = (self.agents().clone(), reference.clone());
            async move { tell(&link(&agents, &server).await?, app, act).await }
        };
        let answers = fan_out(found.servers.clone(), WIDTH, ask).await;
        let outcome = |(server, answer): (&Server, Option<Result<(), Problem>>)| {
            let answer = answer.unwrap_or_else(|| Err(Problem::internal("the question broke")));
            let ip = server.address.rsplit_once(':').map_or(&*server.address, |(host, _)| host);
            ServerDone {
                id: server.id.to_string(),
                name: server.name.clone(),
                ip: ip.to_owned(),
                success: answer.is_ok(),
                error: answer.err().map(Failure::from),
                ..ServerDone::default()
            }
        };
        found.servers.iter().zip(answers).map(outcome).collect()
    }

    /// Writes down what is so now.
    async fn note(
        &self,
        user: &User,
        found: &Found,
        act: Act,
        outcomes: &[ServerDone],
    ) -> Result<(), Problem> {
        let owner = self.deployments.store().of(user.id);
        let app = found.app.id;
        let entry = Entry::done(actor(user), act.word(), format!("app:{}", found.app.name));
        let entry = match outcomes.iter().find_map(|it| it.error.as_ref()) {
            Some(error) => entry.failed(error.code.clone()),
            None => entry,
        };
        let success = outcomes.iter().all(|it| it.success);
        match act {
            Act::Stop if success && found.all => {
                owner.set_stopped(app, Stopped::Yes, entry).await.map_err(refused)
            }
            Act::Start | Act::Restart if success && found.all => {
                owner.set_stopped(app, Stopped::No, entry).await.map_err(refused)
            }
            Act::Stop | Act::Start | Act::Restart => {
                self.deployments.store().system().audit(entry).await.map_err(refused)
            }
            Act::Remove | Act::RemoveAll => {
                for (server, outcome) in found.servers.iter().zip(outcomes) {
                    if outcome.success {
                        owner.remove_app_server(app, server.id).await.map_err(refused)?;
                    }
                }
                if success && found.all {
                    return owner.remove_app(app, entry).await.map_err(refused);
                }
                self.deployments.store().system().audit(entry).await.map_err(refused)
            }
        }
    }
}

async fn tell(link: &Link, app: agent::AppRef, act: Act) -> Result<(), Problem> {
    let app = Some(app);
    match act {
        Act::Stop => link.stop(agent::StopAppRequest { app }).await.map(drop),
        Act::Start => link.start(agent::StartAppRequest { app }).await.map(drop),
        Act::Restart => link.restart(agent::RestartAppRequest { app }).await.map(drop),
        Act::Remove => link.remove(agent::RemoveAppRequest { app, volumes: false }).await.map(drop),
        Act::RemoveAll => {
            link.remove(agent::RemoveAppRequest { app, volumes: true }).await.map(drop)
        }
    }
}
