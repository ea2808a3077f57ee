//! The L7 engine over real sockets: one engine per test, servers and clients are threads of the test.

mod balancing;
mod drains;
mod errors;
mod harness;
mod snapshots;
mod streaming;
mod tls;
mod upstream;
