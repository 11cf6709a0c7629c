//! From the contract's messages to values.

use std::time::Duration;

use slipway_proto::{control::v1 as wire, problem::Problem};
use slipway_store::User;
use slipway_transport::Caller;
use tonic::{Request, Status};

use super::Surface;

/// The calling user.
pub(super) async fn user<T>(surface: &Surface, request: &Request<T>) -> Result<User, Status> {
    let id = Caller::of(request)?.user_id().and_then(|it| it.parse().ok());
    let id = id.ok_or_else(|| {
        // The policy lets only users through to where this is called.
        Status::from(Problem::internal("internal error; see the control plane's log"))
    })?;
    Ok(surface.users.get(id).await?)
}

/// Which app. Absent: none of that name exists.
pub(super) fn target(target: Option<wire::AppTarget>) -> wire::AppTarget {
    target.unwrap_or_default()
}

/// A time span.
pub(super) fn span(
    field: &'static str,
    span: Option<prost_types::Duration>,
) -> Result<Option<Duration>, Problem> {
    span.map(Duration::try_from)
        .transpose()
        .map_err(|_| Problem::invalid("SW-DURATION", field, "it is no time span"))
}
