//! Bodies on their way through: frame by frame, each holding what has to live as long as it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::generation::{Link, Pass};

/// A request's body on its way to the container.
#[derive(Debug)]
pub(crate) struct Outgoing(Option<(Incoming, Arc<Pass>)>);

impl Outgoing {
    /// No body.
    pub(crate) fn empty() -> Self {
        Self(None)
    }

    /// Passes on what comes in. The request counts as open until the body has been sent.
    pub(crate) fn relay(body: Incoming, pass: Arc<Pass>) -> Self {
        Self(Some((body, pass)))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            None => Poll::Ready(None),
            Some((body, _)) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}

/// An answer's body on its way to nginx.
#[derive(Debug)]
pub(crate) struct Returning {
    body: Incoming,
    held: Option<(Link, Arc<Pass>)>,
}

impl Returning {
    /// Passes on what the container sends. At its end the connection is kept for the next request;
    /// the request counts as open until then.
    pub(crate) fn new(body: Incoming, link: Link, pass: Arc<Pass>) -> Self {
        let mut it = Self { body, held: Some((link, pass)) };
        it.finish_if_ended();
        it
    }

    fn finish_if_ended(&mut self) {
        if self.body.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some((link, pass)) = self.held.take() {
            link.give_back(&pass.generation);
        }
    }
}

impl Body for Returning {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Ready(None) => self.finish(),
            // hyper need not ask again after the last frame.
            Poll::Ready(Some(Ok(_))) => self.finish_if_ended(),
            Poll::Ready(Some(Err(_))) => drop(self.held.take()),
            Poll::Pending => (),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
