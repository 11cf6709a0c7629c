//! Users and their tokens.

use slipway_proto::control::v1::{
    self as wire, token_service_server::TokenService, user_service_server::UserService,
};
use slipway_transport::{Caller, guard::Subject};
use tonic::{Request, Response, Status};

use super::{Surface, decode, encode};
use crate::user::{Rank, Scope};

/// Both services.
pub(super) struct Service(pub(super) Surface);

#[tonic::async_trait]
impl UserService for Service {
    async fn get_me(
        &self,
        request: Request<wire::GetMeRequest>,
    ) -> Result<Response<wire::GetMeResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let token_id = match &Caller::of(&request)?.subject {
            Subject::User { token_id, .. } => token_id.clone(),
            _ => String::new(),
        };
        Ok(Response::new(wire::GetMeResponse {
            user: Some(encode::user(user)),
            token_id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            install: self.0.install.clone(),
        }))
    }

    async fn create_user(
        &self,
        request: Request<wire::CreateUserRequest>,
    ) -> Result<Response<wire::CreateUserResponse>, Status> {
        let actor = decode::user(&self.0, &request).await?;
        let wire::CreateUserRequest { name, admin } = request.into_inner();
        let rank = if admin { Rank::Admin } else { Rank::User };
        let actor = format!("user:{}", actor.name);
        let (user, token) = self.0.users.add(&actor, &name, rank).await?;
        Ok(Response::new(wire::CreateUserResponse { user: Some(encode::user(user)), token }))
    }

    async fn list_users(
        &self,
        _request: Request<wire::ListUsersRequest>,
    ) -> Result<Response<wire::ListUsersResponse>, Status> {
        let users = self.0.users.list().await?.into_iter().map(encode::user).collect();
        Ok(Response::new(wire::ListUsersResponse { users }))
    }
}

#[tonic::async_trait]
impl TokenService for Service {
    async fn create_token(
        &self,
        request: Request<wire::CreateTokenRequest>,
    ) -> Result<Response<wire::CreateTokenResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let wire::CreateTokenRequest { name, ttl, read_only } = request.into_inner();
        let scope = if read_only { Scope::Read } else { Scope::All };
        let ttl = decode::span("ttl", ttl)?;
        let (token, secret) = self.0.users.add_token(&user, &name, ttl, scope).await?;
        Ok(Response::new(wire::CreateTokenResponse { token: Some(encode::token(token)), secret }))
    }

    async fn list_tokens(
        &self,
        request: Request<wire::ListTokensRequest>,
    ) -> Result<Response<wire::ListTokensResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        let tokens = self.0.users.tokens(user.id).await?.into_iter().map(encode::token).collect();
        Ok(Response::new(wire::ListTokensResponse { tokens }))
    }

    async fn revoke_token(
        &self,
        request: Request<wire::RevokeTokenRequest>,
    ) -> Result<Response<wire::RevokeTokenResponse>, Status> {
        let user = decode::user(&self.0, &request).await?;
        self.0.users.revoke(&user, &request.into_inner().token_id).await?;
        Ok(Response::new(wire::RevokeTokenResponse {}))
    }
}
