//! One WebSocket that sends a message, waits for its echo, and goes on so.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(30);

/// An open WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    stream: BufReader<TcpStream>,
}

impl WebSocket {
    /// Opens `/ws` of an app.
    pub async fn open(address: SocketAddr, host: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        let mut stream = BufReader::new(stream);
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.context("ask for the upgrade")?;
        let mut status = String::new();
        stream.read_line(&mut status).await.context("read the answer")?;
        ensure!(status.contains(" 101 "), "no upgrade: {status}");
        let mut accepted = false;
        loop {
            let mut line = String::new();
            let length = stream.read_line(&mut line).await.context("read the answer")?;
            // The example of RFC 6455, section 1.3.
            accepted |= line.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            if length == 0 || line.trim_end().is_empty() {
                break;
            }
        }
        ensure!(accepted, "the upgrade was not for this key");
        Ok(Self { stream })
    }

    /// Sends a text and waits until it comes back.
    pub async fn echo(&mut self, text: &str) -> Result<()> {
        timeout(LIMIT, self.exchange(text)).await.context("no echo within 30 s")?
    }

    async fn exchange(&mut self, text: &str) -> Result<()> {
        let length = u8::try_from(text.len()).ok().filter(|it| *it < 126);
        let length = length.context("the text is too long for this")?;
        let mask = [1, 2, 3, 4];
        let mut frame = vec![0x81, 0x80 | length];
        frame.extend_from_slice(&mask);
        frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&frame).await.context("send")?;
        let head = self.stream.read_u16().await.context("read")?;
        if head != 0x8100 | u16::from(length) {
            bail!("an odd frame: {head:#06x}");
        }
        let mut body = vec![0; usize::from(length)];
        self.stream.read_exact(&mut body).await.context("read")?;
        ensure!(body == text.as_bytes(), "another echo");
        Ok(())
    }
}
