//! The wire: one thin file per service, which decodes, calls and encodes. What a call may do was
//! decided before it comes here; what it does is decided below.
//!
//! * `error`: the one mapping of errors to the wire.
//! * `encode`: our values as messages.
//! * `deploy`, `app`, `node`, `container`, `image`: a service each.

mod app;
mod container;
mod deploy;
mod encode;
mod error;
mod image;
mod node;

pub use app::AppRpc;
pub use container::ContainerRpc;
pub use deploy::DeployRpc;
pub use image::ImageRpc;
pub use node::{Node, NodeRpc};
