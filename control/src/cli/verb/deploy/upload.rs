//! The source on its way: packed, hashed and cut into chunks while it is sent. Nothing is written to
//! disk and nothing is read twice.

use std::{
    fs::File,
    io::{self, Read as _, Write},
    path::Path,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use slipway_archive::{Limits, Packing, pack_dir};
use slipway_proto::{
    control::v1::{DeployRequest, SourceEnd, deploy_request::Part},
    problem::Problem,
};
use tokio::sync::mpsc;

use super::spec::Upload;
use crate::cli::Error;

/// The protocol's limit for a chunk.
const CHUNK: usize = 256 << 10;

/// How far an upload has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter(Arc<AtomicU64>);

impl Meter {
    /// Bytes that have been handed to the connection.
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Length of what will be sent, when it is known beforehand.
pub(super) fn length(upload: &Upload) -> Option<u64> {
    match upload {
        Upload::Archive(path) => std::fs::metadata(path).ok().map(|it| it.len()),
        Upload::Folder(_) | Upload::Nothing => None,
    }
}

/// Sends the whole source, then its length and digest. Blocks: call it on a blocking thread.
pub(super) fn send(
    upload: &Upload,
    requests: mpsc::Sender<DeployRequest>,
    meter: Meter,
) -> Result<(), Error> {
    let mut sink =
        Sink { requests, meter, buffer: BytesMut::with_capacity(CHUNK), hash: Sha256::new() };
    match upload {
        Upload::Nothing => return Ok(()),
        Upload::Folder(path) => pack(path, &mut sink)?,
        Upload::Archive(path) => copy(path, &mut sink)?,
    }
    sink.finish().map_err(gone)
}

fn pack(path: &Path, sink: &mut Sink) -> Result<(), Error> {
    match pack_dir(path, &Limits::default(), &Packing::default(), sink) {
        Ok(_) => Ok(()),
        Err(_) if sink.requests.is_closed() => Err(gone(io::ErrorKind::BrokenPipe.into())),
        Err(error) => Err(Problem::from(error).into()),
    }
}

fn copy(path: &Path, sink: &mut Sink) -> Result<(), Error> {
    let wrap = |source| Error::File { action: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(wrap)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = file.read(&mut buffer).map_err(wrap)?;
        let Some(part) = buffer.get(..length).filter(|it| !it.is_empty()) else { return Ok(()) };
        sink.write_all(part).map_err(gone)?;
    }
}

/// The receiving side closed the stream; its answer says why.
fn gone(_: io::Error) -> Error {
    Error::Left
}

/// Cuts what is written into chunks of requests.
struct Sink {
    requests: mpsc::Sender<DeployRequest>,
    meter: Meter,
    buffer: BytesMut,
    hash: Sha256,
}

impl Sink {
    fn send(&mut self) -> io::Result<()> {
        let chunk: Bytes = self.buffer.split().freeze();
        let length = u64::try_from(chunk.len()).unwrap_or(0);
        self.request(Part::Chunk(chunk))?;
        self.meter.0.fetch_add(length, Ordering::Relaxed);
        self.buffer.reserve(CHUNK);
        Ok(())
    }

    fn request(&self, part: Part) -> io::Result<()> {
        self.requests
            .blocking_send(DeployRequest { part: Some(part) })
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn finish(mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.send()?;
        }
        let sha256 = Bytes::copy_from_slice(&self.hash.clone().finalize());
        self.request(Part::SourceEnd(SourceEnd { size_bytes: self.meter.bytes(), sha256 }))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK.saturating_sub(self.buffer.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.hash.update(taken);
        self.buffer.extend_from_slice(taken);
        if self.buffer.len() >= CHUNK {
            self.send()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(upload: Upload) -> (Vec<u8>, SourceEnd) {
        let (requests, mut received) = mpsc::channel(4);
        let thread = std::thread::spawn(move || send(&upload, requests, Meter::default()));
        let mut bytes = Vec::new();
        let mut end = None;
        while let Some(request) = received.blocking_recv() {
            match request.part.unwrap() {
                Part::Chunk(chunk) => {
                    assert!(chunk.len() <= CHUNK && end.is_none());
                    bytes.extend_from_slice(&chunk);
                }
                Part::SourceEnd(it) => end = Some(it),
                other => panic!("{other:?}"),
            }
        }
        thread.join().unwrap().unwrap();
        (bytes, end.unwrap())
    }

    #[test]
    fn an_archive_arrives_whole_with_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        let content: Vec<u8> = (0..CHUNK * 2 + 77).map(|it| it.to_le_bytes()[0]).collect();
        std::fs::write(&path, &content).unwrap();
        let (bytes, end) = sent(Upload::Archive(path));
        assert_eq!(bytes, content);
        assert_eq!(end.size_bytes, u64::try_from(content.len()).unwrap());
        assert_eq!(end.sha256.as_ref(), Sha256::digest(&content).as_slice());
    }

    #[test]
    fn a_reader_that_is_gone_ends_the_upload() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        std::fs::write(&path, vec![1; CHUNK * 3]).unwrap();
        let (requests, received) = mpsc::channel(1);
        drop(received);
        assert!(send(&Upload::Archive(path), requests, Meter::default()).is_err());
    }
}
