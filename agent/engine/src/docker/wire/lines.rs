//! An answer that is a stream of JSON values.

use std::marker::PhantomData;

use bytes::{Buf as _, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::away;
use crate::error::{Error, Result};

/// The longest value.
const LONGEST: usize = 16 << 20;

/// JSON values, one per line.
pub(in crate::docker) struct Lines<T> {
    act: &'static str,
    body: Incoming,
    buffer: BytesMut,
    value: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    pub(in crate::docker) fn new(act: &'static str, body: Incoming) -> Self {
        Self { act, body, buffer: BytesMut::new(), value: PhantomData }
    }

    /// The next value; `None` at the end. May be dropped and called again.
    pub(in crate::docker) async fn next(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(value) = self.take()? {
                return Ok(Some(value));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                    if LONGEST < self.buffer.len() {
                        return Err(self.odd("a value of more than 16 MiB"));
                    }
                }
                Some(Err(source)) => return Err(away(self.act, source)),
                None if self.buffer.iter().all(u8::is_ascii_whitespace) => return Ok(None),
                // The last value may have no line end.
                None => self.buffer.extend_from_slice(b"\n"),
            }
        }
    }

    fn take(&mut self) -> Result<Option<T>> {
        while let Some(end) = self.buffer.iter().position(|it| *it == b'\n') {
            let line = self.buffer.split_to(end);
            self.buffer.advance(1);
            if !line.iter().all(u8::is_ascii_whitespace) {
                return serde_json::from_slice(&line).map(Some).map_err(|it| self.odd(it));
            }
        }
        Ok(None)
    }

    fn odd(&self, source: impl Into<crate::error::Cause>) -> Error {
        Error::Answer { act: self.act, source: source.into() }
    }
}
