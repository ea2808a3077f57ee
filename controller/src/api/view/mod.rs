//! What `causeway get` shows. Filled by the control loop; plain data, so that it reads the same in JSON.

mod certificate;
mod group;
mod inventory;
mod rule;
mod server;

pub use certificate::CertificateView;
pub use group::{
    HashView, HealthCheckTemplateView, HealthCheckView, ServerGroupView, StickySessionView,
    TlsVerificationView,
};
pub use inventory::InventoryView;
pub use rule::{AclView, RuleView, SecurityPolicyView};
pub use server::{
    DrainView, EventView, EvidenceView, FailureView, HealthStatus, LinkCounters, PathView, RampView,
    ServerCounters, ServerView,
};

use crate::config::Change;
use crate::store::Revision;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A load balancer and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerView {
    /// Its name.
    pub name: String,
    /// `Basic` or `Standard`.
    pub edition: String,
    /// `Internet` or `Intranet`.
    pub address_type: String,
    /// `IPv4` or `DualStack`.
    pub address_ip_version: String,
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
    /// Where IPv6 clients send to.
    pub ipv6_vip: Option<Ipv6Addr>,
    /// Sources toward IPv6 servers.
    pub ipv6_local_addresses: Vec<Ipv6Addr>,
    /// Whether this node serves the zone.
    pub served_here: bool,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// Its load balancer.
    pub load_balancer: String,
    /// `HTTP`, `HTTPS`, `QUIC` or `TCP`.
    pub protocol: String,
    /// Its port.
    pub port: u16,
    /// The group of its default action.
    pub server_group: String,
    /// Seconds after which a client connection without a request is closed; HTTP.
    pub idle_timeout_secs: Option<u64>,
    /// Seconds within which a request has to be complete, and answered; HTTP.
    pub request_timeout_secs: Option<u64>,
    /// Whether X-Forwarded-For is written; HTTP.
    pub x_forwarded_for: bool,
    /// Networks whose X-Forwarded-For is believed; empty: none is.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// Its other settings, label and value of each in words.
    #[serde(default)]
    pub settings: Vec<(String, String)>,
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

/// A revision of the resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionView {
    /// Its number.
    pub revision: Revision,
    /// When it was kept, seconds since 1970.
    pub kept_at: u64,
    /// Length of its text.
    pub bytes: u64,
    /// Whether it is the one in force.
    pub in_force: bool,
    /// What it changed in the one before it; `None` for the oldest one kept, and where one of the two no longer reads.
    pub changes: Option<Vec<Change>>,
}

/// The text of a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcesView {
    /// Its number; `None` before the first.
    pub revision: Option<Revision>,
    /// YAML, as `causeway apply` takes it.
    pub text: String,
}
