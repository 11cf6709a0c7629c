//! The surfaces: gRPC and HTTP. They decode, call one function and encode.
//!
//! * [`grpc`]: agents, the command line, programs.
//! * [`http`]: health and figures.

pub mod grpc;
pub mod http;
