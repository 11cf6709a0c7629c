//! Builds by the daemon's `BuildKit`. It calls back into the client over a session, which the client
//! library serves, on our wire.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io,
    sync::Arc,
};

use bollard::{
    errors::Error as Foreign,
    models::{BuildInfo, BuildInfoAux},
    query_parameters::{BuildImageOptions, BuilderVersion},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http_body_util::BodyExt as _;

use super::{ACT, Sink, failed, transcript};
use crate::{
    build::{BuildEvent, BuildRequest, Cache},
    docker::{
        Docker, image,
        wire::{Wire, away, refused},
    },
    error::{Error, Result},
    image::ImageId,
};

pub(super) async fn build(
    docker: &Docker,
    request: &BuildRequest,
    context: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    mut sink: Sink,
) -> Result<ImageId> {
    let client = client(docker, request).await?;
    // Sessions are told apart by this name only.
    let session = format!("slipway-{:016x}", RandomState::new().build_hasher().finish());
    let options = BuildImageOptions {
        dockerfile: request.dockerfile.clone(),
        t: Some(request.tag.clone()),
        labels: Some(request.labels.clone().into_iter().collect()),
        rm: true,
        forcerm: true,
        nocache: request.cache == Cache::None,
        networkmode: Some("default".to_owned()),
        version: BuilderVersion::BuilderBuildKit,
        session: Some(session),
        ..Default::default()
    };
    let mut messages = client.build_image(options, None, Some(bollard::body_try_stream(context)));
    let mut cause = None;
    while let Some(message) = messages.next().await {
        sink.alive();
        match message {
            Ok(info) => report(info, &mut sink, &mut cause).await,
            Err(error) => {
                sink.finish().await;
                return Err(meaning(error, cause));
            }
        }
    }
    sink.finish().await;
    image::inspect(&docker.wire, &request.tag).await.map(|it| it.id)
}

/// Passes on what is new; keeps why a step failed.
async fn report(info: BuildInfo, sink: &mut Sink, cause: &mut Option<String>) {
    let Some(BuildInfoAux::BuildKit(status)) = info.aux else { return };
    for vertex in status.vertexes {
        if vertex.started.is_some() && vertex.completed.is_none() {
            let counts = vertex.name.strip_prefix('[').and_then(|it| it.split_once(']'));
            // `[2/5]`, or `[stage 2/5]`.
            let counts = counts.and_then(|it| it.0.split_whitespace().last());
            if let Some((current, total)) = counts.and_then(transcript::counted) {
                sink.send(BuildEvent::Step { current, total }).await;
            }
            sink.send(BuildEvent::Line(transcript::plain(&vertex.name))).await;
        }
        if !vertex.error.is_empty() {
            *cause = Some(vertex.error);
        }
    }
    for log in status.logs {
        sink.text(&String::from_utf8_lossy(&log.msg)).await;
    }
}

fn meaning(error: Foreign, cause: Option<String>) -> Error {
    match error {
        Foreign::DockerStreamError { error } => failed(cause.unwrap_or(error), None),
        Foreign::DockerResponseServerError { status_code: 400, message } => failed(message, None),
        Foreign::DockerResponseServerError { status_code, message } => {
            refused(ACT, status_code, message)
        }
        other => away(ACT, other),
    }
}

/// The library's client, whose requests go over our wire and name the version.
async fn client(docker: &Docker, request: &BuildRequest) -> Result<bollard::Docker> {
    let wire = Arc::clone(&docker.wire);
    let prefix = wire.versioned("").await?;
    let transport =
        move |request: bollard::BollardRequest| pass(Arc::clone(&wire), &prefix, request);
    let limit = request.limits.time.as_secs();
    let version = bollard::API_DEFAULT_VERSION;
    bollard::Docker::connect_with_custom_transport(transport, Some("http://docker"), limit, version)
        .map_err(|it| away(ACT, it))
}

fn pass(
    wire: Arc<Wire>,
    prefix: &str,
    request: bollard::BollardRequest,
) -> impl Future<Output = std::result::Result<http::Response<hyper::body::Incoming>, Foreign>>
+ Send
+ 'static
+ use<> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |it| it.as_str());
    let uri = format!("http://docker{prefix}{path}").parse();
    let body = body.map_err(io::Error::other).boxed_unsync();
    async move {
        parts.uri = uri?;
        Ok(wire.pass(http::Request::from_parts(parts, body)).await?)
    }
}
