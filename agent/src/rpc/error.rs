//! The one mapping of errors to the wire. What is nobody's fault but ours is logged here, once, with
//! its causes, and leaves as a fixed sentence where it must.

use slipway_proto::problem::{Kind, Problem};
use tonic::Status;

/// Any error of ours, as it leaves.
pub(super) fn status(error: impl Into<Problem>) -> Status {
    let problem = error.into();
    if problem.kind == Kind::Internal {
        tracing::error!(code = %problem.code, "{}", problem.message);
    }
    problem.into()
}

/// A field that must be there is not.
pub(super) fn missing(field: &'static str) -> Status {
    status(Problem::invalid("SW-FIELD", field, format!("`{field}` is missing")))
}
