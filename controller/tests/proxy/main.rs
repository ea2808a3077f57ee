//! The L7 engine over real sockets: one engine per test, servers and clients are threads of the test.

mod balancing;
mod drains;
mod errors;
mod grpc;
mod harness;
mod http2;
mod https;
mod memory;
mod messages;
mod mirrors;
mod quic;
mod rules;
mod scheduling;
mod snapshots;
mod sticky;
mod streaming;
mod tls;
mod upgrade;
mod upstream;
