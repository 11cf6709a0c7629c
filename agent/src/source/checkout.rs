//! A git repository, fetched and packed, so that it is built as an uploaded archive is.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
};

use slipway_archive::{Leave, Limits, Packing, Times, pack_dir};
use slipway_git::{Checkout, Progress, Request};
use slipway_proto::problem::Problem;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::blocking;
use crate::deploy::write_failed;

/// Fetches one commit and writes its files to the archive `into`. Tells how far it is through
/// `progress`, which may be full or gone. Dropping the future ends the fetch within a moment.
///
/// # Errors
/// The repository's, its server's, or the disk's.
pub async fn fetch(
    request: Request,
    limits: Limits,
    into: &Path,
    progress: mpsc::Sender<Progress>,
) -> Result<Checkout, Problem> {
    let into = into.to_owned();
    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    let fetched = blocking(move || {
        let clear = || slipway_host::fs::remove_all(&request.into);
        clear().map_err(|it| write_failed(&it))?;
        let mut tell = |it: Progress| {
            // Nobody looks, or not often enough: the next one tells more.
            let _told = progress.try_send(it).is_ok();
        };
        let checkout = slipway_git::clone(&request, &mut tell, &stop)?;
        pack(&request.into, &limits, &checkout, &into)?;
        clear().map_err(|it| write_failed(&it))?;
        Ok(checkout)
    })
    .await;
    drop(guard);
    fetched
}

fn pack(dir: &Path, limits: &Limits, checkout: &Checkout, into: &Path) -> Result<(), Problem> {
    let times = Times::At(checkout.committed_at);
    let packing = Packing { leave: Leave::Nothing, times, extra: &[] };
    let mut out = io::BufWriter::new(File::create(into).map_err(|it| write_failed(&it))?);
    pack_dir(dir, limits, &packing, &mut out)?;
    out.flush().map_err(|it| write_failed(&it))
}
