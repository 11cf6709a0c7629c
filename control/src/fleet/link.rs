//! What the control plane asks of one agent.

use std::{fmt, time::Duration};

use futures::Stream;
use slipway_proto::{
    agent::v1::{
        self as wire, app_service_client::AppServiceClient,
        deploy_service_client::DeployServiceClient, node_service_client::NodeServiceClient,
    },
    key::{self, NodeKey},
    problem::{Kind, Problem},
};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataValue};

use super::Pipe;

/// A quick question.
const QUICK: Duration = Duration::from_secs(10);
/// Stopping and removing wait for containers to end.
const STOPPING: Duration = Duration::from_secs(15 * 60);
/// Starting waits until an app is healthy, for at most 30 min.
const STARTING: Duration = Duration::from_secs(35 * 60);
/// Time in which a stream has to open.
const OPEN: Duration = Duration::from_secs(15);
/// Largest message that an agent may send.
const MESSAGE: usize = 4 << 20;

/// One agent. Cheap to clone. Every call is a single attempt with a deadline.
#[derive(Clone)]
pub struct Link {
    pipe: Pipe,
    key: NodeKey,
    server: String,
}

/// Makes each plain call: its name, its request and its answer, and how long it may take.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident: $client:ident.$method:ident($request:ty) -> $answer:ty, $limit:expr;)+) => {
        $($(#[$doc])*
        ///
        /// # Errors
        /// What the agent said; `Unavailable` or `Timeout` when it said nothing.
        pub async fn $name(&self, request: $request) -> Result<$answer, Problem> {
            let mut client = $client::new(self.pipe.clone()).max_decoding_message_size(MESSAGE);
            let call = client.$method(self.request(request)?);
            self.answer($limit, call).await.map(Response::into_inner)
        })+
    };
}

impl Link {
    /// Makes a link. `server` is the server's name, for errors.
    pub fn new(pipe: Pipe, key: NodeKey, server: impl Into<String>) -> Self {
        Self { pipe, key, server: server.into() }
    }

    /// Name of the server.
    pub fn server(&self) -> &str {
        &self.server
    }

    calls! {
        /// Asks who the agent is.
        version: NodeServiceClient.get_version(wire::GetVersionRequest) -> wire::GetVersionResponse, QUICK;
        /// Asks how the server is.
        health: NodeServiceClient.get_health(wire::GetHealthRequest) -> wire::GetHealthResponse, QUICK;
        /// Lists the server's apps.
        list_apps: AppServiceClient.list_apps(wire::ListAppsRequest) -> wire::ListAppsResponse, QUICK;
        /// Describes an app.
        app: AppServiceClient.get_app(wire::GetAppRequest) -> wire::GetAppResponse, QUICK;
        /// Stops an app.
        stop: AppServiceClient.stop_app(wire::StopAppRequest) -> wire::StopAppResponse, STOPPING;
        /// Starts an app.
        start: AppServiceClient.start_app(wire::StartAppRequest) -> wire::StartAppResponse, STARTING;
        /// Restarts an app.
        restart: AppServiceClient.restart_app(wire::RestartAppRequest) -> wire::RestartAppResponse, STARTING;
        /// Removes an app.
        remove: AppServiceClient.remove_app(wire::RemoveAppRequest) -> wire::RemoveAppResponse, STOPPING;
    }

    /// Opens the stream of an app's output.
    ///
    /// # Errors
    /// As the other calls.
    pub async fn logs(
        &self,
        request: wire::LogsRequest,
    ) -> Result<Streaming<wire::LogsResponse>, Problem> {
        let mut client =
            AppServiceClient::new(self.pipe.clone()).max_decoding_message_size(MESSAGE);
        let call = client.logs(self.request(request)?);
        self.answer(OPEN, call).await.map(Response::into_inner)
    }

    /// Opens or resumes a deployment. What `input` yields goes to the agent, with back-pressure; the
    /// stream that comes back ends after the deployment's last event, or breaks.
    ///
    /// # Errors
    /// As the other calls.
    pub async fn deploy(
        &self,
        input: impl Stream<Item = wire::DeployRequest> + Send + 'static,
    ) -> Result<Streaming<wire::DeployResponse>, Problem> {
        let mut client =
            DeployServiceClient::new(self.pipe.clone()).max_decoding_message_size(MESSAGE);
        let call = client.deploy(self.request(input)?);
        self.answer(OPEN, call).await.map(Response::into_inner)
    }

    fn request<T>(&self, message: T) -> Result<Request<T>, Problem> {
        let mut request = Request::new(message);
        let mut value = MetadataValue::try_from(self.key.expose())
            .map_err(|_| Problem::internal("the agent's key is no header value"))?;
        value.set_sensitive(true);
        request.metadata_mut().insert(key::METADATA, value);
        Ok(request)
    }

    async fn answer<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<Response<T>, Problem> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(self.problem(&status)),
            Err(_) => Err(self.silent(limit)),
        }
    }

    /// What a status of this agent means. A broken connection names the server.
    pub fn problem(&self, status: &Status) -> Problem {
        let problem = Problem::from_status(status);
        if problem.code != "SW-UNREACHABLE" {
            return problem;
        }
        let message = format!("server `{}` cannot be reached: {}", self.server, problem.message);
        Problem { message, ..problem }
            .hint("look whether it is up and its port is open: `slipway server health`")
    }

    fn silent(&self, limit: Duration) -> Problem {
        let message = format!("server `{}` did not answer within {limit:?}", self.server);
        Problem::new(Kind::Timeout, "SW-TIMEOUT", message)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("server", &self.server).finish_non_exhaustive()
    }
}
