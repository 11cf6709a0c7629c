//! The output of an app's servers, merged. A slow reader slows the servers' streams down, and the
//! agents tell how much it missed; nothing piles up here.
//!
//! Tasks: one per server, all owned by the stream that is handed out.

use futures::{Stream, stream};
use slipway_proto::{
    agent::v1 as agent,
    control::v1::{AppTarget, LogsResponse},
    problem::Problem,
};
use slipway_store::{Server, UserId};
use tokio::{sync::mpsc, task::JoinSet};

use super::{Apps, link, reference};
use crate::fleet::Agents;

/// Batches on their way to the reader.
const AHEAD: usize = 4;

/// Which lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogQuery {
    /// Keep following.
    pub follow: bool,
    /// Only lines at or after this time.
    pub since: Option<prost_types::Timestamp>,
    /// Only lines before this time.
    pub until: Option<prost_types::Timestamp>,
    /// Only the last lines of each container; 0: all.
    pub tail: u32,
}

impl Apps {
    /// Streams an app's output. A server whose lines end says why in its last message.
    ///
    /// # Errors
    /// SW-APP-MISSING, SW-SERVER-MISSING.
    pub async fn logs(
        &self,
        user: UserId,
        target: AppTarget,
        query: LogQuery,
    ) -> Result<impl Stream<Item = LogsResponse> + Send + use<>, Problem> {
        let found = self.find(user, &target).await?;
        let LogQuery { follow, since, until, tail } = query;
        let app = Some(reference(&found.app));
        let request = agent::LogsRequest { app, follow, since, until, tail };
        let (out, lines) = mpsc::channel(AHEAD);
        let mut tasks = JoinSet::new();
        for server in found.servers {
            tasks.spawn(follow_one(self.agents().clone(), server, request.clone(), out.clone()));
        }
        Ok(stream::unfold((lines, tasks), |(mut lines, tasks)| async move {
            lines.recv().await.map(|it| (it, (lines, tasks)))
        }))
    }
}

async fn follow_one(
    agents: Agents,
    server: Server,
    request: agent::LogsRequest,
    out: mpsc::Sender<LogsResponse>,
) {
    let name = server.name.clone();
    if let Err(problem) = pass_on(&agents, &server, request, &out).await {
        let last = LogsResponse { server: name, error: problem.to_string(), ..Default::default() };
        // A reader that has gone needs no reason.
        drop(out.send(last).await);
    }
}

async fn pass_on(
    agents: &Agents,
    server: &Server,
    request: agent::LogsRequest,
    out: &mpsc::Sender<LogsResponse>,
) -> Result<(), Problem> {
    let link = link(agents, server).await?;
    let mut lines = link.logs(request).await?;
    while let Some(batch) = lines.message().await.map_err(|it| link.problem(&it))? {
        let agent::LogsResponse { lines, dropped } = batch;
        let response =
            LogsResponse { server: server.name.clone(), lines, dropped, error: String::new() };
        if out.send(response).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
