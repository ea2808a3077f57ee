//! Server groups and their servers.

use super::{ServerGroupName, VpcName};
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::time::Duration;

/// A named set of servers that listeners send to (SG-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerGroup {
    /// Its name (SG-4).
    pub name: ServerGroupName,
    /// What its servers are (SG-2).
    pub group_type: ServerGroupType,
    /// The network it belongs to (SG-5).
    pub vpc: VpcName,
    /// What the servers speak (SG-20; TCP is ours, D-17).
    pub protocol: GroupProtocol,
    /// How a server is picked (SG-80).
    pub scheduler: Scheduler,
    /// `None`: checks are off and every server counts as usable (SG-190).
    pub health_check: Option<HealthCheck>,
    /// `None`: off (SG-130).
    pub slow_start: Option<SlowStart>,
    /// `None`: off (SG-150).
    pub connection_drain: Option<ConnectionDrain>,
    /// Whether idle connections to servers are kept (SG-100).
    pub upstream_keepalive: bool,
    /// Servers in the order written; identities ([`ServerAddress`]) are distinct (SG-38).
    pub servers: Vec<Server>,
}

/// What the servers of a group are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerGroupType {
    /// Addresses, the only type that may hold remote ones (XR-2).
    Ip,
}

/// What servers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// HTTP/1.1.
    Http,
    /// Any TCP, for TCP listeners.
    Tcp,
}

/// How a server is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// Weighted round robin; a weighted Maglev table at L4.
    Wrr,
}

/// A server in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Address and port: its identity within the group (SG-38).
    pub address: ServerAddress,
    /// Share of traffic (SG-34).
    pub weight: Weight,
    /// Whether the address lies outside the group's VPC (SG-50).
    pub remote_ip: bool,
    /// Free text.
    pub description: Option<String>,
}

/// Address and port of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerAddress {
    /// Private address (SG-41).
    pub ip: Ipv4Addr,
    /// Port (SG-33).
    pub port: NonZeroU16,
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.ip, self.port)
    }
}

/// A share of traffic relative to its siblings', 0 to 100 (SG-34); 0 takes no new traffic (SG-90).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u8);

impl Weight {
    /// The largest weight, and the default.
    pub const MAX: Weight = Weight(100);
    /// Takes no new traffic.
    pub const ZERO: Weight = Weight(0);

    /// `None` above 100.
    pub fn new(weight: u32) -> Option<Weight> {
        u8::try_from(weight).ok().filter(|weight| *weight <= 100).map(Weight)
    }

    /// The number, 0 to 100.
    pub fn get(self) -> u32 {
        u32::from(self.0)
    }
}

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

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheckProtocol {
    /// A completed handshake passes (SG-181).
    Tcp,
    /// A response whose status is in `codes` passes (SG-182).
    Http {
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
}

/// Method of an HTTP probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthCheckMethod {
    /// HEAD
    Head,
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

/// Weight grows over `duration` after a server becomes healthy (SG-130, SG-133).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart {
    /// 30 to 900 s.
    pub duration: Duration,
}

/// What is in flight may finish for `timeout` after a server leaves or fails (SG-150).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionDrain {
    /// 0 to 900 s; 0 cuts at once.
    pub timeout: Duration,
}
