//! `slipway deploy`: flags to a request, the source on its way, events until the end.
//!
//! * [`args`]: the flags.
//! * [`mod@env`]: variables and secrets.
//! * [`spec`]: the message that starts it.
//! * [`upload`]: the source.

mod args;
mod env;
mod spec;
mod upload;

use std::time::Duration;

use slipway_proto::control::v1::{self as wire, DeployRequest, deploy_request::Part, event::Kind};
use tokio::{sync::mpsc, task::JoinHandle, time};
use tokio_stream::wrappers::ReceiverStream;

pub use self::args::Args;
use self::{
    spec::{Request, Upload},
    upload::Meter,
};
use super::Shell;
use crate::cli::{
    Error,
    connect::Client,
    follow::{self, Follow, Interrupt, Next, Show},
    output::{Paint, json},
};

/// Requests on their way: a few chunks, so that the packing waits for the connection.
const AHEAD: usize = 4;
/// How often the meter is read.
const TICK: Duration = Duration::from_millis(100);

/// Runs the verb.
pub(super) async fn run(args: Args, shell: &Shell<'_>) -> Result<(), Error> {
    let key = uuid::Uuid::now_v7().to_string();
    let Request { start, upload } = spec::request(&args, shell.environment, key)?;
    let app = start.spec.as_ref().map(|it| it.app.clone()).unwrap_or_default();
    let client = shell.connect()?;
    let mut show = follow::show(shell.output);
    let mut deployment = Deployment::open(&client, shell, start, upload).await?;
    let done = deployment.run(args.detach, show.as_mut()).await?;
    let deployment_id = deployment.follow.deployment_id.clone();
    match done {
        Some(done) => finish(shell, &app, deployment_id, done),
        None => detached(shell, &app, &deployment_id),
    }
}

/// A deployment that this command started.
struct Deployment<'a> {
    follow: Follow<'a>,
    responses: tonic::Streaming<wire::DeployResponse>,
    /// Kept open until the end: closing it early would say that the caller is gone.
    _requests: mpsc::Sender<DeployRequest>,
    upload: Option<JoinHandle<Result<(), Error>>>,
    meter: Meter,
    total: Option<u64>,
}

impl<'a> Deployment<'a> {
    async fn open(
        client: &'a Client,
        shell: &'a Shell<'_>,
        start: wire::StartDeployment,
        upload: Upload,
    ) -> Result<Self, Error> {
        let (requests, receiver) = mpsc::channel(AHEAD);
        // The channel is empty and its reader is right here.
        drop(requests.send(DeployRequest { part: Some(Part::Start(start)) }).await);
        let responses =
            client.deployments().deploy(ReceiverStream::new(receiver)).await?.into_inner();
        let (meter, total) = (Meter::default(), upload::length(&upload));
        let upload = (upload != Upload::Nothing).then(|| {
            let (requests, meter) = (requests.clone(), meter.clone());
            tokio::task::spawn_blocking(move || upload::send(&upload, requests, meter))
        });
        let follow = Follow::new(client, shell.output, Interrupt::Cancels, String::new(), 0);
        Ok(Self { follow, responses, _requests: requests, upload, meter, total })
    }

    /// Runs to the end, or until it can be left alone when `detach` is set.
    async fn run(
        &mut self,
        detach: bool,
        show: &mut dyn Show,
    ) -> Result<Option<Box<wire::DoneEvent>>, Error> {
        let mut tick = time::interval(TICK);
        loop {
            let next = tokio::select! {
                message = self.responses.message() => {
                    let event = message.map(|it| it.and_then(|it| {
                        self.follow.deployment_id = it.deployment_id;
                        it.event
                    }));
                    let alone = detach && event.as_ref().is_ok_and(|it| it.as_ref().is_some_and(needs_nobody));
                    let next = self.follow.take(event, show)?;
                    if alone && !matches!(next, Next::Done(_)) {
                        show.end();
                        return Ok(None);
                    }
                    next
                }
                _ = tick.tick() => {
                    self.measure(show).await?;
                    Next::More
                }
                () = self.follow.keys.pressed() => {
                    self.follow.interrupted(show).await?;
                    Next::More
                }
            };
            match next {
                Next::More => (),
                Next::Done(done) => return Ok(Some(done)),
                // An upload that was cut short ends the deployment; its last event says so.
                Next::Again if self.follow.deployment_id.is_empty() => {
                    show.end();
                    return Err(Error::local(
                        "the connection to the control plane broke before the deployment began",
                        "nothing has changed; run the command again",
                    ));
                }
                Next::Again => return self.follow.finish(show).await.map(Some),
            }
        }
    }

    /// Shows how far the upload is, and takes its end.
    async fn measure(&mut self, show: &mut dyn Show) -> Result<(), Error> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        show.uploaded(self.meter.bytes(), self.total);
        if !upload.is_finished() {
            return Ok(());
        }
        let ended = match upload.await {
            Ok(ended) => ended,
            Err(_) => Err(Error::local("the source could not be packed", "")),
        };
        self.upload = None;
        match ended {
            // The control plane closed the stream; what it has to say comes as an event.
            Ok(()) | Err(Error::Left) => Ok(()),
            Err(error) => {
                show.end();
                Err(error)
            }
        }
    }
}

/// Whether the deployment has its source and goes on without its caller.
fn needs_nobody(event: &wire::Event) -> bool {
    match (&event.kind, event.phase.as_str()) {
        (Some(Kind::Step(step)), "upload") => step.state == "done",
        (_, "plan" | "upload") => false,
        _ => true,
    }
}

fn detached(shell: &Shell<'_>, app: &str, deployment_id: &str) -> Result<(), Error> {
    if shell.output.json() {
        return Ok(());
    }
    shell.output.line(deployment_id)?;
    shell.output.note(format!("`{app}` is being deployed: slipway events {deployment_id} -f"));
    Ok(())
}

/// Says how a deployment ended. Also the end of `rollback`.
pub(super) fn finish(
    shell: &Shell<'_>,
    app: &str,
    deployment_id: String,
    done: Box<wire::DoneEvent>,
) -> Result<(), Error> {
    let output = shell.output;
    if !done.success {
        return Err(Error::Deployment { deployment_id, done });
    }
    if output.json() {
        return Ok(());
    }
    let what = format!("`{app}` serves release {}", done.release);
    output.note(format!("{} {what}", output.paint_note(Paint::Good, "✓")));
    for url in done.servers.iter().flat_map(|it| &it.urls) {
        output.line(url)?;
    }
    let failed = done.servers.iter().filter(|it| !it.success).filter_map(|it| it.error.as_ref());
    failed.for_each(|it| output.note(json::problem(it).to_string()));
    Ok(())
}
