//! `ImageService`.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, stream};
use slipway_engine::{
    Engine as _,
    image::{Credentials, LayerProgress, PulledImage},
    label::{self, Filter},
};
use slipway_host::Secret;
use slipway_proto::{
    agent::v1::{self as wire, image_service_server::ImageService},
    problem::{Kind, Problem},
    value::{ImageId, ImageRef},
};
use tokio::{sync::mpsc, task::JoinSet};
use tonic::{Request, Response, Status};

use super::{encode, error};
use crate::{
    source::disk,
    world::{Outside, World},
};

/// Most images in one answer.
const MAX: usize = 1_000;

/// `ImageService`.
#[derive(Debug)]
pub struct ImageRpc<O> {
    world: Arc<World<O>>,
}

impl<O: Outside> ImageRpc<O> {
    /// Serves the images of this world.
    pub fn new(world: Arc<World<O>>) -> Self {
        Self { world }
    }

    /// Whether a kept release needs an image, or a deployment that runs.
    fn is_kept(&self, image_id: &str) -> bool {
        let records = self.world.apps.all();
        records.iter().any(|app| {
            let full = app.serving.iter().chain(&app.previous).map(|it| it.image.id.as_str());
            full.chain(app.kept.iter().map(|it| it.image_id.as_str())).any(|it| it == image_id)
        })
    }
}

type Progress = Pin<Box<dyn Stream<Item = Result<wire::PullImageResponse, Status>> + Send>>;

#[tonic::async_trait]
impl<O: Outside> ImageService for ImageRpc<O> {
    type PullImageStream = Progress;

    async fn list_images(
        &self,
        _request: Request<wire::ListImagesRequest>,
    ) -> Result<Response<wire::ListImagesResponse>, Status> {
        let all = self.world.engine().images(&Filter::default()).await.map_err(error::status)?;
        let images = all.into_iter().take(MAX).map(|it| {
            // Pulled ones carry no label of ours, but the name that we gave them.
            let named = || {
                let named = it.tags.iter().find_map(|tag| self.world.names.app_of(tag));
                named.unwrap_or_default().to_owned()
            };
            wire::Image {
                id: it.id.to_string(),
                app: it.labels.get(label::APP).cloned().unwrap_or_else(named),
                size_bytes: it.size_bytes,
                created_at: Some(encode::time(it.created_at)),
                tags: it.tags,
            }
        });
        Ok(Response::new(wire::ListImagesResponse { images: images.collect() }))
    }

    async fn pull_image(
        &self,
        request: Request<wire::PullImageRequest>,
    ) -> Result<Response<Progress>, Status> {
        let wire::PullImageRequest { reference, username, password } = request.into_inner();
        let reference = ImageRef::parse(&reference).map_err(error::status)?;
        let settings = &self.world.settings;
        reference.check(settings.outbound).map_err(error::status)?;
        let paths = [self.world.state_dir.as_path(), settings.docker_root.as_path()];
        disk::guard(paths, settings.min_free_bytes, 0).map_err(error::status)?;
        let credentials = (!username.is_empty())
            .then(|| Credentials { username, password: Secret::new(password) });
        let (tell, layers) = mpsc::channel(64);
        let world = Arc::clone(&self.world);
        let mut pull = JoinSet::new();
        pull.spawn(async move {
            world.engine().pull(reference.as_str(), credentials.as_ref(), tell).await
        });
        let replies = stream::unfold(Some((layers, pull)), |state| async move {
            let (mut layers, mut pull) = state?;
            if let Some(layer) = layers.recv().await {
                return Some((Ok(encode_layer(layer)), Some((layers, pull))));
            }
            let lost = || Status::from(Problem::internal("the pull was lost"));
            let done = match pull.join_next().await {
                Some(Ok(pulled)) => pulled.map(encode_done).map_err(error::status),
                Some(Err(_)) | None => Err(lost()),
            };
            Some((done, None))
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn remove_image(
        &self,
        request: Request<wire::RemoveImageRequest>,
    ) -> Result<Response<wire::RemoveImageResponse>, Status> {
        let id = ImageId::parse(&request.into_inner().image_id).map_err(error::status)?;
        let gone = Response::new(wire::RemoveImageResponse {});
        let engine = self.world.engine();
        let image = match engine.image(id.as_str()).await {
            Err(error) if error.is_missing() => return Ok(gone),
            other => other.map_err(error::status)?,
        };
        let named = image.tags.iter().any(|tag| self.world.names.app_of(tag).is_some());
        if !named && !self.world.names.ours().matches(&image.labels) {
            let message = "this image was neither built nor pulled by Slipway";
            return Err(error::status(Problem::new(Kind::Denied, "SW-IMAGE-FOREIGN", message)));
        }
        if self.is_kept(id.as_str()) {
            let message = "a kept release needs this image";
            return Err(error::status(
                Problem::new(Kind::Conflict, "SW-IMAGE-IN-USE", message)
                    .hint("remove the app, or deploy until the release is no longer kept"),
            ));
        }
        for tag in image.tags.iter().filter(|tag| self.world.names.app_of(tag).is_some()) {
            match engine.remove_image(tag).await {
                Err(error) if !error.is_missing() => return Err(error::status(error)),
                _ => (),
            }
        }
        Ok(gone)
    }
}

fn encode_layer(it: LayerProgress) -> wire::PullImageResponse {
    wire::PullImageResponse {
        status: it.phase.word().to_owned(),
        layer: it.layer,
        current_bytes: it.current_bytes,
        total_bytes: it.total_bytes,
        done: None,
    }
}

fn encode_done(PulledImage { id, digest }: PulledImage) -> wire::PullImageResponse {
    let done = Some(wire::PulledImage { image_id: id.to_string(), digest });
    wire::PullImageResponse { done, ..Default::default() }
}
