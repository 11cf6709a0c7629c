//! Servers.

use slipway_proto::control::v1::{self as wire, server_service_server::ServerService};
use slipway_store::Force;
use tonic::{Request, Response, Status};

use super::{Surface, decode, encode};
use crate::server::Access;

/// The service.
pub(super) struct Service(pub(super) Surface);

#[tonic::async_trait]
impl ServerService for Service {
    async fn list_servers(
        &self,
        request: Request<wire::ListServersRequest>,
    ) -> Result<Response<wire::ListServersResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let servers = self.0.servers.list(user.id).await?;
        let servers = servers.into_iter().map(encode::server).collect();
        Ok(Response::new(wire::ListServersResponse { servers }))
    }

    async fn get_server(
        &self,
        request: Request<wire::GetServerRequest>,
    ) -> Result<Response<wire::GetServerResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let server = self.0.servers.get(user.id, &request.into_inner().server).await?;
        let server = Some(encode::server(server));
        Ok(Response::new(wire::GetServerResponse { server }))
    }

    async fn add_server(
        &self,
        request: Request<wire::AddServerRequest>,
    ) -> Result<Response<wire::AddServerResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let wire::AddServerRequest { name, ttl } = request.into_inner();
        let ttl = decode::span("ttl", ttl)?;
        let (server, join_token) = self.0.servers.add(&user, &name, ttl).await?;
        let server = Some(encode::server(server));
        Ok(Response::new(wire::AddServerResponse { server, join_token }))
    }

    async fn remove_server(
        &self,
        request: Request<wire::RemoveServerRequest>,
    ) -> Result<Response<wire::RemoveServerResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let wire::RemoveServerRequest { server, force } = request.into_inner();
        let force = if force { Force::Yes } else { Force::No };
        self.0.servers.remove(&user, &server, force).await?;
        Ok(Response::new(wire::RemoveServerResponse {}))
    }

    async fn check_health(
        &self,
        request: Request<wire::CheckHealthRequest>,
    ) -> Result<Response<wire::CheckHealthResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let health = self.0.servers.check(user.id, &request.into_inner().server).await?;
        Ok(Response::new(encode::health(health)))
    }

    async fn issue_operator_certificate(
        &self,
        request: Request<wire::IssueOperatorCertificateRequest>,
    ) -> Result<Response<wire::IssueOperatorCertificateResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let wire::IssueOperatorCertificateRequest { server, csr_der, ttl, write } =
            request.into_inner();
        let access = if write { Access::Write } else { Access::Read };
        let ttl = decode::span("ttl", ttl)?;
        let issued = self.0.servers.issue(&user, &server, &csr_der, ttl, access).await?;
        Ok(Response::new(encode::access(issued)))
    }
}
