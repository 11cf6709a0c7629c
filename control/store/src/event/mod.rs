//! Events: what an operation says while it runs. Numbered from 1 without gaps, never changed.
//!
//! [`System::append`](crate::System::append) hands them to one writer task, which commits those of
//! all operations together; [`Owner::tail`](crate::Owner::tail) replays and follows.

mod append;
mod body;
mod tail;

pub use append::Seen;
pub(crate) use append::{Appender, Request, writer};
pub use body::{Done, Event, EventBody, Failure, NewEvent, ServerDone, StepState};
pub use tail::Follow;
