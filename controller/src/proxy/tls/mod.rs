//! TLS, on either side: towards clients and towards servers.
//!
//! - `stream`: the encrypted connection, the same for both sides
//! - `client`: what connections to servers begin with
//! - `server`: what connections from clients begin with · `certificate`: which certificate a client is shown
//! - `accept`: shaking hands with a client · `client_certificate`: what is known of the client's own
//! - `shared`: what is made once for all workers
//!
//! rustls does the protocol, without input or output of its own, with aws-lc-rs for the ciphers.

mod accept;
mod certificate;
mod client;
mod client_certificate;
mod server;
mod shared;
mod stream;
#[cfg(test)]
mod tests;

pub use accept::{AcceptError, TlsSession, accept};
pub use certificate::CertificateError;
pub use client::{Profile, TlsClient, VerificationError};
#[allow(unused_imports, reason = "until headers tell of it")]
pub use client_certificate::ClientCertificate;
pub use server::{Spoken, TlsError, TlsServer};
pub use stream::TlsStream;
