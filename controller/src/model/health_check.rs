//! Health checks (SG section 11).

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How the servers of a group are probed (SG-180 and its table).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What a probe does.
    pub protocol: HealthCheckProtocol,
    /// Port to probe; `None`: the server's own.
    pub connect_port: Option<NonZeroU16>,
    /// From one probe's start to the next, 1 to 50 s, default 2.
    pub interval: Duration,
    /// 1 to 300 s, default 5.
    pub timeout: Duration,
    /// Passes in a row until healthy, 2 to 10, default 3 (SG-186).
    pub healthy_threshold: u8,
    /// Failures in a row until unhealthy, 2 to 10, default 3.
    pub unhealthy_threshold: u8,
}

impl HealthCheck {
    /// Longest time from a server's silence to its being unhealthy (SG-188): one interval to the next probe, then
    /// `unhealthy_threshold` probes, each as long as the longer of interval and timeout.
    pub fn detects_within(&self) -> Duration {
        self.interval + self.interval.max(self.timeout) * u32::from(self.unhealthy_threshold)
    }
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheckProtocol {
    /// A completed handshake passes (SG-181).
    Tcp,
    /// A response whose status is in `codes` passes (SG-182).
    Http {
        /// Over TLS, without verification of the certificate (SG-196).
        tls: bool,
        /// HEAD by default.
        method: HealthCheckMethod,
        /// `/` by default.
        path: String,
        /// `None`: the server's address.
        host: Option<String>,
        /// HTTP/1.1 by default.
        version: HttpVersion,
        /// Not empty; 2xx by default.
        codes: Vec<StatusClass>,
    },
    /// A gRPC response whose status is in `codes` passes (SG-184). HTTP/2 without TLS, or with TLS in groups of
    /// protocol HTTPS.
    Grpc {
        /// Over TLS.
        tls: bool,
        /// POST by default.
        method: GrpcMethod,
        /// Path of the method, `/grpc.health.v1.Health/Check` by default.
        path: String,
        /// `None`: the server's address.
        host: Option<String>,
        /// Within 0 to 99, not empty, at most 20; `0` by default.
        codes: Vec<RangeInclusive<u8>>,
    },
}

/// Method of an HTTP probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthCheckMethod {
    /// HEAD
    Head,
    /// GET
    Get,
}

/// Method of a gRPC probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcMethod {
    /// POST
    Post,
    /// GET
    Get,
}

/// HTTP version of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// A class of status codes: `StatusClass(2)` is 200 to 299. 2 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatusClass(pub u8);

/// A reusable health check (SG-194): applying it to a group copies its values, later changes do not propagate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheckTemplate {
    /// Its name.
    pub name: super::HealthCheckTemplateName,
    /// The values.
    pub check: HealthCheck,
}
