//! The connection to a control plane. The token carries the pin of its root, so that the token and
//! the address are all that is needed to trust it.

use std::fmt;

use slipway_proto::{
    control::v1::{
        app_service_client::AppServiceClient, deployment_service_client::DeploymentServiceClient,
        server_service_client::ServerServiceClient, token_service_client::TokenServiceClient,
        user_service_client::UserServiceClient,
    },
    token::ApiToken,
};
use slipway_transport::{CONTROL_NAME, Channel, tls::ClientTls};
use url::Url;

use super::{Error, context::Context};

/// Port of the control plane's gRPC listener.
const PORT: u16 = 7443;
/// The longest answer that is taken; lists are paged, inspections are not.
const ANSWER_LIMIT: usize = 16 << 20;

/// Clients of every service, on one connection.
#[derive(Clone)]
pub(super) struct Client {
    channel: Channel,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("target", &self.channel.target()).finish()
    }
}

impl Client {
    /// Gets ready to call; the connection comes with the first call.
    pub(super) fn connect(context: &Context) -> Result<Self, Error> {
        let token = ApiToken::parse(context.token.expose())?;
        let address = address(&context.url)?;
        let channel = Channel::tls(&address, CONTROL_NAME, ClientTls::pinned(token.pin().clone()))?
            .with_token(context.token.expose())?;
        Ok(Self { channel })
    }

    /// Deployments.
    pub(super) fn deployments(&self) -> DeploymentServiceClient<Channel> {
        DeploymentServiceClient::new(self.channel.clone())
    }

    /// Apps.
    pub(super) fn apps(&self) -> AppServiceClient<Channel> {
        AppServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_LIMIT)
    }

    /// Servers.
    pub(super) fn servers(&self) -> ServerServiceClient<Channel> {
        ServerServiceClient::new(self.channel.clone())
    }

    /// Users.
    pub(super) fn users(&self) -> UserServiceClient<Channel> {
        UserServiceClient::new(self.channel.clone())
    }

    /// Tokens.
    pub(super) fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel.clone())
    }
}

/// `https://host:7443` from `host`, `host:port` or a URL.
pub(super) fn full_url(text: &str) -> Result<String, Error> {
    let address = address(text)?;
    Ok(format!("https://{address}"))
}

/// `host:port` of a control plane's URL.
fn address(text: &str) -> Result<String, Error> {
    let refuse = |why: &str| {
        Error::config(
            format!("`{text}` is not the URL of a control plane: {why}"),
            "write it as https://host:7443",
        )
    };
    let with_scheme =
        if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = Url::parse(&with_scheme).map_err(|error| refuse(&error.to_string()))?;
    if url.scheme() != "https" {
        return Err(refuse("it must begin with https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("the token belongs into SLIPWAY_TOKEN"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() {
        return Err(refuse("it has a path"));
    }
    let host = url.host_str().ok_or_else(|| refuse("it has no host"))?;
    // The port that a URL leaves out is ours, not 443, unless 443 is written.
    let written = with_scheme.trim_end_matches('/').ends_with(":443");
    let port = url.port().unwrap_or(if written { 443 } else { PORT });
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_out_what_is_usual() {
        assert_eq!(full_url("control.example.com").unwrap(), "https://control.example.com:7443");
        assert_eq!(full_url("https://10.0.0.1:9000/").unwrap(), "https://10.0.0.1:9000");
        assert_eq!(full_url("https://a.example:443").unwrap(), "https://a.example:443");
        assert_eq!(full_url("[::1]:7443").unwrap(), "https://[::1]:7443");
    }

    #[test]
    fn what_is_no_address_is_wrong_configuration() {
        for text in ["", "http://a", "https://user:pw@a", "https://a/path", "a b"] {
            assert_eq!(full_url(text).unwrap_err().exit_code(), 78, "{text}");
        }
    }
}
