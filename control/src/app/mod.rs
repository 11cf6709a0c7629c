//! Apps, over all their servers.
//!
//! * [`manage`]: stop, start, restart, remove: a short operation each, under the app's lock.
//! * [`release`]: releases, and going back to one.
//! * [`logs`]: the output of all servers, merged.
//!
//! What an app does right now is asked of its servers; a server that does not answer is listed with
//! its reason.

mod logs;
mod manage;
mod release;

pub use logs::LogQuery;
pub use manage::{Act, Interrupted};
pub use release::{Check, ReleaseView};
use slipway_proto::{
    agent::v1 as agent,
    control::v1::AppTarget,
    problem::{Kind, Problem},
};
use slipway_store::{App, AppOverview, DeploymentState, Server, User, UserId};
use tokio_util::task::TaskTracker;

use crate::{
    deploy::Deployments,
    fleet::{Agents, Target, fan_out},
    refused::refused,
};

/// Servers that are asked at a time.
const WIDTH: usize = 16;

/// All apps of this control plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Apps {
    deployments: Deployments,
    tasks: TaskTracker,
}

/// An app and the servers of it that a request is about.
#[derive(Debug)]
struct Found {
    app: App,
    servers: Vec<Server>,
    /// Whether that is all of them.
    all: bool,
}

/// What one server says of an app.
#[derive(Debug)]
pub struct Live {
    /// Name of the server.
    pub server: String,
    /// Its answer, or why there is none.
    pub app: Result<agent::App, Problem>,
}

impl Apps {
    /// Manages what `deployments` deployed. Acts that outlast their caller run on `tasks`.
    pub fn new(deployments: Deployments, tasks: TaskTracker) -> Self {
        Self { deployments, tasks }
    }

    /// The user's apps, ordered by name.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, user: UserId) -> Result<Vec<AppOverview>, Problem> {
        let apps = self.deployments.store().of(user).apps().await.map_err(refused)?;
        Ok(apps.into_iter().filter(exists).collect())
    }

    /// One app, with what each of its servers says of it now.
    ///
    /// # Errors
    /// SW-APP-MISSING, SW-SERVER-MISSING.
    pub async fn get(
        &self,
        user: UserId,
        target: AppTarget,
    ) -> Result<(AppOverview, Vec<Live>), Problem> {
        let found = self.find(user, &target).await?;
        let overview = self.list(user).await?.into_iter().find(|it| it.app.id == found.app.id);
        let overview = overview.ok_or_else(missing)?;
        let reference = reference(&found.app);
        let ask = |server| {
            let (agents, app) = (self.agents().clone(), Some(reference.clone()));
            async move {
                let link = link(&agents, &server).await?;
                let answer = link.app(agent::GetAppRequest { app }).await?;
                answer.app.ok_or_else(|| Problem::internal("the agent answered nothing"))
            }
        };
        let names: Vec<_> = found.servers.iter().map(|it| it.name.clone()).collect();
        let answers = fan_out(found.servers, WIDTH, ask).await;
        let live = names.into_iter().zip(answers).map(|(server, answer)| Live {
            server,
            app: answer.unwrap_or_else(|| Err(Problem::internal("the question broke"))),
        });
        Ok((overview, live.collect()))
    }

    fn agents(&self) -> &Agents {
        self.deployments.agents()
    }

    /// Finds an app and its servers among the user's own.
    async fn find(&self, user: UserId, target: &AppTarget) -> Result<Found, Problem> {
        let AppTarget { app, environment, servers: named } = target;
        let environment = if environment.is_empty() { "production" } else { environment };
        let owner = self.deployments.store().of(user);
        let app = owner.app(app, environment).await.map_err(refused)?;
        let on = owner.app_servers(app.id).await.map_err(refused)?;
        let mut servers = owner.servers().await.map_err(refused)?;
        servers.retain(|it| on.iter().any(|on| on.server_id == it.id));
        if named.is_empty() {
            return Ok(Found { app, servers, all: true });
        }
        let mut wanted: Vec<Server> = Vec::new();
        for name in named {
            let is = |it: &&Server| it.name == *name || it.id.to_string() == *name;
            let server = servers.iter().find(is).ok_or_else(|| {
                let message = "the app runs on no server of this name";
                Problem::new(Kind::NotFound, "SW-SERVER-MISSING", message).field("servers")
            })?;
            if wanted.iter().all(|it| it.id != server.id) {
                wanted.push(server.clone());
            }
        }
        let all = wanted.len() == servers.len();
        Ok(Found { app, servers: wanted, all })
    }
}

/// An app whose first deployment was undone has left nothing, and counts as none.
fn exists(it: &AppOverview) -> bool {
    let open = matches!(
        it.last_deployment,
        Some(DeploymentState::Queued | DeploymentState::Running | DeploymentState::Undoing)
    );
    it.app.release != 0 || !it.servers.is_empty() || open
}

fn missing() -> Problem {
    refused(slipway_store::Error::Missing { what: slipway_store::What::App })
}

/// How agents are told which app.
fn reference(app: &App) -> agent::AppRef {
    agent::AppRef { app: app.name.clone(), environment: app.environment.clone() }
}

fn actor(user: &User) -> String {
    format!("user:{}", user.name)
}

async fn link(agents: &Agents, server: &Server) -> Result<crate::fleet::Link, Problem> {
    agents.link(&Target::of(server)?, &server.user.to_string()).await
}

#[cfg(test)]
mod tests;
