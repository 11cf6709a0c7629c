//! What the program does besides being the agent: the traffic switch, joining, sealing, checking.

mod check;
mod enroll;
mod seal;

pub use check::{Finding, Report, check};
pub use enroll::{Enroll, enroll};
pub use seal::{Force, seal};

use crate::config::Config;

/// Runs the traffic switch until it is told to stop.
///
/// # Errors
/// It cannot listen, or cannot read its table.
pub async fn proxy(config: &Config) -> Result<(), slipway_forward::Error> {
    let forward = &config.forward;
    slipway_forward::run(slipway_forward::Config {
        listen: forward.listen.clone(),
        listen_mode: 0o666,
        control: forward.control.clone(),
        state: forward.state.clone(),
        grace: forward.grace,
        successor: Vec::new(),
        predecessor: None,
    })
    .await
}
