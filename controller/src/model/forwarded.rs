//! What servers are told about the client and the listener (LR-40 to LR-43).

use serde::{Deserialize, Serialize};

/// Which headers are written into requests. A header that is written replaces any the client sent under its name; one
/// that is not passes unchanged (LR-43).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedHeaders {
    /// X-Forwarded-For (LR-40).
    pub x_forwarded_for: XForwardedFor,
    /// X-Forwarded-Proto: `http` or `https`.
    pub proto: bool,
    /// SLB-ID: the load balancer's name.
    pub slb_id: bool,
    /// X-Forwarded-Port: the listener's port.
    pub port: bool,
    /// X-Forwarded-Host: the host the client asked for.
    pub host: bool,
    /// X-Forwarded-Client-srcport: the client's port. Not on QUIC listeners.
    pub client_port: bool,
    /// Name of the header that has the client certificate's subject. This and the next three on HTTPS listeners only.
    pub certificate_subject: Option<String>,
    /// Name of the header that has its issuer.
    pub certificate_issuer: Option<String>,
    /// Name of the header that has its SHA-1 fingerprint, in hexadecimal.
    pub certificate_fingerprint: Option<String>,
    /// Name of the header that says whether it was verified: `SUCCESS` or `NONE`.
    pub certificate_verify: Option<String>,
}

/// What becomes of X-Forwarded-For (LR-40).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum XForwardedFor {
    /// The peer is appended.
    #[default]
    Append,
    /// It is taken away.
    Remove,
    /// It passes unchanged.
    Pass,
}
