//! Output of containers.
//!
//! What is already there is read straight from Docker's files when they are there to be read, some
//! twenty times faster than the daemon hands it out and without its help. Everything else comes over
//! a connection of its own, with frames taken apart in large buffers: the daemon sends each line as
//! an HTTP chunk of its own, and an HTTP client spends more on chunks than on lines. As the request is
//! of HTTP/1.0, there are no chunks.

mod assemble;
mod file;
mod frames;
mod socket;
pub(super) mod time;

use std::{path::Path, time::Duration};

use futures::TryStreamExt as _;
use tokio::time::timeout;

use super::{container, measure::Reading, wire::Wire};
use crate::{
    error::{Error, Result},
    logs::{LogLine, LogQuery, Logs},
};

/// How long the last lines may take.
const LIMIT: Duration = Duration::from_secs(30);

pub(super) async fn read(wire: &Wire, container: &str, query: &LogQuery) -> Result<Logs> {
    // Docker checks that it exists, and tells its full id and where its output is.
    let it = container::raw(wire, container).await?;
    let driver = it.host_config.and_then(|it| it.log_config).and_then(|it| it.typ);
    let path = it.log_path.filter(|it| !it.is_empty());
    if let (false, Some("json-file"), Some(path)) = (query.follow, driver.as_deref(), path)
        && let Some(files) = file::open(Path::new(&path)).await
    {
        return Ok(file::read(files, *query));
    }
    socket::read(wire, it.id.as_deref().unwrap_or(container), query).await
}

/// Reads over the socket, whatever the driver. For measuring.
pub(super) async fn read_socket(wire: &Wire, container: &str, query: &LogQuery) -> Result<Logs> {
    socket::read(wire, container, query).await
}

/// Reads the daemon's bytes and counts their line ends. For measuring.
pub(super) async fn read_raw(wire: &Wire, container: &str) -> Result<Reading> {
    socket::count(wire, container).await
}

pub(super) async fn last(wire: &Wire, container: &str, count: u32) -> Result<Vec<LogLine>> {
    let query = LogQuery { tail: Some(count), ..LogQuery::default() };
    let lines = async { read(wire, container, &query).await?.try_concat().await };
    let late = |_| Error::Timeout { act: "tell the last lines", limit: LIMIT };
    timeout(LIMIT, lines).await.map_err(late)?
}
