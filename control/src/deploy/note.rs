//! The journal and the events of a deployment, with the places where a test can cut it off.

use serde::{Serialize, de::DeserializeOwned};
use slipway_host::failpoint;
use slipway_store::NewEvent;

use crate::operation::{Error, Run};

/// Writes down that a step has finished, before its consequences.
pub(super) async fn note<T>(run: &Run, step: &str, result: T) -> Result<(), Error>
where
    T: Serialize + DeserializeOwned,
{
    failpoint!(&format!("control.deploy.{step}.before"));
    run.step(step, async { Ok::<_, Error>(result) }).await?;
    failpoint!(&format!("control.deploy.{step}.after"));
    Ok(())
}

/// What a step gave that an earlier process finished.
pub(super) async fn noted<T>(run: &Run, step: &str) -> Result<Option<T>, Error>
where
    T: Serialize + DeserializeOwned,
{
    if !run.has_finished(step) {
        return Ok(None);
    }
    // A finished step's work is dropped unpolled.
    run.step(step, std::future::pending::<Result<T, Error>>()).await.map(Some)
}

/// Tells something.
pub(super) async fn tell(run: &Run, event: NewEvent) -> Result<(), Error> {
    run.append(vec![event]).await.map(drop)
}
