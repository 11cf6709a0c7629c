//! The surfaces: gRPC and HTTP. They decode, call one function and encode.
