//! The one shape of an error that leaves a program: a code, who has to act, the field, what happened
//! and what to do. Every surface prints these parts; gRPC carries them as `google.rpc.ErrorInfo`.

use std::{borrow::Cow, collections::HashMap, fmt};

use tonic::{Code as Grpc, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Domain of our `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "slipway.dev";

/// Who has to act, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The caller sent something wrong.
    Invalid,
    /// The caller has not shown who it is.
    Unauthenticated,
    /// The caller may not do this.
    Denied,
    /// There is no such thing, or not for this caller.
    NotFound,
    /// There is such a thing already.
    Exists,
    /// The state of things forbids it now.
    Conflict,
    /// Another owner has taken over; this one must stop.
    Fenced,
    /// A limit is reached.
    Exhausted,
    /// It did not answer in time.
    Timeout,
    /// The same call can succeed later.
    Unavailable,
    /// The caller went away or asked to stop.
    Canceled,
    /// A bug, or a broken machine.
    Internal,
}

/// An error, ready for a person and for a program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Who has to act.
    pub kind: Kind,
    /// Stable code, `SW-…`.
    pub code: Cow<'static, str>,
    /// The field of the request that it concerns.
    pub field: Option<Cow<'static, str>>,
    /// What happened: one sentence, no secret in it.
    pub message: String,
    /// What to do about it.
    pub hint: Option<Cow<'static, str>>,
}

impl Problem {
    /// Makes a problem with a code and a sentence.
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code: Cow::Borrowed(code), field: None, message: message.into(), hint: None }
    }

    /// Something the caller sent in `field` is wrong.
    pub fn invalid(code: &'static str, field: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, code, message).field(field)
    }

    /// A bug or a broken machine. `message` must be fit for strangers.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, "SW-INTERNAL", message)
    }

    /// Names the field.
    #[must_use]
    pub fn field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Reads the problem out of a gRPC status; a status without our details keeps its own words.
    pub fn from_status(status: &Status) -> Self {
        let kind = kind_of(status.code());
        let details = status.get_error_details();
        let Some(info) = details.error_info().filter(|it| it.domain == DOMAIN) else {
            return Self {
                kind,
                code: Cow::Borrowed(foreign_code(status.code())),
                field: None,
                message: status.message().to_owned(),
                hint: None,
            };
        };
        let part = |name: &str| info.metadata.get(name).filter(|it| !it.is_empty()).cloned();
        Self {
            kind,
            code: Cow::Owned(info.reason.clone()),
            field: part("field").map(Cow::Owned),
            message: part("message").unwrap_or_else(|| status.message().to_owned()),
            hint: part("hint").map(Cow::Owned),
        }
    }
}

/// The whole of it on one line: `SW-PORT (port): 0 is not a port; use 1 to 65535`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        if let Some(field) = &self.field {
            write!(f, " ({field})")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let text = problem.to_string();
        let Problem { kind, code, field, message, hint } = problem;
        let mut metadata = HashMap::from([("message".to_owned(), message)]);
        if let Some(field) = field {
            metadata.insert("field".to_owned(), field.into_owned());
        }
        if let Some(hint) = hint {
            metadata.insert("hint".to_owned(), hint.into_owned());
        }
        let details = ErrorDetails::with_error_info(code, DOMAIN, metadata);
        Self::with_error_details(grpc_code(kind), text, details)
    }
}

fn grpc_code(kind: Kind) -> Grpc {
    match kind {
        Kind::Invalid => Grpc::InvalidArgument,
        Kind::Unauthenticated => Grpc::Unauthenticated,
        Kind::Denied => Grpc::PermissionDenied,
        Kind::NotFound => Grpc::NotFound,
        Kind::Exists => Grpc::AlreadyExists,
        Kind::Conflict => Grpc::FailedPrecondition,
        Kind::Fenced => Grpc::Aborted,
        Kind::Exhausted => Grpc::ResourceExhausted,
        Kind::Timeout => Grpc::DeadlineExceeded,
        Kind::Unavailable => Grpc::Unavailable,
        Kind::Canceled => Grpc::Cancelled,
        Kind::Internal => Grpc::Internal,
    }
}

fn kind_of(code: Grpc) -> Kind {
    match code {
        Grpc::InvalidArgument | Grpc::OutOfRange => Kind::Invalid,
        Grpc::Unauthenticated => Kind::Unauthenticated,
        Grpc::PermissionDenied => Kind::Denied,
        Grpc::NotFound => Kind::NotFound,
        Grpc::AlreadyExists => Kind::Exists,
        Grpc::FailedPrecondition => Kind::Conflict,
        Grpc::Aborted => Kind::Fenced,
        Grpc::ResourceExhausted => Kind::Exhausted,
        Grpc::DeadlineExceeded => Kind::Timeout,
        // A cut connection arrives as `Unknown`, so that code must not count as final.
        Grpc::Unavailable | Grpc::Unknown => Kind::Unavailable,
        Grpc::Cancelled => Kind::Canceled,
        Grpc::Ok | Grpc::Unimplemented | Grpc::Internal | Grpc::DataLoss => Kind::Internal,
    }
}

fn foreign_code(code: Grpc) -> &'static str {
    match code {
        Grpc::Unimplemented => "SW-UNIMPLEMENTED",
        Grpc::OutOfRange => "SW-MESSAGE-SIZE",
        Grpc::Unavailable | Grpc::Unknown => "SW-UNREACHABLE",
        Grpc::DeadlineExceeded => "SW-TIMEOUT",
        _ => "SW-GRPC",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_survives_the_wire() {
        let problem = Problem::invalid("SW-PORT", "port", "0 is not a port").hint("use 1 to 65535");
        let status = Status::from(problem.clone());
        assert_eq!(status.code(), Grpc::InvalidArgument);
        assert_eq!(status.message(), "SW-PORT (port): 0 is not a port; use 1 to 65535");
        assert_eq!(Problem::from_status(&status), problem);
    }

    #[test]
    fn a_cut_connection_is_never_final() {
        let problem = Problem::from_status(&Status::unknown("h2 protocol error"));
        assert_eq!(problem.kind, Kind::Unavailable);
        assert_eq!(problem.code, "SW-UNREACHABLE");
    }
}
