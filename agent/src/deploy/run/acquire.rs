//! Source to image.

use std::path::{Path, PathBuf};

use slipway_engine::{
    Engine as _,
    build::{BuildEvent, BuildRequest},
    image::{Credentials, ImageId, LayerPhase, LayerProgress},
};
use slipway_git::Request;
use slipway_host::{Secret, failpoint};
use slipway_proto::{
    problem::{Kind, Problem},
    spec::{Build, DEFAULT_PORT, Login, Source},
    value::{GitRef, GitUrl, ImageRef, Port},
};
use tokio::sync::mpsc;

use super::{
    super::{
        deployment::Deployment,
        event::{Failure, Phase, Progress, Unit},
        record::{Image, Mark},
    },
    engine_failed, failed, journal_failed,
};
use crate::{
    source::{blocking, checkout, context, disk, recipe},
    world::{Outside, World},
};

/// An image that is on this machine under the release's name.
#[must_use = "nothing runs it yet"]
#[derive(Debug)]
pub(super) struct Acquired(pub(super) Image);

/// What an image is, and where it came from.
struct Found {
    id: ImageId,
    git_commit: Option<String>,
    digest: Option<String>,
}

/// Brings the image of the release to this machine, or finds that it is here already.
pub(super) async fn run<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
) -> Result<Acquired, Failure> {
    let known = deployment.facts().image.clone();
    if let Some(known) = known
        && world.patiently(|| world.engine().image(&known.id)).await.is_ok()
    {
        deployment.say(Phase::Build, "the image is here already").await;
        return Ok(Acquired(known));
    }
    let found = match &deployment.spec.source {
        Source::Archive { size_bytes, build, .. } => {
            let path = receive(world, deployment, *size_bytes).await?;
            let id = build_archive(world, deployment, &path, build).await?;
            Found { id, git_commit: None, digest: None }
        }
        Source::Git { url, reference, token, build } => {
            let token = (!token.is_empty()).then(|| Secret::new(token.expose().to_owned()));
            let (path, commit) = fetch(world, deployment, url, reference.as_ref(), token).await?;
            let id = build_archive(world, deployment, &path, build).await?;
            Found { id, git_commit: Some(commit), digest: None }
        }
        Source::Image { reference, login } => {
            pull(world, deployment, reference, login.as_ref()).await?
        }
        Source::Release { image_id } => kept(world, deployment, image_id.as_str()).await?,
    };
    let phase = Phase::Build;
    let image = world.patiently(|| world.engine().image(found.id.as_str())).await;
    let image = image.map_err(engine_failed(phase))?;
    let exposed = image.config.tcp_ports.first().copied();
    let port = deployment.spec.port.map_or_else(|| exposed.unwrap_or(DEFAULT_PORT), Port::get);
    let Found { id, git_commit, digest } = found;
    let image = Image { id: id.to_string(), port, git_commit, digest };
    failpoint!("agent.deploy.imaged.before");
    deployment.mark(Mark::Imaged(image.clone())).await.map_err(journal_failed(phase))?;
    failpoint!("agent.deploy.imaged.after");
    discard(deployment).await;
    Ok(Acquired(image))
}

/// Removes what only the build needed.
pub(super) async fn discard(deployment: &Deployment) {
    let paths = [source_path(deployment), deployment.dir.join("checkout")];
    let work = move || {
        for path in paths {
            let removed = if path.is_dir() {
                slipway_host::fs::remove_all(&path)
            } else {
                slipway_host::fs::remove(&path)
            };
            if let Err(error) = removed {
                tracing::warn!(%error, "could not remove a source; it goes with its deployment");
            }
        }
        Ok(())
    };
    drop(blocking(work).await);
}

fn source_path(deployment: &Deployment) -> PathBuf {
    deployment.dir.join("source")
}

fn guard<O: Outside>(world: &World<O>, size: u64) -> Result<(), Problem> {
    let paths = [world.state_dir.as_path(), world.settings.docker_root.as_path()];
    disk::guard(paths, world.settings.min_free_bytes, size)
}

/// Waits until the caller has sent the whole archive, and checks it.
async fn receive<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
    size: u64,
) -> Result<PathBuf, Failure> {
    let phase = Phase::Source;
    let path = source_path(deployment);
    if deployment.facts().received {
        return Ok(path);
    }
    let begun = deployment.recorder.begin(phase).await;
    let lost = || Failure::new(Problem::internal("the archive has nowhere to go"), phase);
    let spool = deployment.spool.as_ref().ok_or_else(lost)?;
    // After a restart the caller need not come back for an archive that is complete.
    if spool.offset() < size {
        deployment.ordered(|it| it.complete).await;
    }
    guard(world, size).map_err(failed(phase))?;
    failpoint!("agent.deploy.received.before");
    spool.finish().await.map_err(failed(phase))?;
    deployment.mark(Mark::Received).await.map_err(journal_failed(phase))?;
    failpoint!("agent.deploy.received.after");
    deployment.recorder.progress(bytes(phase, size, size, String::new())).await;
    deployment.recorder.done(begun).await;
    Ok(path)
}

fn bytes(phase: Phase, current: u64, total: u64, item: String) -> Progress {
    Progress { phase, current, total, unit: Unit::Bytes, item }
}

/// Fetches a commit, and packs it as if it had been uploaded.
async fn fetch<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
    url: &GitUrl,
    reference: Option<&GitRef>,
    token: Option<Secret<String>>,
) -> Result<(PathBuf, String), Failure> {
    let phase = Phase::Source;
    guard(world, 0).map_err(failed(phase))?;
    let begun = deployment.recorder.begin(phase).await;
    let path = source_path(deployment);
    let settings = &world.settings;
    let request = Request {
        url: url.clone(),
        reference: reference.cloned(),
        token,
        into: deployment.dir.join("checkout"),
        limits: settings.git.clone(),
        outbound: settings.outbound,
    };
    let (tell, mut progress) = mpsc::channel::<slipway_git::Progress>(8);
    let report = async {
        while let Some(it) = progress.recv().await {
            let (current, total) = (it.objects, it.total_objects);
            let item = String::new();
            let unit = Unit::Objects;
            deployment.recorder.progress(Progress { phase, current, total, unit, item }).await;
        }
    };
    failpoint!("agent.deploy.fetch.before");
    let fetched = checkout::fetch(request, settings.archive.clone(), &path, tell);
    let (fetched, ()) = tokio::join!(fetched, report);
    failpoint!("agent.deploy.fetch.after");
    let commit = fetched.map_err(failed(phase))?.commit;
    deployment.say(phase, format!("commit {commit}")).await;
    deployment.recorder.done(begun).await;
    Ok((path, commit))
}

/// Checks an archive and builds it.
async fn build_archive<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
    path: &Path,
    build: &Build,
) -> Result<ImageId, Failure> {
    let phase = Phase::Build;
    let begun = deployment.recorder.begin(phase).await;
    let (limits, bases) = (world.settings.archive.clone(), world.settings.bases.clone());
    let (archive, wanted) = (path.to_owned(), build.clone());
    let chosen = blocking(move || {
        let summary = slipway_archive::scan(&archive, &limits)?;
        let recipe = recipe::choose(&archive, &limits, &summary, &wanted, &bases)?;
        Ok((summary, recipe))
    });
    let (summary, recipe) = chosen.await.map_err(failed(phase))?;
    for warning in &summary.warnings {
        deployment.say(phase, format!("warning: {warning}")).await;
    }
    deployment.say(phase, &recipe.note).await;
    guard(world, summary.unpacked_bytes).map_err(failed(phase))?;
    let (stream, verdict) = context::stream(path, &world.settings.archive, &recipe);
    let (key, release) = (deployment.key(), deployment.opened.release);
    // Only what does not change from release to release: each label is a step of the build.
    let labels = world.names.app_labels(key);
    let mut request = BuildRequest::new(world.names.image(key, release), labels);
    request.dockerfile.clone_from(&recipe.dockerfile);
    request.limits = world.settings.build;
    let (tell, events) = mpsc::channel(64);
    failpoint!("agent.deploy.build.before");
    let built = world.engine().build(&request, stream, tell);
    let (built, ()) = tokio::join!(built, report_build(deployment, events));
    failpoint!("agent.deploy.build.after");
    let id = built.map_err(|error| match verdict.take() {
        Some(problem) => failed(phase)(problem),
        None => engine_failed(phase)(error),
    })?;
    deployment.recorder.done(begun).await;
    Ok(id)
}

async fn report_build(deployment: &Deployment, mut events: mpsc::Receiver<BuildEvent>) {
    let phase = Phase::Build;
    while let Some(event) = events.recv().await {
        match event {
            BuildEvent::Line(line) => deployment.say(phase, line).await,
            BuildEvent::Step { current, total } => {
                let (current, total) = (current.into(), total.into());
                let item = String::new();
                let unit = Unit::Steps;
                deployment.recorder.progress(Progress { phase, current, total, unit, item }).await;
            }
            BuildEvent::Pull(layer) => report_layer(deployment, phase, layer).await,
        }
    }
}

async fn report_layer(deployment: &Deployment, phase: Phase, layer: LayerProgress) {
    if matches!(layer.phase, LayerPhase::Downloading | LayerPhase::Complete | LayerPhase::Present) {
        let LayerProgress { layer, current_bytes, total_bytes, .. } = layer;
        deployment.recorder.progress(bytes(phase, current_bytes, total_bytes, layer)).await;
    }
}

/// Pulls an image, and gives it the release's name instead of its own.
async fn pull<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
    reference: &ImageRef,
    login: Option<&Login>,
) -> Result<Found, Failure> {
    let phase = Phase::Source;
    guard(world, 0).map_err(failed(phase))?;
    let begun = deployment.recorder.begin(phase).await;
    let credentials = login.map(|it| Credentials {
        username: it.username.clone(),
        password: Secret::new(it.password.expose().to_owned()),
    });
    let name = reference.to_string();
    let known = world.engine().image(&name).await.is_ok();
    let (tell, mut layers) = mpsc::channel(64);
    let report = async {
        while let Some(layer) = layers.recv().await {
            report_layer(deployment, phase, layer).await;
        }
    };
    failpoint!("agent.deploy.pull.before");
    let pulled = world.engine().pull(&name, credentials.as_ref(), tell);
    let (pulled, ()) = tokio::join!(pulled, report);
    failpoint!("agent.deploy.pull.after");
    let pulled = pulled.map_err(engine_failed(phase))?;
    tag(world, deployment, &pulled.id, phase).await?;
    if !known && reference.digest().is_none() {
        // The name that we brought goes again, so that the image goes with its last release.
        drop(world.engine().remove_image(&name).await);
    }
    deployment.say(phase, format!("pulled {}", pulled.digest)).await;
    deployment.recorder.done(begun).await;
    Ok(Found { id: pulled.id, git_commit: None, digest: Some(pulled.digest) })
}

/// Finds the image of an earlier release.
async fn kept<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
    image_id: &str,
) -> Result<Found, Failure> {
    let phase = Phase::Source;
    let begun = deployment.recorder.begin(phase).await;
    let image = world.patiently(|| world.engine().image(image_id)).await.map_err(|error| {
        if !error.is_missing() {
            return engine_failed(phase)(error);
        }
        let message = "the image of that release is no longer on this server";
        let problem = Problem::new(Kind::NotFound, "SW-RELEASE-GONE", message)
            .hint("deploy it again from its source");
        Failure::new(problem, phase)
    })?;
    tag(world, deployment, &image.id, phase).await?;
    deployment.recorder.done(begun).await;
    Ok(Found { id: image.id, git_commit: None, digest: None })
}

async fn tag<O: Outside>(
    world: &World<O>,
    deployment: &Deployment,
    id: &ImageId,
    phase: Phase,
) -> Result<(), Failure> {
    let name = world.names.image(deployment.key(), deployment.opened.release);
    failpoint!("agent.deploy.tag.before");
    world.patiently(|| world.engine().tag(id, &name)).await.map_err(engine_failed(phase))?;
    failpoint!("agent.deploy.tag.after");
    Ok(())
}
