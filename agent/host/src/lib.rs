//! What our programs need of the machine they run on. Each module is one outside thing.
//!
//! * [`clock`]: the time, so that tests can move it.
//! * [`secret`]: values that do not print themselves.
//! * [`chain`]: an error with its causes on one line.
//! * [`fs`]: files that are whole after a power cut.
//! * [`exec`]: other programs, by argument list, with a deadline and bounded output.
//! * [`failpoint`]: places where a test can kill the process.

pub mod chain;
pub mod clock;
pub mod exec;
pub mod failpoint;
pub mod fs;
pub mod secret;

pub use chain::Chain;
pub use secret::Secret;
