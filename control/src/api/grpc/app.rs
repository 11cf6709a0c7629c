//! Apps.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use slipway_proto::control::v1::{self as wire, app_service_server::AppService};
use tonic::{Request, Response, Status};

use super::{Surface, decode, encode};
use crate::app::{Act, Check, LogQuery};

/// The service.
pub(super) struct Service(pub(super) Surface);

impl Service {
    async fn act<T>(
        &self,
        request: Request<T>,
        which: impl FnOnce(T) -> (Option<wire::AppTarget>, Act) + Send,
    ) -> Result<Vec<wire::ServerOutcome>, Status>
    where
        T: Send + Sync,
    {
        let user = decode::user(&self.0, &request).await?;
        let (target, act) = which(request.into_inner());
        let outcomes = self.0.apps.act(&user, decode::target(target), act).await?;
        Ok(outcomes.into_iter().map(encode::outcome).collect())
    }
}

#[tonic::async_trait]
impl AppService for Service {
    type LogsStream = Pin<Box<dyn Stream<Item = Result<wire::LogsResponse, Status>> + Send>>;

    async fn list_apps(
        &self,
        request: Request<wire::ListAppsRequest>,
    ) -> Result<Response<wire::ListAppsResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let apps = self.0.apps.list(user.id).await?;
        let apps = apps.into_iter().map(encode::app).collect();
        Ok(Response::new(wire::ListAppsResponse { apps }))
    }

    async fn get_app(
        &self,
        request: Request<wire::GetAppRequest>,
    ) -> Result<Response<wire::GetAppResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let target = decode::target(request.into_inner().target);
        let (app, live) = self.0.apps.get(user.id, target).await?;
        let servers = live.into_iter().map(encode::live).collect();
        Ok(Response::new(wire::GetAppResponse { app: Some(encode::app(app)), servers }))
    }

    async fn stop_app(
        &self,
        request: Request<wire::StopAppRequest>,
    ) -> Result<Response<wire::StopAppResponse>, Status> {
        let servers = self.act(request, |it| (it.target, Act::Stop)).await?;
        Ok(Response::new(wire::StopAppResponse { servers }))
    }

    async fn start_app(
        &self,
        request: Request<wire::StartAppRequest>,
    ) -> Result<Response<wire::StartAppResponse>, Status> {
        let servers = self.act(request, |it| (it.target, Act::Start)).await?;
        Ok(Response::new(wire::StartAppResponse { servers }))
    }

    async fn restart_app(
        &self,
        request: Request<wire::RestartAppRequest>,
    ) -> Result<Response<wire::RestartAppResponse>, Status> {
        let servers = self.act(request, |it| (it.target, Act::Restart)).await?;
        Ok(Response::new(wire::RestartAppResponse { servers }))
    }

    async fn remove_app(
        &self,
        request: Request<wire::RemoveAppRequest>,
    ) -> Result<Response<wire::RemoveAppResponse>, Status> {
        let which = |it: wire::RemoveAppRequest| {
            (it.target, if it.volumes { Act::RemoveAll } else { Act::Remove })
        };
        let servers = self.act(request, which).await?;
        Ok(Response::new(wire::RemoveAppResponse { servers }))
    }

    async fn list_releases(
        &self,
        request: Request<wire::ListReleasesRequest>,
    ) -> Result<Response<wire::ListReleasesResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let target = decode::target(request.into_inner().target);
        let releases = self.0.apps.releases(user.id, target).await?;
        let releases = releases.into_iter().map(encode::release).collect();
        Ok(Response::new(wire::ListReleasesResponse { releases }))
    }

    async fn rollback(
        &self,
        request: Request<wire::RollbackRequest>,
    ) -> Result<Response<wire::RollbackResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let wire::RollbackRequest { target, release, check } = request.into_inner();
        let check = if check { Check::Only } else { Check::AndDo };
        let target = decode::target(target);
        let (deployment, release) = self.0.apps.rollback(&user, target, release, check).await?;
        let deployment_id = deployment.unwrap_or_default();
        Ok(Response::new(wire::RollbackResponse { deployment_id, release }))
    }

    async fn logs(
        &self,
        request: Request<wire::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let wire::LogsRequest { target, follow, since, until, tail } = request.into_inner();
        let query = LogQuery { follow, since, until, tail };
        let lines = self.0.apps.logs(user.id, decode::target(target), query).await?;
        let stop = self.0.stop.clone();
        Ok(Response::new(lines.map(Ok).take_until(stop.cancelled_owned()).boxed()))
    }
}
