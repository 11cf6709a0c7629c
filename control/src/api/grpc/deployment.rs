//! Deployments.

use std::pin::Pin;

use futures::{Stream, StreamExt as _, stream};
use slipway_proto::{
    control::v1::{
        self as wire, deploy_request::Part, deployment_service_server::DeploymentService,
    },
    problem::{Kind, Problem},
};
use slipway_store::{Event, Follow, User};
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument as _, warn};

use super::{Surface, decode, encode};
use crate::{deploy::Upload, refused::refused};

/// The service.
pub(super) struct Service(pub(super) Surface);

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl DeploymentService for Service {
    type DeployStream = Out<wire::DeployResponse>;
    type WatchStream = Out<wire::WatchResponse>;

    async fn deploy(
        &self,
        request: Request<Streaming<wire::DeployRequest>>,
    ) -> Result<Response<Self::DeployStream>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|it| it.part);
        let Some(Part::Start(start)) = first else {
            let message = "the first message must be `start`";
            return Err(Problem::new(Kind::Conflict, "SW-STREAM", message).into());
        };
        let started = self.0.deployments.start(&user, start).await?;
        let id = started.id.to_string();
        let feed = feed(self.0.clone(), user.clone(), id.clone(), requests, started.upload);
        self.0.tasks.spawn(feed.in_current_span());
        let events = self.0.deployments.watch(user.id, &id, 0, Follow::Yes).await?;
        let events = events.map(move |it| {
            let event = Some(encode::event(read(it)?));
            Ok(wire::DeployResponse { event, deployment_id: id.clone() })
        });
        Ok(Response::new(self.until_stop(events)))
    }

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let wire::WatchRequest { deployment_id, after_seq, no_follow } = request.into_inner();
        let follow = if no_follow { Follow::No } else { Follow::Yes };
        let deployments = &self.0.deployments;
        let events = deployments.watch(user.id, &deployment_id, after_seq, follow).await?;
        let events =
            events.map(|it| Ok(wire::WatchResponse { event: Some(encode::event(read(it)?)) }));
        Ok(Response::new(self.until_stop(events)))
    }

    async fn list_deployments(
        &self,
        request: Request<wire::ListDeploymentsRequest>,
    ) -> Result<Response<wire::ListDeploymentsResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let wire::ListDeploymentsRequest { app, page_size, page_token } = request.into_inner();
        let page = self.0.deployments.list(user.id, &app, page_size, &page_token).await?;
        Ok(Response::new(wire::ListDeploymentsResponse {
            deployments: page.deployments.into_iter().map(encode::deployment).collect(),
            next_page_token: page.next.map(|it| it.to_string()).unwrap_or_default(),
        }))
    }

    async fn get_deployment(
        &self,
        request: Request<wire::GetDeploymentRequest>,
    ) -> Result<Response<wire::GetDeploymentResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let found = self.0.deployments.get(user.id, &request.into_inner().deployment_id).await?;
        let deployment = Some(encode::deployment(found));
        Ok(Response::new(wire::GetDeploymentResponse { deployment }))
    }

    async fn cancel_deployment(
        &self,
        request: Request<wire::CancelDeploymentRequest>,
    ) -> Result<Response<wire::CancelDeploymentResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let found = self.0.deployments.cancel(&user, &request.into_inner().deployment_id).await?;
        let deployment = Some(encode::deployment(found));
        Ok(Response::new(wire::CancelDeploymentResponse { deployment }))
    }
}

impl Service {
    /// Ends a stream when the control plane stops, with a status that says to come back.
    fn until_stop<T: Send + 'static>(
        &self,
        events: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Out<T> {
        let state = (Box::pin(events), self.0.stop.clone(), false);
        Box::pin(stream::unfold(state, |(mut events, stop, over)| async move {
            if over {
                return None;
            }
            tokio::select! {
                biased;
                next = events.next() => next.map(|it| (it, (events, stop, false))),
                () = stop.cancelled() => Some((Err(stopping()), (events, stop, true))),
            }
        }))
    }
}

fn stopping() -> Status {
    let message = "the control plane is stopping; the deployment goes on";
    Problem::new(Kind::Unavailable, "SW-UNAVAILABLE", message).hint("watch it again").into()
}

fn read(event: Result<Event, slipway_store::Error>) -> Result<Event, Status> {
    event.map_err(|it| refused(it).into())
}

/// Takes what the caller sends until it half-closes or vanishes. Dropping the upload before its end
/// is what tells the deployment that the archive is cut short.
async fn feed(
    surface: Surface,
    user: User,
    id: String,
    mut requests: Streaming<wire::DeployRequest>,
    mut upload: Option<Upload>,
) {
    while let Some(Ok(Some(message))) = surface.stop.run_until_cancelled(requests.message()).await {
        match message.part {
            None => (),
            // A second one has no meaning.
            Some(Part::Start(_)) => return,
            Some(Part::Chunk(bytes)) => {
                if let Some(open) = upload.take() {
                    upload = open.chunk(bytes).await;
                }
            }
            Some(Part::SourceEnd(end)) => {
                if let Some(open) = upload.take() {
                    open.end(end).await;
                }
            }
            Some(Part::Cancel(_)) => {
                if let Err(problem) = surface.deployments.cancel(&user, &id).await {
                    warn!(%problem, "could not cancel a deployment");
                }
            }
        }
    }
}
