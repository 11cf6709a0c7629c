//! How the fake's containers start, run and end.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    Fake,
    script::{Behavior, Exit},
    world::Task,
};
use crate::{
    container::{Restart, Status},
    error::{Error, Result},
    event::What,
    logs::LogLine,
};

/// Who ends a container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// Its program.
    Itself,
    /// Somebody on request.
    Request,
}

impl Fake {
    /// Starts a container's program.
    pub(super) async fn run(&self, container: &str) -> Result<()> {
        let at = self.clock.now();
        let (behavior, address) = {
            let mut world = self.lock();
            let it = world.container(container)?;
            if it.seen.status == Status::Running {
                return Ok(());
            }
            let port = port_of(it.spec.env.get("PORT").map(|it| it.expose().as_str()));
            let (image, ip) = (it.spec.image.clone(), it.spec.network.address);
            let exposed = world.image(image.as_str())?.config.tcp_ports.first().copied();
            let behavior = world.behaviors.get(&image).cloned().unwrap_or_default();
            (behavior, SocketAddr::from((ip, port.or(exposed).unwrap_or(8080))))
        };
        if let Some(message) = &behavior.start_error {
            let (name, message) = (container.to_owned(), message.clone());
            return Err(Error::Start { name, message });
        }
        // Bound before the call returns, so that a test needs no patience.
        let listener = match behavior.serves {
            Some(_) if address.ip().is_loopback() => {
                let bound = TcpListener::bind(address).await;
                Some(bound.map_err(|source| Error::Unreachable {
                    act: "listen in a fake container",
                    source: source.into(),
                })?)
            }
            _ => None,
        };
        self.change(|world| {
            let it = world.container(container)?;
            it.starts += 1;
            let program =
                program(self.clone(), it.seen.name.clone(), it.starts, &behavior, listener);
            it.seen.status = Status::Running;
            it.seen.pid = Some(4242);
            it.seen.exit_code = None;
            it.seen.oom_killed = false;
            it.seen.started_at = Some(at);
            it.seen.health = behavior.health;
            for (stderr, line) in &behavior.lines {
                let bytes = Bytes::copy_from_slice(line.as_bytes());
                it.lines.push(LogLine { at, stderr: *stderr, bytes });
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "owned by the container, aborted with it"
            )]
            let task = tokio::spawn(program);
            it.task = Some(Task(task));
            world.report(container, at, What::Started);
            Ok(())
        })
    }

    /// Ends a container's program on request, and returns when its port is free.
    pub(super) async fn halt(&self, container: &str, code: i32) -> Result<()> {
        let exit = Exit { code, ..Exit::default() };
        match self.end(container, exit, Ending::Request) {
            Ok(Some(task)) => task.end().await,
            Ok(None) => (),
            Err(error) if error.is_missing() => (),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Ends a container's program, and returns what has played it. Success when it does not run.
    pub(super) fn end(&self, container: &str, exit: Exit, who: Ending) -> Result<Option<Task>> {
        let at = self.clock.now();
        self.change(|world| {
            let it = world.container(container)?;
            let again =
                who == Ending::Itself && restarts(it.restart, exit.code, it.seen.restart_count);
            if it.seen.status == Status::Restarting && who == Ending::Request {
                it.seen.status = Status::Exited;
                return Ok(it.task.take());
            }
            if it.seen.status != Status::Running {
                return Ok(None);
            }
            it.seen.status = if again { Status::Restarting } else { Status::Exited };
            it.seen.exit_code = Some(exit.code);
            it.seen.oom_killed = exit.oom;
            it.seen.finished_at = Some(at);
            it.seen.pid = None;
            let played = it.task.take();
            if again {
                it.seen.restart_count += 1;
                let task = revive(self.clone(), it.seen.name.clone(), it.seen.restart_count);
                #[expect(
                    clippy::disallowed_methods,
                    reason = "owned by the container, aborted with it"
                )]
                let task = tokio::spawn(task);
                it.task = Some(Task(task));
            }
            if exit.oom {
                world.report(container, at, What::OutOfMemory);
            }
            world.report(container, at, What::Died { exit_code: exit.code });
            Ok(played)
        })
    }
}

fn port_of(variable: Option<&str>) -> Option<u16> {
    variable?.parse().ok()
}

fn restarts(policy: Restart, code: i32, so_far: u32) -> bool {
    match policy {
        Restart::Never => false,
        Restart::UnlessStopped => true,
        Restart::OnFailure(limit) => code != 0 && so_far < limit,
    }
}

/// Starts a container again, later each time, as Docker does.
async fn revive(fake: Fake, name: String, count: u32) {
    let pause = Duration::from_millis(100) * 2_u32.saturating_pow(count.min(9).saturating_sub(1));
    tokio::time::sleep(pause).await;
    // A container that was removed meanwhile, or cannot start, stays as it is.
    drop(Box::pin(fake.run(&name)).await);
}

/// What a container does until it ends.
fn program(
    fake: Fake,
    name: String,
    start: u32,
    behavior: &Behavior,
    listener: Option<TcpListener>,
) -> impl Future<Output = ()> + Send + use<> {
    let exit = behavior.exit;
    let (status, body) = behavior.serves.clone().unwrap_or((200, String::new()));
    async move {
        let serve = async {
            match listener {
                Some(it) => serve(it, status, Bytes::from(body)).await,
                None => std::future::pending().await,
            }
        };
        let Some(exit) = exit else { return serve.await };
        tokio::select! {
            () = serve => (),
            () = tokio::time::sleep(exit.after) => {
                let ours = fake.lock().container(&name).is_ok_and(|it| it.starts == start);
                if ours {
                    // Removed meanwhile: nobody is left to be told.
                    drop(fake.end(&name, exit, Ending::Itself));
                }
            }
        }
    }
}

/// Answers every request alike. Connections end with the listener.
async fn serve(listener: TcpListener, status: u16, body: Bytes) {
    let mut open = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let body = body.clone();
        let answer = service_fn(move |_| {
            let body = Full::new(body.clone());
            async move { Response::builder().status(status).body(body) }
        });
        open.spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
        while open.try_join_next().is_some() {}
    }
}
