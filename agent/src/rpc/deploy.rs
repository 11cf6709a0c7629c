//! `DeployService`.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, stream};
use slipway_proto::{
    agent::v1::{self as wire, deploy_request::Part, deploy_service_server::DeployService},
    problem::{Kind, Problem},
    spec::AppSpec,
};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{encode, error};
use crate::{
    deploy::{Attached, Deploys, Error, Feed, Handle, Start},
    world::{Outside, World},
};

/// Longest time for which a prepared deployment is held.
const MAX_HOLD: std::time::Duration = std::time::Duration::from_hours(24);
/// Longest part of an archive in one message.
const MAX_CHUNK: usize = 256 << 10;

/// `DeployService`.
#[derive(Debug)]
pub struct DeployRpc<O> {
    deploys: Deploys<O>,
    world: Arc<World<O>>,
}

type Events = Pin<Box<dyn Stream<Item = Result<wire::DeployResponse, Status>> + Send>>;

impl<O: Outside> DeployRpc<O> {
    /// Serves these deployments.
    pub fn new(deploys: Deploys<O>, world: Arc<World<O>>) -> Self {
        Self { deploys, world }
    }
}

#[tonic::async_trait]
impl<O: Outside> DeployService for DeployRpc<O> {
    type DeployStream = Events;
    type ObserveStream = Events;

    async fn deploy(
        &self,
        request: Request<Streaming<wire::DeployRequest>>,
    ) -> Result<Response<Events>, Status> {
        let mut requests = request.into_inner();
        let Some(Part::Start(start)) = requests.message().await?.and_then(|it| it.part) else {
            return Err(out_of_order("the first message must be `start`"));
        };
        let Attached { events, handle } =
            self.deploys.open(decode(start)?).await.map_err(error::status)?;
        let mut replies = Replies { events, refusal: None, _caller: None, ended: false };
        if let Some(handle) = handle {
            let (refuse, refusal) = oneshot::channel();
            let (handle, gone) = (Arc::new(handle), CancellationToken::new());
            replies.refusal = Some(refusal);
            replies._caller = Some((Arc::clone(&handle), gone.clone().drop_guard()));
            let fed = async move {
                if let Some(Err(status)) = gone.run_until_cancelled(feed(requests, &handle)).await {
                    // A caller that left does not hear why it was refused.
                    drop(refuse.send(status));
                }
            };
            self.world.tasks.spawn(fed.in_current_span());
        }
        Ok(Response::new(replies.stream()))
    }

    async fn observe(
        &self,
        request: Request<wire::ObserveRequest>,
    ) -> Result<Response<Events>, Status> {
        let wire::ObserveRequest { deploy_id, after_seq } = request.into_inner();
        let deploy_id = parse_id(&deploy_id)?;
        let events = self.deploys.observe(deploy_id, after_seq).await.map_err(error::status)?;
        let replies = Replies { events, refusal: None, _caller: None, ended: false };
        Ok(Response::new(replies.stream()))
    }
}

fn parse_id(text: &str) -> Result<Uuid, Status> {
    text.parse().map_err(|_| {
        error::status(Problem::invalid("SW-DEPLOYMENT-ID", "deploy_id", "it is not a UUID"))
    })
}

fn decode(start: wire::Start) -> Result<Start, Status> {
    let wire::Start { deploy_id, epoch, release, spec, hold, after_seq } = start;
    let deploy_id = parse_id(&deploy_id)?;
    let spec = AppSpec::try_from(spec.ok_or_else(|| error::missing("spec"))?);
    let hold = match hold {
        None => None,
        Some(it) => {
            let fits = std::time::Duration::try_from(it).ok().filter(|it| *it <= MAX_HOLD);
            Some(fits.ok_or_else(|| {
                error::status(Problem::invalid("SW-DURATION", "hold", "it is not 0 to 24 h"))
            })?)
        }
    };
    if release == 0 {
        return Err(error::status(Problem::invalid(
            "SW-RELEASE",
            "release",
            "it must be 1 or more",
        )));
    }
    Ok(Start { deploy_id, epoch, release, spec: spec.map_err(error::status)?, hold, after_seq })
}

fn out_of_order(message: &str) -> Status {
    error::status(Problem::new(Kind::Conflict, "SW-STREAM", message))
}

/// Passes the caller's orders on until it half-closes or vanishes. Neither ends the deployment.
async fn feed(mut requests: Streaming<wire::DeployRequest>, handle: &Handle) -> Result<(), Status> {
    loop {
        let next = tokio::select! {
            next = requests.message() => next,
            overtaken = handle.overtaken() => return Err(error::status(overtaken)),
        };
        // Gone or silent: the deployment holds, and waits for whoever comes back.
        let Ok(Some(request)) = next else { return Ok(()) };
        let ordered = match request.part {
            Some(Part::Chunk(wire::Chunk { data, .. })) if MAX_CHUNK < data.len() => {
                Err(Error::Refused(Problem::invalid(
                    "SW-CHUNK-SIZE",
                    "chunk",
                    "a chunk has at most 256 KiB",
                )))
            }
            Some(Part::Chunk(wire::Chunk { offset, data })) => handle.chunk(offset, data).await,
            Some(Part::SourceEnd(wire::SourceEnd {})) => handle.source_end(),
            Some(Part::Activate(wire::Activate {})) => handle.activate(),
            Some(Part::Commit(wire::Commit {})) => handle.commit(),
            Some(Part::Abort(wire::Abort { reason })) => handle.abort(&reason),
            Some(Part::Start(_)) => return Err(out_of_order("`start` comes only once")),
            None => return Err(out_of_order("a message without a part")),
        };
        ordered.map_err(error::status)?;
    }
}

/// What a caller gets.
struct Replies {
    events: Feed,
    /// Why the caller is not heard any more.
    refusal: Option<oneshot::Receiver<Status>>,
    /// While this lives, the deployment has a caller.
    _caller: Option<(Arc<Handle>, DropGuard)>,
    ended: bool,
}

impl Replies {
    fn stream(self) -> Events {
        Box::pin(stream::unfold(self, |mut it| async move {
            let reply = it.next().await?;
            Some((reply, it))
        }))
    }

    async fn next(&mut self) -> Option<Result<wire::DeployResponse, Status>> {
        if self.ended {
            return None;
        }
        let next = loop {
            let refused = async {
                match &mut self.refusal {
                    Some(refusal) => refusal.await.ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                next = self.events.next() => break next,
                status = refused => match status {
                    Some(status) => {
                        self.ended = true;
                        return Some(Err(status));
                    }
                    // The caller has half-closed; there is nothing more to refuse.
                    None => self.refusal = None,
                },
            }
        };
        match next {
            Ok(Some(stamped)) => {
                self.ended = stamped.event.is_last();
                Some(Ok(encode::event(stamped)))
            }
            Ok(None) if self.events.is_over() => None,
            Ok(None) => {
                self.ended = true;
                Some(Err(error::status(Error::Stopping)))
            }
            Err(failure) => {
                self.ended = true;
                tracing::error!(error = %failure, "could not read the events of a deployment");
                Some(Err(error::status(Problem::internal("the events cannot be read"))))
            }
        }
    }
}
