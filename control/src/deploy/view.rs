//! Reading deployments. Everything is looked up among the caller's own.

use futures::Stream;
use slipway_proto::problem::Problem;
use slipway_store::{
    Deployment, DeploymentServer, Entry, Error, Event, Follow, OperationId, User, UserId,
};

use super::{Deployments, request::KIND};
use crate::refused::refused;

/// Deployments of a page when nobody says how many.
const PAGE: u32 = 50;
/// Deployments of a page at most.
const PAGE_MAX: u32 = 200;

/// Some of the user's deployments.
#[derive(Debug)]
pub struct Page {
    /// Newest first.
    pub deployments: Vec<(Deployment, Vec<DeploymentServer>)>,
    /// The last one, when there are more.
    pub next: Option<OperationId>,
}

impl Deployments {
    /// One deployment, by its id or a prefix that only it has.
    ///
    /// # Errors
    /// SW-DEPLOYMENT-MISSING, SW-AMBIGUOUS.
    pub async fn get(
        &self,
        user: UserId,
        id: &str,
    ) -> Result<(Deployment, Vec<DeploymentServer>), Problem> {
        let owner = self.store().of(user);
        let deployment = owner.deployment(id).await.map_err(refused)?;
        let servers = owner.deployment_servers(deployment.id).await.map_err(refused)?;
        Ok((deployment, servers))
    }

    /// A page of the user's deployments, newest first.
    ///
    /// # Errors
    /// SW-PAGE.
    pub async fn list(
        &self,
        user: UserId,
        app: &str,
        size: u32,
        token: &str,
    ) -> Result<Page, Problem> {
        let size = match size {
            0 => PAGE,
            1..=PAGE_MAX => size,
            _ => {
                let message = format!("{size} is not between 1 and {PAGE_MAX}");
                return Err(Problem::invalid("SW-PAGE", "page_size", message));
            }
        };
        let before = match token {
            "" => None,
            token => Some(token.parse::<OperationId>().map_err(|_| {
                Problem::invalid("SW-PAGE", "page_token", "this is not a page's token")
            })?),
        };
        let app = Some(app).filter(|it| !it.is_empty());
        let owner = self.store().of(user);
        let mut found = owner.deployments(app, before, size + 1).await.map_err(refused)?;
        let more = usize::try_from(size).unwrap_or(usize::MAX) < found.len();
        if more {
            found.pop();
        }
        let next = found.last().filter(|_| more).map(|it| it.id);
        let mut deployments = Vec::with_capacity(found.len());
        for deployment in found {
            let servers = owner.deployment_servers(deployment.id).await;
            deployments.push((deployment, servers.map_err(refused)?));
        }
        Ok(Page { deployments, next })
    }

    /// Asks a deployment to stop and to put everything back. Success when it has ended already.
    ///
    /// # Errors
    /// SW-DEPLOYMENT-MISSING.
    pub async fn cancel(
        &self,
        user: &User,
        id: &str,
    ) -> Result<(Deployment, Vec<DeploymentServer>), Problem> {
        let owner = self.store().of(user.id);
        let (deployment, _) = self.get(user.id, id).await?;
        owner.request_cancel(deployment.id).await.map_err(refused)?;
        let actor = format!("user:{}", user.name);
        let object = format!("deployment:{}", deployment.id);
        let audit = Entry::done(actor, "deployment.cancel", object);
        self.store().system().audit(audit).await.map_err(refused)?;
        self.get(user.id, &deployment.id.to_string()).await
    }

    /// The events of a deployment after `after`.
    ///
    /// # Errors
    /// SW-DEPLOYMENT-MISSING.
    pub async fn watch(
        &self,
        user: UserId,
        id: &str,
        after: u64,
        follow: Follow,
    ) -> Result<impl Stream<Item = Result<Event, Error>> + Send + use<>, Problem> {
        let (deployment, _) = self.get(user, id).await?;
        let owner = self.store().of(user);
        owner.tail(deployment.id, after, follow).await.map_err(refused)
    }

    /// Whether an operation is a deployment.
    pub fn is_deployment(kind: &str) -> bool {
        kind == KIND
    }
}
