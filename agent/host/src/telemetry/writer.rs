//! A writer that takes secrets out. The formatter writes each event as a whole, so no secret lies
//! across two writes.

use std::io;

use tracing_subscriber::fmt::MakeWriter;

use crate::redact::Redactor;

#[derive(Debug)]
pub(super) struct Redacting<W> {
    inner: W,
    redactor: Redactor,
}

impl<W> Redacting<W> {
    pub(super) fn new(inner: W, redactor: Redactor) -> Self {
        Self { inner, redactor }
    }
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Redacting<W> {
    type Writer = Redacting<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Redacting { inner: self.inner.make_writer(), redactor: self.redactor.clone() }
    }
}

impl<W: io::Write> io::Write for Redacting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write_all(&self.redactor.bytes(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
