//! Which way to move traffic from one release to the next fails no request?
//!
//! Every candidate stands behind an nginx of its own. Containers come and go on a Docker network of
//! their own: the new one is created, traffic is moved, the old one is drained as the candidate can
//! tell, stopped and removed. Meanwhile clients ask without pause (keep-alive, half GET, half POST),
//! with pauses, with requests that take long, and over WebSockets. Rounds of the candidates take
//! turns, so that a busy machine is busy for all of them.
//!
//! * [`app`]: the server in the containers.
//! * [`load`]: the clients, and how they tell failures apart.
//! * [`place`]: the network, the containers, and the programs on the host.
//! * [`candidate`]: the ways, each with its configuration, its flip and its drain.
//! * [`l4`]: a forwarder of connections, to compare with that of requests.

pub(crate) mod app;
mod candidate;
mod l4;
mod load;
mod place;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::time::sleep;

use self::{
    candidate::Candidate,
    load::Load,
    place::{Container, Place},
};

/// How long an old container may take to drain before it is stopped all the same.
const DRAIN_LIMIT: Duration = Duration::from_secs(12);
/// Load before the first and after the last flip.
const MARGIN: Duration = Duration::from_secs(1);

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Flips of each candidate in each round.
    #[arg(long, default_value_t = 6)]
    flips: u32,
    /// Rounds in which the candidates take turns.
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Candidates by name; all when none is given.
    #[arg(long)]
    only: Vec<String>,
    /// Clients that ask without pause.
    #[arg(long, default_value_t = 64)]
    busy: usize,
    /// Clients that pause between requests.
    #[arg(long, default_value_t = 50)]
    paced: usize,
    /// Leave out slow requests, so that a drain is short.
    #[arg(long)]
    quick: bool,
}

/// What one candidate did.
#[derive(Debug, Default)]
struct Row {
    flips: Vec<f64>,
    drains: Vec<f64>,
    undrained: u32,
    tally: load::Tally,
    secs: f64,
}

/// Measures, and returns a table in Markdown.
pub(crate) async fn run(options: &Options) -> anyhow::Result<String> {
    let place = Place::prepare().await?;
    let outcome = rounds(options, &place).await;
    place.clear().await;
    Ok(table(&outcome?))
}

async fn rounds(options: &Options, place: &Place) -> anyhow::Result<BTreeMap<&'static str, Row>> {
    let mut rows: BTreeMap<&'static str, Row> = BTreeMap::new();
    for round in 0..options.rounds {
        for name in candidate::NAMES {
            if !options.only.is_empty() && !options.only.iter().any(|it| it == name) {
                continue;
            }
            tracing::info!(round, name, "measuring");
            let row = rows.entry(name).or_default();
            measure(options, place, name, row).await.with_context(|| format!("`{name}`"))?;
        }
    }
    Ok(rows)
}

async fn measure(
    options: &Options,
    place: &Place,
    name: &str,
    row: &mut Row,
) -> anyhow::Result<()> {
    let first = place.container().await?;
    let mut candidate = Candidate::start(name, place, &first).await?;
    let start = Instant::now();
    let load = Load::start(candidate.address, options.busy, options.paced, !options.quick);
    let outcome = flips(options.flips, place, &mut candidate, &load, first, row).await;
    row.tally.add(load.finish().await);
    row.secs += start.elapsed().as_secs_f64();
    // Before an error is reported, so that no process stays behind.
    candidate.end().await?;
    place.remove(&outcome?).await
}

/// Moves traffic from container to container, and returns the last one.
async fn flips(
    count: u32,
    place: &Place,
    candidate: &mut Candidate,
    load: &Load,
    mut old: Container,
    row: &mut Row,
) -> anyhow::Result<Container> {
    sleep(MARGIN).await;
    for _ in 0..count {
        let new = place.container().await?;
        let flip = Instant::now();
        candidate.flip(&new).await?;
        row.flips.push(flip.elapsed().as_secs_f64() * 1e3);
        load.expect(&new.name);
        let drain = Instant::now();
        if candidate.drained(&old, DRAIN_LIMIT).await? {
            row.drains.push(drain.elapsed().as_secs_f64());
        } else {
            row.undrained += 1;
        }
        place.remove(&old).await?;
        old = new;
        sleep(Duration::from_millis(300)).await;
    }
    sleep(MARGIN).await;
    Ok(old)
}

fn table(rows: &BTreeMap<&'static str, Row>) -> String {
    let mut lines = vec![
        "| candidate | flips | flip ms median / max | requests/s | requests | 5xx | resets | stale | slow cut | WebSocket cut | drain s median / max | not drained |".to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for name in candidate::NAMES {
        let Some(row) = rows.get(name) else { continue };
        let load::Tally {
            answered,
            bad_status,
            resets,
            stale,
            slow,
            slow_cut,
            sockets,
            sockets_cut,
        } = row.tally;
        let (flip, flip_max) = spread(&row.flips);
        let (drain, drain_max) = spread(&row.drains);
        let rate = f64::from(u32::try_from(answered).unwrap_or(u32::MAX)) / row.secs;
        let (flips, undrained) = (row.flips.len(), row.undrained);
        lines.push(format!(
            "| {name} | {flips} | {flip:.1} / {flip_max:.1} | {rate:.0} | {answered} | {bad_status} | {resets} | {stale} | {slow_cut} of {slow} | {sockets_cut} of {sockets} | {drain:.1} / {drain_max:.1} | {undrained} |",
        ));
    }
    lines.join("\n")
}

/// Median and largest.
fn spread(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
    (median, sorted.last().copied().unwrap_or(f64::NAN))
}
