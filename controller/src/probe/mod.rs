//! Active health checks: probes, and when they run.
//!
//! - [`tcp`], [`http`], [`grpc`]: one probe, one [`Outcome`]; the latter two also inside TLS
//! - [`schedule`]: runs the probes of many targets and sends their outcomes to the control loop
//! - [`timetable`]: when each target is next due (pure)
//! - [`clock`]: what time it is
//!
//! Connections end with FIN, as clients' do: servers would log a reset as an error. The price is up to 60 s in TIME_WAIT
//! where we close first, which after TCP probes is always; they hold no port that another server's probe needs.
//!
//! Absent here: verdicts. What outcomes mean for a server is decided in [`crate::health`].

pub mod clock;
pub mod grpc;
pub mod http;
mod limited;
mod response;
pub mod schedule;
pub mod tcp;
pub mod timetable;
mod tls;

use crate::health::{Failure, FailureReason, Moment, Outcome};
use crate::model::{HealthCheck, HealthCheckProtocol, ServerAddress};
use std::net::{IpAddr, SocketAddr};

/// Names a target; the caller's choice, distinct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u64);

/// What is to be probed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub id: TargetId,
    /// The server; the check may name another port.
    pub server: ServerAddress,
    /// Local address probes come from, as traffic does (SG-191).
    pub source: IpAddr,
    /// How to probe.
    pub check: HealthCheck,
}

impl Target {
    /// Where probes connect to.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.server.ip, self.check.connect_port.unwrap_or(self.server.port).get())
    }
}

/// How one probe of a target ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// The target.
    pub id: TargetId,
    /// What was found.
    pub outcome: Outcome,
    /// When.
    pub at: Moment,
}

/// Probes `target` once; takes at most its timeout.
pub async fn probe(target: &Target) -> Outcome {
    match &target.check.protocol {
        HealthCheckProtocol::Tcp => tcp::probe(target).await,
        HealthCheckProtocol::Http { .. } => http::probe(target).await,
        // Apart, so that other probes do not carry HTTP/2's state.
        HealthCheckProtocol::Grpc { .. } => Box::pin(grpc::probe(target)).await,
    }
}

/// What the server is addressed as: the host configured, or its address.
fn host_of(target: &Target, host: Option<&str>) -> String {
    match (host, target.server.ip) {
        (Some(host), _) => host.into(),
        (None, IpAddr::V4(ip)) => ip.to_string(),
        (None, IpAddr::V6(ip)) => format!("[{ip}]"),
    }
}

fn failed(reason: FailureReason, detail: impl ToString) -> Failure {
    Failure { reason, actual: None, expected: None, detail: detail.to_string() }
}
