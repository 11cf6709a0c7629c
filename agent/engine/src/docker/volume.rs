//! Volumes.

use std::time::Duration;

use bollard::models;
use http::Method;

use super::{
    plan,
    wire::{Ask, Wire, segment},
};
use crate::{
    error::{Error, Object, Result},
    label::{self, Filter},
    volume::Volume,
};

const LIMIT: Duration = Duration::from_mins(1);

pub(super) async fn ensure(wire: &Wire, volume: &Volume) -> Result<()> {
    if !plan::is_name(&volume.name) {
        return Err(Error::argument("volume", &volume.name, "is not a name"));
    }
    let wish = models::VolumeCreateRequest {
        name: Some(volume.name.clone()),
        driver: Some("local".to_owned()),
        labels: Some(volume.labels.clone().into_iter().collect()),
        ..Default::default()
    };
    let ask = Ask::new("make a volume", Method::POST, "/volumes/create").limit(LIMIT);
    // Docker answers with the one that exists, if one does.
    let made: models::Volume = wire.call(ask.json(&wish)?).await?.json()?;
    let ours = made.labels.get(label::APP) == volume.labels.get(label::APP);
    if !ours || made.driver != "local" || !made.options.is_empty() {
        return Err(Error::Taken { what: Object::Volume, name: volume.name.clone() });
    }
    Ok(())
}

pub(super) async fn list(wire: &Wire, filter: &Filter) -> Result<Vec<Volume>> {
    let ask = Ask::new("list volumes", Method::GET, "/volumes")
        .query([("filters", super::container::filters(filter))]);
    let all: models::VolumeListResponse = wire.call(ask).await?.json()?;
    let volume =
        |it: models::Volume| Volume { name: it.name, labels: it.labels.into_iter().collect() };
    let mut volumes: Vec<_> = all.volumes.unwrap_or_default().into_iter().map(volume).collect();
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(volumes)
}

pub(super) async fn remove(wire: &Wire, name: &str) -> Result<()> {
    let path = format!("/volumes/{}", segment(name));
    let reply = wire.call(Ask::new("remove a volume", Method::DELETE, path).limit(LIMIT)).await?;
    match reply.status {
        404 => Ok(()),
        409 => Err(Error::InUse { what: Object::Volume, name: name.to_owned() }),
        _ => reply.ok(),
    }
}
