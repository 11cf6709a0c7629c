//! Output as the daemon hands it out.

use std::{io, time::Duration};

use bytes::BytesMut;
use futures::{StreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use super::{frames::Frames, time::stamp};
use crate::{
    docker::{
        measure::Reading,
        wire::{Wire, away, segment},
    },
    error::{Error, Object, Result},
    logs::{LogLine, LogQuery, Logs},
};

const ACT: &str = "hand out output";
/// How long the beginning of the answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How much is read at once.
const CHUNK: usize = 256 << 10;
/// The longest head of an answer, and the longest refusal.
const LONGEST_HEAD: usize = 64 << 10;

pub(super) async fn read(wire: &Wire, container: &str, query: &LogQuery) -> Result<Logs> {
    let path = path(container, query);
    let path = wire.versioned(&path).await?;
    let late = |_| Error::Timeout { act: ACT, limit: LIMIT };
    let (socket, buffer) = timeout(LIMIT, open(wire, container, &path)).await.map_err(late)??;
    let until = query.until;
    let reader = Reader { socket, buffer, frames: Frames::default(), ended: false };
    let lines = stream::unfold(reader, |mut reader| async move {
        let lines = reader.next().await.transpose()?;
        Some((lines, reader))
    });
    Ok(match until {
        None => lines.boxed(),
        // Docker's own bound includes its last moment.
        Some(until) => lines.map(move |it| it.map(|it| before(it, until))).boxed(),
    })
}

fn before(mut lines: Vec<LogLine>, until: std::time::SystemTime) -> Vec<LogLine> {
    lines.retain(|it| it.at < until);
    lines
}

fn path(container: &str, query: &LogQuery) -> String {
    let LogQuery { follow, since, until, tail } = *query;
    let given = |name: &str, value: Option<String>| value.map(|it| format!("&{name}={it}"));
    let optional = [
        given("follow", follow.then(|| "1".to_owned())),
        given("since", since.map(stamp)),
        given("until", until.map(stamp)),
        given("tail", tail.map(|it| it.to_string())),
    ];
    let optional: String = optional.into_iter().flatten().collect();
    let container = segment(container);
    format!("/containers/{container}/logs?stdout=1&stderr=1&timestamps=1{optional}")
}

/// Reads everything and only counts, as the measure of what a reader can reach.
pub(super) async fn count(wire: &Wire, container: &str) -> Result<Reading> {
    let path = wire.versioned(&path(container, &LogQuery::default())).await?;
    let (mut socket, mut buffer) = open(wire, container, &path).await?;
    let mut reading = Reading::default();
    loop {
        let lines = memchr::memchr_iter(b'\n', &buffer).count();
        reading.lines += u64::try_from(lines).unwrap_or_default();
        reading.bytes += u64::try_from(buffer.len()).unwrap_or_default();
        buffer.clear();
        if socket.read_buf(&mut buffer).await.map_err(|it| away(ACT, it))? == 0 {
            return Ok(reading);
        }
    }
}

/// Asks, and returns when the answer's head is read, with what came after it.
async fn open(wire: &Wire, container: &str, path: &str) -> Result<(UnixStream, BytesMut)> {
    let lost = |it: io::Error| away(ACT, it);
    let mut socket = UnixStream::connect(wire.socket()).await.map_err(lost)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n");
    socket.write_all(request.as_bytes()).await.map_err(lost)?;
    let mut buffer = BytesMut::with_capacity(CHUNK);
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|it| it == b"\r\n\r\n") {
            break buffer.split_to(end + 4);
        }
        if LONGEST_HEAD < buffer.len() || socket.read_buf(&mut buffer).await.map_err(lost)? == 0 {
            return Err(away(ACT, "the answer has no head"));
        }
    };
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let status = head.split_whitespace().nth(1).and_then(|it| it.parse::<u16>().ok());
    match status {
        Some(200) if !head.contains("transfer-encoding:") => Ok((socket, buffer)),
        Some(404) => Err(Error::missing(Object::Container, container)),
        Some(status) if status != 200 => {
            let mut rest = socket.take(u64::try_from(LONGEST_HEAD).unwrap_or(u64::MAX));
            rest.read_buf(&mut buffer).await.map_err(lost)?;
            let message = String::from_utf8_lossy(&buffer).trim().to_owned();
            Err(Error::Refused { act: ACT, status, message })
        }
        _ => Err(Error::Answer { act: ACT, source: "a head that is not understood".into() }),
    }
}

struct Reader {
    socket: UnixStream,
    buffer: BytesMut,
    frames: Frames,
    ended: bool,
}

impl Reader {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Result<Option<Vec<LogLine>>> {
        while !self.ended {
            let lines = self.frames.take(&mut self.buffer).map_err(|odd| {
                self.ended = true;
                Error::Answer { act: ACT, source: odd.into() }
            })?;
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
            self.buffer.reserve(CHUNK);
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(0) => {
                    self.ended = true;
                    let rest = self.frames.finish();
                    return Ok((!rest.is_empty()).then_some(rest));
                }
                Ok(_) => (),
                Err(source) => {
                    self.ended = true;
                    return Err(away(ACT, source));
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_query_becomes_parameters() {
        let query = LogQuery {
            follow: true,
            since: Some(UNIX_EPOCH + Duration::new(5, 7)),
            until: None,
            tail: Some(0),
        };
        assert_eq!(
            path("slipway-web", &query),
            "/containers/slipway-web/logs?stdout=1&stderr=1&timestamps=1&follow=1\
             &since=5.000000007&tail=0"
        );
    }
}
