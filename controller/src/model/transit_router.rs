//! Transit routers and the tunnel endpoints that lead to them.

use super::{NextHopName, RegionName, TransitRouterName, VpcName, VswitchName, Weight, ZoneName};
use std::net::Ipv4Addr;

/// A region's router (XR-30). How it forwards is its own affair; Causeway needs to know whom it joins and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransitRouter {
    /// Its name.
    pub name: TransitRouterName,
    /// Its region.
    pub region: RegionName,
    /// Networks and routers joined to it.
    pub attachments: Vec<Attachment>,
    /// Tunnel endpoints a balancer may send to, at most [`forwarder_common::limits::HOPS_PER_GROUP`].
    pub next_hops: Vec<NextHop>,
}

/// A network or another router joined to a transit router (XR-31, XR-33).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// What is joined.
    pub kind: AttachmentKind,
}

/// What an attachment joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachmentKind {
    /// A VPC of the same region, entered through these vSwitches.
    Vpc {
        /// The VPC.
        vpc: VpcName,
        /// At least one of its vSwitches.
        vswitches: Vec<VswitchName>,
    },
    /// An inter-region connection.
    Peer(TransitRouterName),
}

/// One tunnel endpoint of a transit router, as a balancer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Unique among all next hops.
    pub name: NextHopName,
    /// The zone whose vSwitch holds the endpoint; the balancer's tunnel address there is the outer source.
    pub zone: ZoneName,
    /// Outer destination.
    pub address: Ipv4Addr,
    /// How packets are wrapped.
    pub encapsulation: Encapsulation,
    /// Largest outer IP packet the path to the endpoint carries, bytes.
    pub mtu: u16,
    /// Share of flows among the router's hops; 0 takes none.
    pub weight: Weight,
}

/// How packets toward a next hop are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encapsulation {
    /// VXLAN, RFC 7348; the VNI is below 2^24.
    Vxlan {
        /// Network identifier.
        vni: u32,
        /// Ethernet address of the router's VXLAN device: a Linux router takes only inner frames addressed to it.
        mac: [u8; 6],
    },
}
