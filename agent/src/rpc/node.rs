//! `NodeService`.

use std::{fmt::Debug, sync::Arc, time::SystemTime};

use slipway_engine::{Engine as _, container::Status as ContainerStatus};
use slipway_host::stats;
use slipway_proto::agent::v1::{self as wire, node_service_server::NodeService};
use tonic::{Request, Response, Status};

use super::encode;
use crate::world::{Outside, Traffic as _, World};

/// Memory below which the server is in trouble, in bytes.
const LOW_MEMORY: u64 = 32 << 20;

/// Who this agent is, as far as the node service tells.
pub trait Node: Debug + Send + Sync + 'static {
    /// Id from its certificate. Empty before enrollment.
    fn agent_id(&self) -> String;

    /// When its certificate ends.
    fn certificate_ends(&self) -> Option<SystemTime>;
}

/// `NodeService`.
#[derive(Debug)]
pub struct NodeRpc<O> {
    world: Arc<World<O>>,
    node: Arc<dyn Node>,
}

impl<O: Outside> NodeRpc<O> {
    /// Serves facts of this machine.
    pub fn new(world: Arc<World<O>>, node: Arc<dyn Node>) -> Self {
        Self { world, node }
    }

    /// What is wrong with this server, a sentence each.
    async fn problems(&self) -> Vec<String> {
        let world = &self.world;
        let mut problems = Vec::new();
        if let Err(error) = world.engine().ping().await {
            problems.push(slipway_host::Chain(&error).to_string());
        }
        problems.extend(world.traffic().problems().await);
        if let Ok(disk) = stats::disk(&world.state_dir)
            && disk.free < world.settings.min_free_bytes
        {
            problems.push(format!("the disk has only {} MiB free", disk.free >> 20));
        }
        if stats::load().memory_available.is_some_and(|it| it < LOW_MEMORY) {
            problems.push("the memory is nearly used up".to_owned());
        }
        if self.node.certificate_ends().is_some_and(|it| it < world.clock.now()) {
            problems.push("the certificate of the agent has expired".to_owned());
        }
        problems
    }
}

#[tonic::async_trait]
impl<O: Outside> NodeService for NodeRpc<O> {
    async fn get_version(
        &self,
        _request: Request<wire::GetVersionRequest>,
    ) -> Result<Response<wire::GetVersionResponse>, Status> {
        let docker = self.world.engine().info().await.ok();
        let facts = stats::facts();
        let (docker_version, docker_api_version) =
            docker.map(|it| (it.version, it.api)).unwrap_or_default();
        Ok(Response::new(wire::GetVersionResponse {
            agent_id: self.node.agent_id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            docker_version,
            docker_api_version,
            kernel: facts.kernel,
            os: facts.os,
        }))
    }

    async fn get_health(
        &self,
        _request: Request<wire::GetHealthRequest>,
    ) -> Result<Response<wire::GetHealthResponse>, Status> {
        let problems = self.problems().await;
        let world = &self.world;
        let load = stats::load();
        let disk = stats::disk(&world.settings.docker_root)
            .or_else(|_| stats::disk(&world.state_dir))
            .unwrap_or(stats::Disk { total: 0, free: 0 });
        let containers = world.engine().containers(&world.names.ours()).await.unwrap_or_default();
        let running = containers.iter().filter(|it| it.status == ContainerStatus::Running).count();
        let apps = world.apps.all().iter().filter(|it| it.serving.is_some()).count();
        Ok(Response::new(wire::GetHealthResponse {
            healthy: problems.is_empty(),
            problems,
            uptime: load.uptime.and_then(encode::duration),
            disk_total_bytes: disk.total,
            disk_free_bytes: disk.free,
            memory_total_bytes: load.memory_total.unwrap_or(0),
            memory_available_bytes: load.memory_available.unwrap_or(0),
            load1: load.load1.unwrap_or(0.0),
            cpus: stats::facts().cpus,
            agent_rss_bytes: load.own_rss.unwrap_or(0),
            certificate_expires_at: self.node.certificate_ends().map(encode::time),
            apps: u32::try_from(apps).unwrap_or(u32::MAX),
            running_containers: u32::try_from(running).unwrap_or(u32::MAX),
        }))
    }
}
