//! Building images.
//!
//! Nothing of the caller's is used as a cache source, and no build argument is passed: an image
//! follows from the context alone. The builder's containers have the daemon's default network and
//! the limits of the request, and go with the build, however it ends.

mod kit;
mod transcript;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::{Method, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use transcript::Transcript;

use super::{
    Docker, image,
    pull::Message,
    wire::{Ask, Lines, refused},
};
use crate::{
    build::{BuildEvent, BuildRequest, Builder, Cache, Context},
    error::{Error, Result},
    image::ImageId,
};

const ACT: &str = "build an image";

pub(super) async fn run(
    docker: &Docker,
    request: &BuildRequest,
    context: Context,
    events: mpsc::Sender<BuildEvent>,
) -> Result<ImageId> {
    let limits = request.limits;
    let pulse = Pulse::new();
    let context = pulse.watch(context);
    let work = async {
        let sink = Sink { events, pulse: pulse.clone(), transcript: Transcript::default() };
        match request.builder {
            Builder::Classic => classic(docker, request, context, sink).await,
            Builder::BuildKit => kit::build(docker, request, context, sink).await,
        }
    };
    let watched = async {
        tokio::select! {
            out = work => out,
            () = pulse.stopped(limits.idle) => Err(Error::BuildIdle { limit: limits.idle }),
        }
    };
    let late = |_| Error::BuildTimeout { limit: limits.time };
    let out = timeout(limits.time, watched).await.map_err(late)?;
    // A broken context shows as a broken connection; say what it was.
    match pulse.lock().failure.take() {
        Some(source) => Err(Error::Context { source }),
        None => out,
    }
}

async fn classic(
    docker: &Docker,
    request: &BuildRequest,
    context: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    mut sink: Sink,
) -> Result<ImageId> {
    let body = StreamBody::new(context.map(|it| it.map(Frame::data))).boxed_unsync();
    let ask = Ask::new(ACT, Method::POST, "/build")
        .header(header::CONTENT_TYPE, "application/x-tar".to_owned())
        .query(query(request)?);
    let response = docker.wire.open(&ask, body).await.map_err(|error| match error {
        // The Dockerfile is read before anything else, and refused like a bad request.
        Error::Refused { status: 400, message, .. } => failed(message, None),
        other => other,
    })?;
    let mut lines: Lines<Message> = Lines::new(ACT, response.into_body());
    let mut id = None;
    while let Some(message) = lines.next().await? {
        sink.alive();
        if let Some(words) = message.failure() {
            sink.finish().await;
            return Err(failed(words, message.error_detail.and_then(|it| it.code)));
        }
        if let Some(layer) = message.layer() {
            sink.send(BuildEvent::Pull(layer)).await;
        }
        if let Some(text) = &message.stream {
            sink.text(text).await;
        }
        if let Some(found) = message.aux.as_ref().and_then(|it| it.get("ID")?.as_str()) {
            id = Some(found.parse()?);
        }
    }
    sink.finish().await;
    match id {
        Some(id) => Ok(id),
        None => image::inspect(&docker.wire, &request.tag).await.map(|it| it.id),
    }
}

fn query(request: &BuildRequest) -> Result<Vec<(&'static str, String)>> {
    let BuildRequest { tag, dockerfile, labels, limits, builder: _, cache } = request;
    let labels = serde_json::to_string(labels)
        .map_err(|it| Error::Answer { act: ACT, source: it.into() })?;
    let flag = |it: bool| if it { "1" } else { "0" }.to_owned();
    let mut query = vec![
        ("t", tag.clone()),
        ("dockerfile", dockerfile.clone()),
        ("labels", labels),
        ("rm", flag(true)),
        ("forcerm", flag(true)),
        ("nocache", flag(*cache == Cache::None)),
        ("memory", limits.memory_bytes.to_string()),
        ("memswap", limits.memory_bytes.to_string()),
        ("networkmode", "default".to_owned()),
        ("version", "1".to_owned()),
    ];
    if let Some(millis) = limits.cpu_millis {
        query.push(("cpuperiod", "100000".to_owned()));
        query.push(("cpuquota", (u64::from(millis) * 100).to_string()));
    }
    Ok(query)
}

/// What the builder's last words mean.
fn failed(message: String, code: Option<i32>) -> Error {
    if message.contains("no space left on device") {
        return refused(ACT, 500, message);
    }
    let exit_code = code.filter(|it| *it != 0).or_else(|| transcript::exit_code(&message));
    Error::Build { message: transcript::plain(message.trim()), exit_code }
}

/// Where a build's output goes.
struct Sink {
    events: mpsc::Sender<BuildEvent>,
    pulse: Pulse,
    transcript: Transcript,
}

impl Sink {
    fn alive(&self) {
        self.pulse.beat();
    }

    async fn text(&mut self, text: &str) {
        for event in self.transcript.push(text) {
            self.send(event).await;
        }
    }

    async fn finish(&mut self) {
        if let Some(event) = self.transcript.finish() {
            self.send(event).await;
        }
    }

    async fn send(&self, event: BuildEvent) {
        // A listener that has gone does not hurt.
        drop(self.events.send(event).await);
        self.alive();
    }
}

/// Whether a build shows signs of life, and what became of its context.
#[derive(Clone)]
struct Pulse(Arc<Mutex<Beat>>);

struct Beat {
    last: Instant,
    failure: Option<io::Error>,
}

impl Pulse {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Beat { last: Instant::now(), failure: None })))
    }

    fn lock(&self) -> MutexGuard<'_, Beat> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self) {
        self.lock().last = Instant::now();
    }

    /// Returns when nothing has happened for so long.
    async fn stopped(&self, idle: Duration) {
        loop {
            let due = self.lock().last + idle;
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }

    /// Counts each piece that is taken as a sign of life, and keeps the error.
    fn watch(&self, context: Context) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let pulse = self.clone();
        context.map(move |piece| {
            pulse.beat();
            piece.map_err(|error| {
                let copy = io::Error::new(error.kind(), error.to_string());
                pulse.lock().failure = Some(error);
                copy
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_told_its_limits() {
        let mut request = BuildRequest::new("slipway/web:1", crate::label::Labels::new());
        request.limits.memory_bytes = 3 << 30;
        request.limits.cpu_millis = Some(1500);
        let query: std::collections::BTreeMap<_, _> =
            query(&request).unwrap().into_iter().collect();
        let at = |key: &str| query[key].as_str();
        assert_eq!((at("memory"), at("memswap")), ("3221225472", "3221225472"));
        assert_eq!((at("cpuperiod"), at("cpuquota")), ("100000", "150000"));
        assert_eq!((at("forcerm"), at("nocache"), at("networkmode")), ("1", "0", "default"));
        assert!(!query.contains_key("cachefrom") && !query.contains_key("buildargs"));
    }

    #[tokio::test]
    async fn a_build_without_a_sign_of_life_ends() {
        let pulse = Pulse::new();
        let before = Instant::now();
        let beats = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                pulse.beat();
            }
        };
        tokio::join!(beats, pulse.stopped(Duration::from_millis(50)));
        assert!(Duration::from_millis(110) <= before.elapsed());
    }
}
