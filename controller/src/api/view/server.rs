//! Servers: health, its evidence, and load.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A server of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerView {
    /// Its group.
    pub group: String,
    /// What it is in the inventory: `ecs:i-web1`, `eni:eni-1`, `eci:eci-1`, `fc:ARN`; `None`: its address.
    pub id: Option<String>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Configured weight.
    pub weight: u32,
    /// Weight in force: after slow start, health and draining.
    pub effective_weight: f64,
    /// Health as the API names it.
    pub health: HealthStatus,
    /// Why it is unhealthy.
    pub failure: Option<FailureView>,
    /// Seconds since `health` last changed.
    pub since_secs: u64,
    /// What its latest probe found; `None` before the first, and where it is not probed.
    pub evidence: Option<EvidenceView>,
    /// Milliseconds until its next probe begins at the latest; 0 if one may be under way. `None`: it is not probed, or was not yet.
    pub next_probe_ms: Option<u64>,
    /// Whether its weight is growing after it became healthy.
    pub in_slow_start: bool,
    /// How far its slow start is.
    pub slow_start: Option<RampView>,
    /// Whether what is in flight to it is being let out.
    pub is_draining: bool,
    /// How far its drains are, oldest first.
    pub drains: Vec<DrainView>,
    /// Its work so far and now.
    pub counters: ServerCounters,
    /// The zone of the vSwitch that holds it (SG-175).
    pub zone: Option<String>,
    /// Whether it lies in another network.
    pub remote_ip: bool,
    /// Free text.
    pub description: Option<String>,
    /// How it is reached.
    pub path: PathView,
}

/// Health (SG-192; a server in `Normal` is not listed there, one in `Removing` drains, SG-202).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthStatus {
    /// Healthy.
    Normal,
    /// Not yet proven.
    Initial,
    /// Failing its checks.
    Unhealthy,
    /// Weight 0.
    Unused,
    /// Checks are off.
    Unavailable,
    /// Removed, draining.
    Removing,
}

impl HealthStatus {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Initial => "Initial",
            Self::Unhealthy => "Unhealthy",
            Self::Unused => "Unused",
            Self::Unavailable => "Unavailable",
            Self::Removing => "Removing",
        }
    }
}

/// Why a server is unhealthy (SG-193).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureView {
    /// `CONNECT_TIMEOUT`, `RESPONSE_MISMATCH`...
    pub reason: String,
    /// With `RESPONSE_MISMATCH`: what came.
    pub actual: Option<String>,
    /// With `RESPONSE_MISMATCH`: what would have passed.
    pub expected: Option<String>,
    /// For people: the operating system's error, or the like.
    pub detail: String,
}

/// What a server's latest probe found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceView {
    /// How it failed; `None`: it passed.
    pub failure: Option<FailureView>,
    /// Milliseconds since it ended.
    pub ago_ms: u64,
    /// Results of this kind in a row, this one included.
    pub in_a_row: u32,
}

/// A slow start in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RampView {
    /// Seconds since it began.
    pub elapsed_secs: u64,
    /// Seconds it takes.
    pub duration_secs: u64,
}

/// A drain in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainView {
    /// `removed` or `unhealthy`.
    pub cause: String,
    /// Seconds since it began.
    pub elapsed_secs: u64,
    /// Seconds until what is left is cut.
    pub remaining_secs: u64,
    /// Requests and flows it waited for at its first count, and at its latest; `None` before the first.
    pub in_flight: Option<(u64, u64)>,
}

/// Something that happened to a server, or to all of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// Seconds since then.
    pub ago_secs: u64,
    /// Its group.
    pub group: String,
    /// The server; `None`: all.
    pub server: Option<SocketAddr>,
    /// What happened: `is healthy`.
    pub what: String,
    /// Whether an operator may have to do something.
    pub is_warning: bool,
}

/// What a server has done, and does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCounters {
    /// L7 requests in flight and open L4 flows.
    pub active: u64,
    /// L7 requests sent to it.
    pub requests: u64,
    /// L7 connections opened to it.
    pub connections: u64,
    /// L7 connections that could not be opened.
    pub connect_failures: u64,
    /// L7 requests that got no response from it.
    pub request_failures: u64,
    /// L4 flows given to it.
    pub flows: u64,
    /// L4 traffic to and from it.
    pub l4: LinkCounters,
}

/// Traffic in both directions; bytes from the IP header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCounters {
    /// Packets sent there.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that came back.
    pub reply_packets: u64,
    /// Their bytes.
    pub reply_bytes: u64,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "via", rename_all = "kebab-case")]
pub enum PathView {
    /// Inside the VPC.
    Local,
    /// Through a transit router.
    TransitRouter {
        /// Its name.
        name: String,
    },
    /// There is no route.
    None,
}
