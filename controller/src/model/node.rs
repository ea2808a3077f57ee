//! Settings of one host, apart from the resources it serves.

use super::{LoadBalancer, Quotas, ZoneMapping, ZoneName};
use ipnet::Ipv4Net;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// One host that runs Causeway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, shown in logs and metrics.
    pub name: String,
    /// Zones it serves, each with the interface that has its feet there.
    pub zones: Vec<NodeZone>,
    /// Interfaces on which clients arrive, beyond those of the zones.
    pub client_interfaces: Vec<String>,
    /// How tunnel packets are told from others.
    pub tunnel: Tunnel,
    /// Sources of L4 flows; every port of every address belongs to XDP. Needed as soon as a TCP listener exists.
    pub nat_prefix: Option<Ipv4Net>,
    /// L7 worker threads, at least 1.
    pub workers: usize,
    /// Bytes of memory that the program is to use at most; `None`: three quarters of what it can have.
    pub memory_limit: Option<u64>,
    /// Where revisions and keys are kept.
    pub state_dir: PathBuf,
    /// Unix socket of the native API.
    pub api_socket: PathBuf,
    /// Where OpenMetrics are served, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Directory on a bpffs for pinned maps and links.
    pub bpf_dir: PathBuf,
    /// Access log file (JSON lines), if any.
    pub access_log: Option<PathBuf>,
    /// How many of what resources may hold.
    pub quotas: Quotas,
}

impl Node {
    /// Its feet in `zone`; `None` where it does not serve it.
    pub fn zone(&self, zone: &ZoneName) -> Option<&NodeZone> {
        self.zones.iter().find(|own| own.zone == *zone)
    }

    /// The zones of `balancer` that it serves.
    pub fn zones_of<'a>(&'a self, balancer: &'a LoadBalancer) -> impl Iterator<Item = &'a ZoneMapping> {
        balancer.zone_mappings.iter().filter(|mapping| self.zone(&mapping.zone).is_some())
    }
}

/// A zone served by a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeZone {
    /// The zone.
    pub zone: ZoneName,
    /// Interface in the zone's vSwitch.
    pub interface: String,
    /// Outer source toward next hops of this zone; configured on `interface` by the operator.
    pub tunnel_address: Ipv4Addr,
}

/// How tunnel packets are told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// UDP port of VXLAN, default 4789.
    pub vxlan_port: u16,
    /// What happens to packets on that port that match no next hop.
    pub admission: AdmissionMode,
}

/// What happens to packets on a tunnel port from unknown sources or with unknown VNIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmissionMode {
    /// The port is ours alone: they are dropped and counted.
    Exclusive,
    /// Others use the port too (flannel, Cilium): they pass untouched.
    Shared,
}
