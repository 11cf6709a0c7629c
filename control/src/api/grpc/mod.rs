//! gRPC: one thin file per service. Each method decodes, calls one function, and encodes; a
//! [`Problem`](slipway_proto::problem::Problem) becomes a status in one place, its own
//! `From<Problem> for Status`. Who calls was resolved, and held against the policy of the method,
//! before any of this.

mod app;
mod decode;
mod deployment;
mod encode;
mod server;
mod user;

use slipway_proto::{
    DESCRIPTORS,
    control::v1::{
        app_service_server::AppServiceServer, deployment_service_server::DeploymentServiceServer,
        enrollment_service_server::EnrollmentServiceServer,
        server_service_server::ServerServiceServer, session_service_server::SessionServiceServer,
        token_service_server::TokenServiceServer, user_service_server::UserServiceServer,
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};

use crate::{
    app::Apps,
    deploy::Deployments,
    enroll::{Enrollments, SessionApi},
    server::Servers,
    user::Users,
};

/// Largest message that is taken.
const MESSAGE: usize = 4 << 20;

/// What the services call.
#[derive(Clone, Debug)]
pub struct Surface {
    /// Deployments.
    pub deployments: Deployments,
    /// Apps.
    pub apps: Apps,
    /// Servers.
    pub servers: Servers,
    /// Users and tokens.
    pub users: Users,
    /// Name of the installation.
    pub install: String,
    /// Where the uploads of callers are read.
    pub tasks: TaskTracker,
    /// Ends every stream.
    pub stop: CancellationToken,
}

/// All services, without the guard.
///
/// # Errors
/// The descriptors cannot be read, which is a bug.
pub fn routes(
    surface: Surface,
    enrollments: Enrollments,
    sessions: SessionApi,
    health: HealthServer<impl Health>,
) -> Result<Routes, tonic_reflection::server::Error> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let deployments = DeploymentServiceServer::new(deployment::Service(surface.clone()));
    let apps = AppServiceServer::new(app::Service(surface.clone()));
    let servers = ServerServiceServer::new(server::Service(surface.clone()));
    let users = UserServiceServer::new(user::Service(surface.clone()));
    let tokens = TokenServiceServer::new(user::Service(surface));
    Ok(Routes::new(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(deployments.max_decoding_message_size(MESSAGE))
        .add_service(apps.max_decoding_message_size(MESSAGE))
        .add_service(servers.max_decoding_message_size(MESSAGE))
        .add_service(users.max_decoding_message_size(MESSAGE))
        .add_service(tokens.max_decoding_message_size(MESSAGE))
        .add_service(EnrollmentServiceServer::new(enrollments).max_decoding_message_size(MESSAGE))
        .add_service(SessionServiceServer::new(sessions).max_decoding_message_size(MESSAGE)))
}

#[cfg(test)]
mod tests;
