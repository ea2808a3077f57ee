//! Server groups and health check templates.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A server group (SG-13).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerGroupView {
    /// Its name.
    pub name: String,
    /// `Instance`, `Ip` or `Fc`.
    pub group_type: String,
    /// Its network; `None` for groups of type `Fc`.
    pub vpc: Option<String>,
    /// `HTTP`, `HTTPS`, `gRPC` or `TCP`.
    pub protocol: String,
    /// `Wrr`, `Wlc` or `Sch`.
    pub scheduler: String,
    /// What `Sch` hashes.
    pub hash: Option<HashView>,
    /// `None`: checks are off.
    pub health_check: Option<HealthCheckView>,
    /// `None`: off.
    pub sticky_session: Option<StickySessionView>,
    /// Seconds; `None`: off.
    pub slow_start_secs: Option<u64>,
    /// Seconds; `None`: off.
    pub connection_drain_secs: Option<u64>,
    /// Whether idle connections to servers are kept.
    pub upstream_keepalive: bool,
    /// Whether traffic may leave the zone it entered.
    pub cross_zone: bool,
    /// Whether servers may have IPv6 addresses.
    pub ipv6: bool,
    /// How certificates of servers are verified; `None`: not at all.
    pub tls_verification: Option<TlsVerificationView>,
    /// Opaque.
    pub service_name: Option<String>,
    /// Opaque.
    pub ip_version_affinity_mode: Option<String>,
    /// Opaque.
    pub resource_group: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Servers configured.
    pub server_count: usize,
    /// Of these, healthy, and with checks off usable.
    pub healthy_count: usize,
    /// Whether all of its servers, in some zone at least, receive because none is healthy.
    pub is_fail_open: bool,
    /// Listeners that send to it; health is known of groups that some listener uses.
    pub listeners: Vec<String>,
    /// Their load balancers.
    pub load_balancers: Vec<String>,
}

/// What a consistent hash is taken of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum HashView {
    /// The client's address.
    SourceIp,
    /// A parameter of the URL's query.
    UrlParameter {
        /// Its name.
        name: String,
    },
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheckView {
    /// `HTTP`, `HTTPS`, `TCP` or `gRPC`.
    pub protocol: String,
    /// `HEAD`, `GET` or `POST`; not for TCP.
    pub method: Option<String>,
    /// Not for TCP.
    pub path: Option<String>,
    /// `None`: the server's address.
    pub host: Option<String>,
    /// `HTTP1.0` or `HTTP1.1`; for HTTP and HTTPS.
    pub http_version: Option<String>,
    /// What passes: `http_2xx`, or codes and ranges of gRPC.
    pub codes: Vec<String>,
    /// `None`: the server's own port.
    pub connect_port: Option<u16>,
    /// From one probe to the next.
    pub interval_secs: u64,
    /// Longest time a probe may take.
    pub timeout_secs: u64,
    /// Passes in a row until healthy.
    pub healthy_threshold: u8,
    /// Failures in a row until unhealthy.
    pub unhealthy_threshold: u8,
    /// Longest time until a server that falls silent is unhealthy (SG-188).
    pub detects_within_secs: u64,
}

/// How a client stays with its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum StickySessionView {
    /// By a cookie of ours.
    Insert {
        /// Seconds without a request that end a session.
        timeout_secs: u64,
    },
    /// By the application's cookie.
    Server {
        /// Its name.
        cookie: String,
    },
}

/// How certificates of servers are verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsVerificationView {
    /// Certificates of the authorities trusted, PEM.
    pub ca_certificates: String,
    /// Name the certificate must bear; `None`: the server's address.
    pub server_name: Option<String>,
}

/// A health check template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheckTemplateView {
    /// Its name.
    pub name: String,
    /// What applying it gives a group.
    pub health_check: HealthCheckView,
}
