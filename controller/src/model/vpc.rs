//! Networks.

use super::{RegionName, TransitRouterName, VpcName, VswitchName, ZoneName};
use ipnet::{Ipv4Net, Ipv6Net};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A private network (XR-10). CIDRs of VPCs that are connected never overlap (XR-4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    /// Its name.
    pub name: VpcName,
    /// The region it lies in.
    pub region: RegionName,
    /// Primary CIDR, host bits zero.
    pub cidr: Ipv4Net,
    /// IPv6 CIDR, where IPv6 is on (SG-61).
    pub ipv6_cidr: Option<Ipv6Net>,
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
    /// IPv6 CIDR inside the VPC's.
    pub ipv6_cidr: Option<Ipv6Net>,
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
    /// Whether `address` lies in one of its own CIDRs.
    pub fn contains(&self, address: IpAddr) -> bool {
        is_in(self.cidr, self.ipv6_cidr, address)
    }

    /// The vSwitch one of whose CIDRs holds `address`.
    pub fn vswitch_of(&self, address: IpAddr) -> Option<&Vswitch> {
        self.vswitches.values().find(|vswitch| is_in(vswitch.cidr, vswitch.ipv6_cidr, address))
    }
}

fn is_in(v4: Ipv4Net, v6: Option<Ipv6Net>, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => v4.contains(&address),
        IpAddr::V6(address) => v6.is_some_and(|cidr| cidr.contains(&address)),
    }
}
