//! Networks.

use super::{RegionName, TransitRouterName, VpcName, VswitchName, ZoneName};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A private network (XR-10). CIDRs of VPCs that are connected never overlap (XR-4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    /// Its name.
    pub name: VpcName,
    /// The region it lies in.
    pub region: RegionName,
    /// Primary CIDR, host bits zero.
    pub cidr: Ipv4Net,
    /// Its vSwitches.
    pub vswitches: BTreeMap<VswitchName, Vswitch>,
    /// The system route table beyond the VPC's own CIDR (XR-13, XR-50); destinations are distinct.
    pub routes: Vec<Route>,
}

/// A subnet of a VPC in one zone (XR-10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vswitch {
    /// Its name.
    pub name: VswitchName,
    /// Its zone.
    pub zone: ZoneName,
    /// CIDR inside the VPC's, disjoint from its siblings'.
    pub cidr: Ipv4Net,
}

/// One entry of a VPC's system route table: destination → transit router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination, host bits zero.
    pub destination: Ipv4Net,
    /// The router of the VPC's region that carries it.
    pub transit_router: TransitRouterName,
}

impl Vpc {
    /// The vSwitch whose CIDR holds `address`.
    pub fn vswitch_of(&self, address: Ipv4Addr) -> Option<&Vswitch> {
        self.vswitches.values().find(|vswitch| vswitch.cidr.contains(&address))
    }
}
