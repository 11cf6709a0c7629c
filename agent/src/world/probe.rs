//! Asks a container whether it answers, straight at its own address.

use std::{io, net::SocketAddr, time::Duration};

use slipway_proto::value::HealthPath;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::outside::Probe;

/// More than any status line has.
const MAX_STATUS_LINE: usize = 4 << 10;

/// The network itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct {
    _private: (),
}

impl Probe for Direct {
    async fn http(
        &self,
        target: SocketAddr,
        path: &HealthPath,
        limit: Duration,
    ) -> io::Result<u16> {
        timeout(limit, status(target, path)).await?
    }

    async fn connect(&self, target: SocketAddr, limit: Duration) -> io::Result<()> {
        timeout(limit, TcpStream::connect(target)).await?.map(drop)
    }
}

/// Sends one request by hand and reads no further than the status: a health check needs no more of
/// HTTP than that, and cannot be led anywhere else by the answer.
async fn status(target: SocketAddr, path: &HealthPath) -> io::Result<u16> {
    let mut stream = TcpStream::connect(target).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {target}\r\nuser-agent: slipway-health\r\n\
         accept: */*\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(256);
    loop {
        if let Some(end) = answer.iter().position(|it| *it == b'\n') {
            return parse(answer.get(..end).unwrap_or_default());
        }
        if MAX_STATUS_LINE < answer.len() || stream.read_buf(&mut answer).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP"));
        }
    }
}

fn parse(line: &[u8]) -> io::Result<u16> {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_ascii_whitespace();
    let version = words.next().is_some_and(|it| it.starts_with("HTTP/1."));
    match words.next().and_then(|it| it.parse().ok()).filter(|it| (100..600).contains(it)) {
        Some(status) if version => Ok(status),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, task::JoinSet};

    use super::*;

    async fn answer(text: &'static str) -> io::Result<u16> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let mut set = JoinSet::new();
        set.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let n = stream.read(&mut request).await.unwrap();
            assert!(request[..n].starts_with(b"GET /up?a=1 HTTP/1.1\r\n"));
            stream.write_all(text.as_bytes()).await.unwrap();
        });
        let path = HealthPath::parse("/up?a=1").unwrap();
        Direct::default().http(target, &path, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn the_status_of_the_answer_counts() {
        assert_eq!(answer("HTTP/1.1 204 No Content\r\n\r\n").await.unwrap(), 204);
        assert_eq!(answer("HTTP/1.0 503\r\nx: y\r\n\r\n").await.unwrap(), 503);
        for bad in ["", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 abc\r\n", "HTTP/1.1 999 x\r\n"] {
            assert!(answer(bad).await.is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let limit = Duration::from_secs(5);
        Direct::default().connect(target, limit).await.unwrap();
        drop(listener);
        Direct::default().connect(target, limit).await.unwrap_err();
    }
}
