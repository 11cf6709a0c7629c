//! Figures about the line to Docker, beside what the client library reaches as it comes.

use std::time::{Duration, Instant};

use bollard::query_parameters::{ListContainersOptionsBuilder, LogsOptionsBuilder};
use futures::{StreamExt as _, TryStreamExt as _};
use http::Method;

use super::{
    Docker, logs,
    wire::{Ask, away},
};
use crate::{
    error::{Error, Result},
    logs::{LogQuery, Logs},
};

/// Median times of calls: ours, and the library's with a connection per call.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Calls {
    /// `GET /_ping`, ours.
    pub ping: Duration,
    /// The same by the library.
    pub stock_ping: Duration,
    /// `GET /containers/json?all=1`, ours.
    pub list: Duration,
    /// The same by the library.
    pub stock_list: Duration,
}

/// How long it took to read all of a container's output, and how many lines there were.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Reading {
    /// Lines.
    pub lines: u64,
    /// Bytes, without line ends.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// Ways to read a container's output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// The bytes of the daemon's answer as they come, only their line ends counted: the most that
    /// any reader over the socket can reach.
    Raw,
    /// Ours, over the socket.
    Socket,
    /// Ours, as an agent would: from the files where that is possible.
    Best,
    /// The client library's.
    Stock,
}

/// Times calls, ours and the library's in turn, `rounds` times.
pub async fn calls(docker: &Docker, rounds: usize) -> Result<Calls> {
    let stock = stock(docker)?;
    let all = || Some(ListContainersOptionsBuilder::default().all(true).build());
    let ask = |path: &str| Ask::new("answer", Method::GET, path);
    let mut times: [Vec<Duration>; 4] = Default::default();
    let [ping, stock_ping, list, stock_list] = &mut times;
    for _ in 0..rounds {
        ping.push(time(docker.wire.call(ask("/_ping"))).await?);
        stock_ping.push(time(stock.ping()).await.map_err(odd)?);
        let ours = async {
            let reply = docker.wire.call(ask("/containers/json?all=1")).await?;
            reply.json::<Vec<bollard::models::ContainerSummary>>()
        };
        list.push(time(ours).await?);
        stock_list.push(time(stock.list_containers(all())).await.map_err(odd)?);
    }
    let [ping, stock_ping, list, stock_list] = times.map(median);
    Ok(Calls { ping, stock_ping, list, stock_list })
}

/// Reads all of a container's output in one of the ways.
pub async fn output(docker: &Docker, container: &str, way: Way) -> Result<Reading> {
    let query = LogQuery::default();
    let start = Instant::now();
    let mut reading = match way {
        Way::Raw => logs::read_raw(&docker.wire, container).await?,
        Way::Socket => count(logs::read_socket(&docker.wire, container, &query).await?).await?,
        Way::Best => count(logs::read(&docker.wire, container, &query).await?).await?,
        Way::Stock => {
            let options = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
            let mut reading = Reading::default();
            let stock = stock(docker)?;
            let mut lines = stock.logs(container, Some(options));
            while let Some(line) = lines.try_next().await.map_err(odd)? {
                let line = line.into_bytes();
                let text = line.strip_suffix(b"\n").unwrap_or(&line);
                reading.lines += 1;
                reading.bytes += u64::try_from(text.len()).unwrap_or_default();
            }
            reading
        }
    };
    reading.took = start.elapsed();
    Ok(reading)
}

async fn count(mut logs: Logs) -> Result<Reading> {
    let mut reading = Reading::default();
    while let Some(lines) = logs.next().await {
        for line in lines? {
            reading.lines += 1;
            reading.bytes += u64::try_from(line.bytes.len()).unwrap_or_default();
        }
    }
    Ok(reading)
}

fn stock(docker: &Docker) -> Result<bollard::Docker> {
    let socket = docker.wire.socket().to_string_lossy().into_owned();
    bollard::Docker::connect_with_unix(&socket, 120, bollard::API_DEFAULT_VERSION).map_err(odd)
}

fn odd(error: bollard::errors::Error) -> Error {
    away("answer", error)
}

async fn time<T, E>(
    call: impl Future<Output = std::result::Result<T, E>>,
) -> std::result::Result<Duration, E> {
    let start = Instant::now();
    call.await?;
    Ok(start.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
