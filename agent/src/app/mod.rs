//! What lives on this server.
//!
//! * [`record`]: what the agent remembers of an app.
//! * [`Store`]: the records of all apps, on disk.
//! * [`Addresses`]: which network an app has, and which address a container.
//! * [`view`]: apps as they stand.
//! * [`act`]: stopping, starting, restarting, removing.
//! * [`logs`]: the output of an app.

pub mod act;
mod address;
pub mod logs;
pub mod record;
mod store;
#[cfg(test)]
mod tests;
pub mod view;

pub use act::{Acts, Volumes};
pub use address::Addresses;
pub use record::{AppRecord, Kept, Release};
pub use store::Store;
pub use view::{AppState, AppView, Views};
