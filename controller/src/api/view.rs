//! What `causeway get` shows. Filled by the control loop; plain data, so that it reads the same in JSON.

use crate::store::Revision;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};

/// A load balancer and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerView {
    /// Its name.
    pub name: String,
    /// `Basic` or `Standard`.
    pub edition: String,
    /// `Internet` or `Intranet`.
    pub address_type: String,
    /// The VPC it lives in.
    pub vpc: String,
    /// The name that CNAMEs point at (D-3).
    pub dns_name: String,
    /// Its zones.
    pub zones: Vec<ZoneView>,
    /// Its listeners.
    pub listeners: Vec<ListenerView>,
}

/// A load balancer in one zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneView {
    /// The zone.
    pub zone: String,
    /// Its vSwitch.
    pub vswitch: String,
    /// Address clients send to.
    pub vip: Ipv4Addr,
    /// Sources of connections and probes toward servers (XR-22).
    pub local_addresses: Vec<Ipv4Addr>,
    /// Whether this node serves the zone.
    pub served_here: bool,
}

/// A listener of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// `HTTP` or `TCP`.
    pub protocol: String,
    /// Its port.
    pub port: u16,
    /// The group of its default action.
    pub server_group: String,
    /// Whether it accepts traffic.
    pub status: ListenerStatus,
    /// Why it does not, if so.
    pub problem: Option<String>,
}

/// Whether a listener accepts traffic (LR-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenerStatus {
    /// Not yet.
    Provisioning,
    /// It does.
    Running,
    /// It does not.
    Stopped,
}

/// A server of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerView {
    /// Its group.
    pub group: String,
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
    /// Whether its weight is growing after it became healthy.
    pub in_slow_start: bool,
    /// Whether what is in flight to it is being let out.
    pub is_draining: bool,
    /// Its work so far and now.
    pub counters: ServerCounters,
    /// The zone of the vSwitch that holds it (SG-175).
    pub zone: Option<String>,
    /// Whether it lies in another network.
    pub remote_ip: bool,
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

/// An entry of a VPC's system route table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    /// The VPC.
    pub vpc: String,
    /// Destination CIDR.
    pub destination: String,
    /// Where it leads.
    pub target: RouteTarget,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum RouteTarget {
    /// The VPC itself.
    Local,
    /// A transit router.
    TransitRouter {
        /// Its name.
        name: String,
        /// Its next hops that this node uses.
        next_hops: Vec<String>,
    },
}

/// A tunnel endpoint of a transit router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHopView {
    /// Its name.
    pub name: String,
    /// Its router.
    pub transit_router: String,
    /// Its zone.
    pub zone: String,
    /// Outer destination.
    pub address: Ipv4Addr,
    /// How packets are wrapped: `vxlan 101`.
    pub encapsulation: String,
    /// Largest outer packet, bytes.
    pub mtu: u16,
    /// Share of flows.
    pub weight: u32,
    /// Outer source and interface on this node; `None` if the node does not serve the zone.
    pub from: Option<(String, Ipv4Addr)>,
    /// Traffic through it.
    pub counters: LinkCounters,
}

/// How the program stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// Release.
    pub version: String,
    /// Name of the node.
    pub node: String,
    /// Process id of the controller.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_secs: u64,
    /// The revision in force; `None` before the first.
    pub revision: Option<Revision>,
    /// Number of the newest snapshot that every worker has acknowledged.
    pub snapshot_sequence: u64,
    /// Worker threads.
    pub workers: usize,
}
