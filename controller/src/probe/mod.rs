//! Active health checks: probes, and when they run.
//!
//! - [`tcp`], [`http`]: one probe, one [`Outcome`]
//! - [`schedule`]: runs the probes of many targets and sends their outcomes to the control loop
//! - [`timetable`]: when each target is next due (pure)
//! - [`clock`]: what time it is
//!
//! Absent here: verdicts. What outcomes mean for a server is decided in [`crate::health`].

pub mod clock;
pub mod http;
mod response;
pub mod schedule;
pub mod tcp;
pub mod timetable;

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
        HealthCheckProtocol::Grpc { .. } => {
            Outcome::Failed(failed(FailureReason::ResponseFormatError, "gRPC checks are not built yet"))
        }
    }
}

fn failed(reason: FailureReason, detail: impl ToString) -> Failure {
    Failure { reason, actual: None, expected: None, detail: detail.to_string() }
}
