//! A deployment's events until its end.
//!
//! A connection that breaks is made again and goes on after the last event that was seen. The first
//! Ctrl-C asks the deployment to stop and to put everything back, and waits until it has; the second
//! leaves it to itself.
//!
//! * [`mod@show`]: what one event looks like: bars on a terminal, lines elsewhere, frames for programs.

mod frames;
mod lines;
mod screen;
mod show;

use std::time::Duration;

use slipway_proto::{
    control::v1::{self as wire, event::Kind},
    problem::{self, Problem},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};
use tonic::{Status, Streaming};

pub(super) use self::{
    lines::line,
    show::{Show, show},
};
use super::{Error, Output, connect::Client};

/// For how long a lost control plane is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// What Ctrl-C does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Interrupt {
    /// The first cancels the deployment, the second leaves.
    Cancels,
    /// The first leaves.
    Leaves,
}

/// A deployment that is being followed.
pub(super) struct Follow<'a> {
    client: &'a Client,
    output: &'a Output,
    interrupt: Interrupt,
    /// Its id, once it is known.
    pub(super) deployment_id: String,
    /// The last event that was seen.
    pub(super) seen: u64,
    /// Ctrl-C.
    pub(super) keys: Keys,
    interrupts: u32,
    lost_since: Option<Instant>,
    wait: Duration,
}

/// What there is to do next.
pub(super) enum Next {
    /// Something was shown; go on.
    More,
    /// The stream ended or broke; open it again after a while.
    Again,
    /// The deployment ended.
    Done(Box<wire::DoneEvent>),
}

impl<'a> Follow<'a> {
    /// Follows from the event after `seen`.
    pub(super) fn new(
        client: &'a Client,
        output: &'a Output,
        interrupt: Interrupt,
        deployment_id: String,
        seen: u64,
    ) -> Self {
        Self {
            client,
            output,
            interrupt,
            deployment_id,
            seen,
            keys: Keys::new(),
            interrupts: 0,
            lost_since: None,
            wait: FIRST_WAIT,
        }
    }

    /// Follows to the end.
    pub(super) async fn finish(
        &mut self,
        show: &mut dyn Show,
    ) -> Result<Box<wire::DoneEvent>, Error> {
        loop {
            let mut stream = match self.open().await {
                Ok(stream) => stream,
                Err(status) => {
                    self.lost(&status, show).await?;
                    continue;
                }
            };
            loop {
                let next = tokio::select! {
                    message = stream.message() => {
                        let event = message.map(|it| it.and_then(|it| it.event));
                        self.take(event, show)?
                    }
                    () = self.keys.pressed() => {
                        self.interrupted(show).await?;
                        Next::More
                    }
                };
                match next {
                    Next::More => (),
                    Next::Again => {
                        self.pause(show).await?;
                        break;
                    }
                    Next::Done(done) => return Ok(done),
                }
            }
        }
    }

    async fn open(&self) -> Result<Streaming<wire::WatchResponse>, Status> {
        let request = wire::WatchRequest {
            deployment_id: self.deployment_id.clone(),
            after_seq: self.seen,
            no_follow: false,
        };
        Ok(self.client.deployments().watch(request).await?.into_inner())
    }

    /// Shows one event; tells a broken stream from a refusal.
    pub(super) fn take(
        &mut self,
        event: Result<Option<wire::Event>, Status>,
        show: &mut dyn Show,
    ) -> Result<Next, Error> {
        match event {
            Ok(Some(event)) => {
                self.lost_since = None;
                self.wait = FIRST_WAIT;
                // A repetition after a reconnection is not news.
                if event.seq != 0 && event.seq <= self.seen {
                    return Ok(Next::More);
                }
                self.seen = event.seq.max(self.seen);
                show.event(&event)?;
                match event.kind {
                    Some(Kind::Done(done)) => {
                        show.end();
                        Ok(Next::Done(Box::new(done)))
                    }
                    _ => Ok(Next::More),
                }
            }
            Ok(None) => Ok(Next::Again),
            Err(status) if is_broken(&status) && !self.deployment_id.is_empty() => Ok(Next::Again),
            Err(status) => {
                show.end();
                Err(status.into())
            }
        }
    }

    async fn lost(&mut self, status: &Status, show: &mut dyn Show) -> Result<(), Error> {
        if !is_broken(status) {
            show.end();
            return Err(Problem::from_status(status).into());
        }
        self.pause(show).await
    }

    /// Waits before the next try, or gives up.
    async fn pause(&mut self, show: &mut dyn Show) -> Result<(), Error> {
        let since = *self.lost_since.get_or_insert_with(|| {
            show.note(
                "the connection to the control plane broke; the deployment goes on, trying again",
            );
            Instant::now()
        });
        if since.elapsed() > PATIENCE {
            show.end();
            return Err(Error::local(
                format!("the control plane did not answer for {} s", PATIENCE.as_secs()),
                format!(
                    "the deployment may have gone on: slipway events {} -f",
                    self.deployment_id
                ),
            ));
        }
        tokio::select! {
            () = tokio::time::sleep(self.wait) => (),
            () = self.keys.pressed() => self.interrupted(show).await?,
        }
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        Ok(())
    }

    /// Does what Ctrl-C stands for.
    pub(super) async fn interrupted(&mut self, show: &mut dyn Show) -> Result<(), Error> {
        self.interrupts += 1;
        if self.interrupt == Interrupt::Leaves {
            show.end();
            return Err(Error::Left);
        }
        if self.interrupts > 1 || self.deployment_id.is_empty() {
            show.end();
            self.output.note(format!(
                "left; the deployment goes on by itself: slipway events {} -f",
                self.deployment_id
            ));
            return Err(Error::Left);
        }
        show.note("canceling, everything is put back; Ctrl-C again leaves without waiting");
        let request = wire::CancelDeploymentRequest { deployment_id: self.deployment_id.clone() };
        if let Err(status) = self.client.deployments().cancel_deployment(request).await {
            show.note(&format!("could not cancel: {}", Problem::from_status(&status)));
        }
        Ok(())
    }
}

/// Whether the same call can succeed a moment later.
pub(super) fn is_broken(status: &Status) -> bool {
    Problem::from_status(status).kind == problem::Kind::Unavailable
}

/// Ctrl-C, and none of them lost.
pub(super) struct Keys(Option<Signal>);

impl Keys {
    /// Takes Ctrl-C from now on. Where that cannot be, it ends the process by itself.
    pub(super) fn new() -> Self {
        Self(signal(SignalKind::interrupt()).ok())
    }

    /// Ends at the next Ctrl-C.
    pub(super) async fn pressed(&mut self) {
        let pressed = match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if pressed.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
