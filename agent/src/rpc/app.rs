//! `AppService`.

use std::{pin::Pin, sync::Arc, time::SystemTime};

use futures::{Stream, StreamExt as _};
use slipway_engine::logs::LogQuery;
use slipway_proto::{
    agent::v1::{self as wire, app_service_server::AppService},
    problem::Problem,
    value::AppKey,
};
use tonic::{Request, Response, Status};

use super::{encode, error};
use crate::{
    app::{
        Acts, AppState, AppView, Views, Volumes,
        logs::{self, Batch, Line},
        view::ContainerView,
    },
    deploy::{Deploys, event::plain},
    world::{Outside, World},
};

/// `AppService`.
#[derive(Debug)]
pub struct AppRpc<O> {
    views: Views<O>,
    acts: Arc<Acts<O>>,
    world: Arc<World<O>>,
}

impl<O: Outside> AppRpc<O> {
    /// Serves the apps of this world.
    pub fn new(deploys: Deploys<O>, world: Arc<World<O>>) -> Self {
        Self {
            views: Views::new(Arc::clone(&world), deploys.clone()),
            acts: Arc::new(Acts::new(Arc::clone(&world), deploys)),
            world,
        }
    }

    /// Acts in a task of its own, so that a caller who leaves does not leave the act half done.
    async fn act<F>(&self, act: impl FnOnce(Arc<Acts<O>>) -> F) -> Result<(), Status>
    where
        F: Future<Output = Result<(), Problem>> + Send + 'static,
    {
        let task = self.world.tasks.spawn(act(Arc::clone(&self.acts)));
        let lost = |_| error::status(Problem::internal("a part of the agent failed; see its log"));
        task.await.map_err(lost)?.map_err(error::status)
    }
}

fn key(app: Option<wire::AppRef>) -> Result<AppKey, Status> {
    let wire::AppRef { app, environment } = app.ok_or_else(|| error::missing("app"))?;
    AppKey::new(&app, &environment).map_err(error::status)
}

#[tonic::async_trait]
impl<O: Outside> AppService for AppRpc<O> {
    type LogsStream = Pin<Box<dyn Stream<Item = Result<wire::LogsResponse, Status>> + Send>>;

    async fn list_apps(
        &self,
        _request: Request<wire::ListAppsRequest>,
    ) -> Result<Response<wire::ListAppsResponse>, Status> {
        let apps = self.views.all().await.map_err(error::status)?;
        let apps = apps.into_iter().map(encode_app).collect();
        Ok(Response::new(wire::ListAppsResponse { apps }))
    }

    async fn get_app(
        &self,
        request: Request<wire::GetAppRequest>,
    ) -> Result<Response<wire::GetAppResponse>, Status> {
        let app = self.views.one(&key(request.into_inner().app)?).await.map_err(error::status)?;
        Ok(Response::new(wire::GetAppResponse { app: Some(encode_app(app)) }))
    }

    async fn stop_app(
        &self,
        request: Request<wire::StopAppRequest>,
    ) -> Result<Response<wire::StopAppResponse>, Status> {
        let key = key(request.into_inner().app)?;
        self.act(|acts| async move { acts.stop(&key).await }).await?;
        Ok(Response::new(wire::StopAppResponse {}))
    }

    async fn start_app(
        &self,
        request: Request<wire::StartAppRequest>,
    ) -> Result<Response<wire::StartAppResponse>, Status> {
        let key = key(request.into_inner().app)?;
        self.act(|acts| async move { acts.start(&key).await }).await?;
        Ok(Response::new(wire::StartAppResponse {}))
    }

    async fn restart_app(
        &self,
        request: Request<wire::RestartAppRequest>,
    ) -> Result<Response<wire::RestartAppResponse>, Status> {
        let key = key(request.into_inner().app)?;
        self.act(|acts| async move { acts.restart(&key).await }).await?;
        Ok(Response::new(wire::RestartAppResponse {}))
    }

    async fn remove_app(
        &self,
        request: Request<wire::RemoveAppRequest>,
    ) -> Result<Response<wire::RemoveAppResponse>, Status> {
        let wire::RemoveAppRequest { app, volumes } = request.into_inner();
        let key = key(app)?;
        let volumes = if volumes { Volumes::Remove } else { Volumes::Keep };
        self.act(|acts| async move { acts.remove(&key, volumes).await }).await?;
        Ok(Response::new(wire::RemoveAppResponse {}))
    }

    async fn logs(
        &self,
        request: Request<wire::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let wire::LogsRequest { app, follow, since, until, tail } = request.into_inner();
        let query = LogQuery {
            follow,
            since: since.map(|it| time("since", it)).transpose()?,
            until: until.map(|it| time("until", it)).transpose()?,
            tail: (tail != 0).then_some(tail),
        };
        let lines = logs::read(Arc::clone(&self.world), key(app)?, query).await;
        let lines = lines.map_err(error::status)?;
        let encoded = lines.map(|it| it.map(encode_lines).map_err(error::status));
        Ok(Response::new(Box::pin(encoded)))
    }
}

fn time(field: &'static str, at: prost_types::Timestamp) -> Result<SystemTime, Status> {
    SystemTime::try_from(at).map_err(|_| {
        error::status(Problem::invalid("SW-TIME", field, "it is not a time that can be"))
    })
}

fn encode_lines(Batch { lines, dropped }: Batch) -> wire::LogsResponse {
    let line = |Line { container, line }: Line| wire::LogLine {
        at: Some(encode::time(line.at)),
        container,
        stderr: line.stderr,
        text: plain(&line.text()),
    };
    wire::LogsResponse { lines: lines.into_iter().map(line).collect(), dropped }
}

fn encode_app(view: AppView) -> wire::App {
    let AppView { key, state, release, urls, domains, containers, kept, deploy_id } = view;
    let state = match state {
        AppState::Running => wire::AppState::Running,
        AppState::Degraded => wire::AppState::Degraded,
        AppState::Stopped => wire::AppState::Stopped,
        AppState::Deploying => wire::AppState::Deploying,
    };
    let kept = kept.into_iter().map(|it| wire::AppRelease {
        release: it.release,
        image_id: it.image_id,
        committed_at: Some(encode::micros(it.committed_at)),
    });
    wire::App {
        app: key.app.to_string(),
        environment: key.environment().to_owned(),
        state: state.into(),
        release,
        urls,
        domains: domains.iter().map(ToString::to_string).collect(),
        containers: containers.into_iter().map(encode_container).collect(),
        releases: kept.collect(),
        deploy_id: deploy_id.map(|it| it.to_string()).unwrap_or_default(),
    }
}

fn encode_container(view: ContainerView) -> wire::AppContainer {
    let ContainerView { container: it, release, in_flight, uptime } = view;
    wire::AppContainer {
        release,
        state: it.status.word().to_owned(),
        address: it.address.map(|it| it.to_string()).unwrap_or_default(),
        started_at: it.started_at.map(encode::time),
        exit_code: it.exit_code,
        in_flight,
        uptime: uptime.and_then(encode::duration),
        name: it.name,
        id: it.id,
    }
}
