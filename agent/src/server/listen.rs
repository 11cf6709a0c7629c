//! The services behind the guard.

use std::{
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use slipway_host::clock::Clock;
use slipway_proto::agent::v1::{
    app_service_server::AppServiceServer, container_service_server::ContainerServiceServer,
    deploy_service_server::DeployServiceServer, image_service_server::ImageServiceServer,
    node_service_server::NodeServiceServer,
};
use slipway_transport::Guard;
use tonic::service::Routes;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health as HealthService, HealthServer},
    server::{HealthReporter, HealthService as Reported},
};

use super::Real;
use crate::{
    deploy::Deploys,
    identity::{Auth, Identity},
    rpc::{AppRpc, ContainerRpc, DeployRpc, ImageRpc, Node, NodeRpc},
    world::World,
};

/// Services of the agent, as reflection and health know them.
const SERVICES: &[&str] = &[
    "slipway.agent.v1.AppService",
    "slipway.agent.v1.ContainerService",
    "slipway.agent.v1.DeployService",
    "slipway.agent.v1.ImageService",
    "slipway.agent.v1.NodeService",
];

/// `grpc.health.v1`.
#[derive(Clone, Debug)]
pub(super) struct Health(HealthReporter);

impl Health {
    pub(super) fn new() -> Self {
        Self(HealthReporter::new())
    }

    pub(super) async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    pub(super) async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        for service in [""].iter().chain(SERVICES) {
            self.0.set_service_status(*service, status).await;
        }
    }

    fn service(&self) -> HealthServer<impl HealthService> {
        HealthServer::new(Reported::from_health_reporter(self.0.clone()))
    }
}

/// What the services are made of. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Services {
    deploys: Deploys<Real>,
    health: Health,
    node: Arc<Who>,
}

/// Who this agent is, once it is known.
#[derive(Debug, Default)]
pub(super) struct Who(OnceLock<Arc<Identity>>);

impl Node for Who {
    fn agent_id(&self) -> String {
        self.0.get().map(|it| it.agent_id()).unwrap_or_default()
    }

    fn certificate_ends(&self) -> Option<SystemTime> {
        self.0.get().map(|it| it.not_after())
    }
}

/// Collects what the services are made of.
pub(super) async fn services(
    _world: &Arc<World<Real>>,
    deploys: &Deploys<Real>,
    health: &Health,
) -> Services {
    health.not_serving().await;
    Services { deploys: deploys.clone(), health: health.clone(), node: Arc::default() }
}

impl Services {
    /// Tells the services who this agent is.
    pub(super) fn know(&self, identity: &Arc<Identity>) {
        // Only set once: an agent has one identity until it is restarted.
        drop(self.node.0.set(Arc::clone(identity)));
    }

    /// All services.
    pub(super) fn routes(&self, world: &Arc<World<Real>>) -> Routes {
        let world = || Arc::clone(world);
        let deploys = || self.deploys.clone();
        let node: Arc<dyn Node> = Arc::<Who>::clone(&self.node);
        let mut routes = Routes::new(DeployServiceServer::new(DeployRpc::new(deploys(), world())))
            .add_service(AppServiceServer::new(AppRpc::new(deploys(), world())))
            .add_service(NodeServiceServer::new(NodeRpc::new(world(), node)))
            .add_service(ContainerServiceServer::new(ContainerRpc::new(world())))
            .add_service(ImageServiceServer::new(ImageRpc::new(world())))
            .add_service(self.health.service());
        match reflection().build_v1() {
            Ok(service) => routes = routes.add_service(service),
            Err(error) => tracing::error!(%error, "reflection is not served"),
        }
        match reflection().build_v1alpha() {
            Ok(service) => routes = routes.add_service(service),
            Err(error) => tracing::error!(%error, "reflection (v1alpha) is not served"),
        }
        routes
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(slipway_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health");
    SERVICES.iter().fold(builder, |builder, name| builder.with_service_name(*name))
}

/// Puts services behind the guard.
pub(super) fn guarded(
    routes: Routes,
    identity: Option<Arc<Identity>>,
    clock: &Clock,
) -> Guard<Routes, Auth> {
    Guard::new(routes.prepare(), Auth::new(identity, clock.clone()))
}
