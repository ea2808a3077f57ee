//! TLS, on either side: towards clients and towards servers.
//!
//! - `stream`: the encrypted connection, the same for both sides
//! - `client`: what connections to servers begin with
//!
//! rustls does the protocol, without input or output of its own, with aws-lc-rs for the ciphers.

mod client;
mod stream;

pub use client::{Profile, TlsClient, VerificationError};
pub use stream::TlsStream;
