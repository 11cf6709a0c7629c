//! The switch as a whole, in-process: real sockets in a folder of the test, real small servers.

mod control;
mod flow;
mod handover;
mod harness;
mod process;
mod protocol;
