//! QUIC and HTTP/3 (RFC 9000, RFC 9114), from clients, over quinn on the reactor.
//!
//! - [`socket`]: one socket per worker and address, and the kernel's choice among them · [`identity`]: connection ids that
//!   lead to their worker
//! - [`runtime`]: quinn's wishes, by the reactor · [`endpoint`]: handshakes, and what a connection may cost
//! - [`http3`]: requests on a connection · [`arrival`]: from an address to the pipeline

mod arrival;
mod endpoint;
pub mod http3;
mod identity;
mod runtime;
mod socket;

pub(super) use arrival::serve_address;
pub use endpoint::{Endpoint, QuicTlsError, Settings};
pub use identity::{Place, Secrets};
pub use runtime::ReactorRuntime;
pub use socket::{QuicSockets, WORKERS_MAX, bind_quic};
