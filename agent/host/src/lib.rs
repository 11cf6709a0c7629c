//! What our programs need of the machine they run on. Each module is one outside thing.
//!
//! * [`clock`]: the time, so that tests can move it.
//! * [`secret`]: values that do not print themselves.
//! * [`chain`]: an error with its causes on one line.
//! * [`fs`]: files that are whole after a power cut.
//! * [`settings`]: settings files that say where they are wrong.
//! * [`exec`]: other programs, by argument list, with a deadline and bounded output.
//! * [`mod@failpoint`]: places where a test can kill the process.
//! * [`redact`]: takes secrets out of text, before every sink.
//! * [`telemetry`]: logs, to a terminal, as JSON, or to the journal.
//! * [`stats`]: load, memory, disk.

pub mod chain;
pub mod clock;
pub mod exec;
pub mod failpoint;
pub mod fs;
pub mod redact;
pub mod secret;
pub mod settings;
pub mod stats;
pub mod telemetry;

pub use chain::Chain;
pub use secret::Secret;
