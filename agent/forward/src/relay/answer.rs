//! What the switch answers itself when there is nobody to ask.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{Either, Full};
use slipway_host::Chain;

use super::{Answer, headers::REASON};

/// Why a request did not reach a container, or came back without an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the request names no app")]
    NoApp,
    #[error("the method is not supported")]
    Method,
    #[error("the app is not running on this server")]
    UnknownApp,
    #[error("the app is stopped")]
    NoTarget,
    #[error("the app does not accept connections")]
    Connect(#[source] io::Error),
    #[error("the app did not accept the connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("the app closed the connection without an answer")]
    Broken(#[source] hyper::Error),
    #[error("the app changed the protocol without being asked")]
    Unasked,
    #[error("the app was stopped while it worked on the request")]
    Cut,
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoApp => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnknownApp | Self::NoTarget | Self::Cut => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect(_) | Self::Broken(_) | Self::Unasked => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NoApp => "no-app",
            Self::Method => "method",
            Self::UnknownApp => "unknown-app",
            Self::NoTarget => "no-target",
            Self::Connect(_) => "connect-failed",
            Self::ConnectTimeout(_) => "connect-timeout",
            Self::Broken(_) | Self::Unasked => "broken-answer",
            Self::Cut => "cut",
        }
    }

    /// The answer: a status, the reason as a word, and one sentence.
    pub(crate) fn answer(&self) -> Response<Answer> {
        tracing::debug!(reason = self.reason(), error = %Chain(self), "answered for the app");
        let status = self.status();
        let text = format!("{} {self}\n", status.as_u16());
        let mut response = Response::new(Either::Left(Full::new(Bytes::from(text))));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(REASON, HeaderValue::from_static(self.reason()));
        response
    }
}
