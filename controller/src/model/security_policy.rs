//! TLS security policies (LR-20 to LR-23).

use super::SecurityPolicyName;
use serde::{Deserialize, Serialize};

/// Which versions and cipher suites clients may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityPolicy {
    /// Its name.
    pub name: SecurityPolicyName,
    /// Versions allowed, ascending, at least one.
    pub versions: Vec<TlsVersion>,
    /// Suites allowed, as OpenSSL names those up to TLS 1.2 and RFC 8446 those of 1.3; in order of preference.
    pub ciphers: Vec<String>,
}

/// A version of TLS. The engine speaks 1.2 and 1.3; earlier ones can be written, and are not served (LR-23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLSv1.0
    Tls10,
    /// TLSv1.1
    Tls11,
    /// TLSv1.2
    Tls12,
    /// TLSv1.3
    Tls13,
}

impl std::fmt::Display for TlsVersion {
    /// As the API spells it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TlsVersion::Tls10 => "TLSv1.0",
            TlsVersion::Tls11 => "TLSv1.1",
            TlsVersion::Tls12 => "TLSv1.2",
            TlsVersion::Tls13 => "TLSv1.3",
        })
    }
}
