//! `ContainerService`.

use std::sync::Arc;

use slipway_engine::{Engine as _, container::Container, label};
use slipway_proto::{
    agent::v1::{self as wire, container_service_server::ContainerService},
    problem::{Kind, Problem},
    value::AppKey,
};
use tonic::{Request, Response, Status};

use super::{encode, error};
use crate::world::{Outside, World};

/// Most containers in one answer.
const MAX: usize = 1_000;

/// `ContainerService`.
#[derive(Debug)]
pub struct ContainerRpc<O> {
    world: Arc<World<O>>,
}

impl<O: Outside> ContainerRpc<O> {
    /// Serves the containers of this world.
    pub fn new(world: Arc<World<O>>) -> Self {
        Self { world }
    }
}

#[tonic::async_trait]
impl<O: Outside> ContainerService for ContainerRpc<O> {
    async fn list_containers(
        &self,
        request: Request<wire::ListContainersRequest>,
    ) -> Result<Response<wire::ListContainersResponse>, Status> {
        let wire::ListContainersRequest { app, all } = request.into_inner();
        let engine = self.world.engine();
        let ours = self.world.names.ours();
        let listed = engine.containers(&ours).await.map_err(error::status)?;
        let mut containers = Vec::new();
        for it in listed.into_iter().take(MAX) {
            match engine.inspect(&it.id).await {
                Ok(it) => containers.push(encode_container(it)),
                // It went while the list was made.
                Err(error) if error.is_missing() => (),
                Err(error) => return Err(error::status(error)),
            }
        }
        containers.retain(|it| (all || it.state == "running") && (app.is_empty() || it.app == app));
        Ok(Response::new(wire::ListContainersResponse { containers }))
    }

    async fn get_container(
        &self,
        request: Request<wire::GetContainerRequest>,
    ) -> Result<Response<wire::GetContainerResponse>, Status> {
        let name = request.into_inner().container;
        let missing = || {
            let message = "there is no such container of ours on this server";
            Problem::new(Kind::NotFound, "SW-CONTAINER-MISSING", message)
        };
        // Docker also takes the first digits of an id, and paths must not reach it.
        let word = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
        if name.is_empty() || !name.chars().all(word) {
            return Err(error::status(missing()));
        }
        let container = match self.world.engine().inspect(&name).await {
            Err(error) if error.is_missing() => return Err(error::status(missing())),
            other => other.map_err(error::status)?,
        };
        if !self.world.names.ours().matches(&container.labels) {
            return Err(error::status(missing()));
        }
        let container = Some(encode_container(container));
        Ok(Response::new(wire::GetContainerResponse { container }))
    }
}

fn encode_container(it: Container) -> wire::Container {
    let label = |name: &str| it.labels.get(name).cloned().unwrap_or_default();
    let key = label(label::APP).parse::<AppKey>().ok();
    wire::Container {
        app: key.as_ref().map(|it| it.app.to_string()).unwrap_or_default(),
        environment: key.map(|it| it.environment().to_owned()).unwrap_or_default(),
        service: label(label::SERVICE),
        release: label(label::RELEASE).parse().unwrap_or(0),
        image_id: it.image.to_string(),
        state: it.status.word().to_owned(),
        address: it.address.filter(|_| it.running()).map(|it| it.to_string()).unwrap_or_default(),
        created_at: Some(encode::time(it.created_at)),
        started_at: it.started_at.map(encode::time),
        exit_code: it.exit_code,
        oom_killed: it.oom_killed,
        id: it.id,
        name: it.name,
    }
}
