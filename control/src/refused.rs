//! From a failure of the store to what its caller is told. What is internal is logged here, once,
//! and leaves as one fixed sentence.

use slipway_host::Chain;
use slipway_proto::problem::{Kind, Problem};
use tracing::{error, warn};

/// What a caller is told of a failure of the store.
#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
pub(crate) fn refused(failure: slipway_store::Error) -> Problem {
    let problem = failure.problem();
    match problem.kind {
        Kind::Internal => error!(error = %Chain(&failure), "internal error"),
        Kind::Unavailable | Kind::Exhausted => warn!(error = %Chain(&failure), "the store refused"),
        _ => (),
    }
    problem
}

/// The same for a failure of an operation.
pub(crate) fn interrupted(failure: crate::operation::Error) -> Problem {
    warn!(error = %Chain(&failure), "an operation could not go on");
    failure.problem()
}
