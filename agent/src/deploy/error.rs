//! Why a deployment could not be opened, followed or told something. What goes wrong within a
//! deployment is not an error but an event: [`super::event::Failure`].

use slipway_proto::{
    problem::{Kind, Problem},
    value::AppKey,
};
use uuid::Uuid;

/// What was wrong with a call.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The agent is going down.
    #[error("the agent is stopping")]
    Stopping,
    /// The journal could not be written.
    #[error("the state of the deployment could not be written: {reason}")]
    Journal {
        /// The system's words.
        reason: String,
    },
    /// Another caller has taken over.
    #[error("epoch {given} is older than {seen}: another control plane has taken over `{app}`")]
    StaleEpoch {
        /// The app.
        app: AppKey,
        /// What the caller has.
        given: u64,
        /// The highest so far.
        seen: u64,
    },
    /// Something else is being done to the app.
    #[error("`{app}` is busy: {holder}")]
    Busy {
        /// The app.
        app: AppKey,
        /// What is done.
        holder: String,
    },
    /// The agent does not know the deployment.
    #[error("there is no deployment {deploy_id} on this server")]
    Unknown {
        /// Which.
        deploy_id: Uuid,
    },
    /// A deployment of that id is about something else.
    #[error("deployment {deploy_id} is of release {release} of `{app}`")]
    Different {
        /// Which.
        deploy_id: Uuid,
        /// Its app.
        app: AppKey,
        /// Its release.
        release: u64,
    },
    /// The number of the release is not a new one.
    #[error("release {given} of `{app}` is not newer than release {newest}")]
    OldRelease {
        /// The app.
        app: AppKey,
        /// What was asked for.
        given: u64,
        /// The newest that was committed.
        newest: u64,
    },
    /// Bytes of the archive are missing before these.
    #[error("a chunk begins at byte {offset}, but only {have} bytes came before it")]
    Gap {
        /// Where the chunk begins.
        offset: u64,
        /// What is here.
        have: u64,
    },
    /// Any other refusal.
    #[error("{}", .0.message)]
    Refused(Problem),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Stopping => Self::new(Kind::Unavailable, "SW-AGENT-STOPPING", message)
                .hint("open the deployment again; nothing is lost"),
            Error::Journal { .. } => Self::new(Kind::Unavailable, "SW-STATE-READONLY", message)
                .hint("look at the disk of the server"),
            Error::StaleEpoch { .. } => Self::new(Kind::Fenced, "SW-STALE-EPOCH", message),
            Error::Busy { .. } => Self::new(Kind::Conflict, "SW-APP-BUSY", message)
                .hint("wait for its end, or abort it"),
            Error::Unknown { .. } => Self::new(Kind::NotFound, "SW-DEPLOYMENT-MISSING", message),
            Error::Different { .. } => Self::new(Kind::Conflict, "SW-DEPLOYMENT-ID", message),
            Error::OldRelease { .. } => {
                Self::new(Kind::Conflict, "SW-RELEASE-OLD", message).field("release")
            }
            Error::Gap { .. } => Self::new(Kind::Invalid, "SW-UPLOAD-INCOMPLETE", message)
                .hint("open the deployment again; `accepted` tells where to go on"),
            Error::Refused(problem) => problem,
        }
    }
}
