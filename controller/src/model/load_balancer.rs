//! Load balancers (D-2).

use super::{LoadBalancerName, VpcName, VswitchName, ZoneName};
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A load balancer: where clients reach it and which addresses it uses toward servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Its name.
    pub name: LoadBalancerName,
    /// Edition, which bounds what may be attached.
    pub edition: Edition,
    /// Internet or intranet facing.
    pub address_type: AddressType,
    /// IPv4 or dual stack.
    pub address_ip_version: IpVersion,
    /// The VPC it lives in.
    pub vpc: VpcName,
    /// The name operators point a CNAME at (D-3).
    pub dns_name: String,
    /// At least one zone.
    pub zone_mappings: Vec<ZoneMapping>,
    /// Second variant of D-1: local addresses come from this prefix instead of the vSwitches.
    pub back_to_origin_prefix: Option<Ipv4Net>,
}

/// A load balancer in one zone (XR-11, XR-21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneMapping {
    /// The zone.
    pub zone: ZoneName,
    /// The vSwitch of that zone.
    pub vswitch: VswitchName,
    /// Address clients send to.
    pub vip: Ipv4Addr,
    /// IPv6 address clients send to; exactly where the balancer is dual stack.
    pub ipv6_vip: Option<Ipv6Addr>,
    /// Sources of L7 connections and probes toward servers, at least two (D-1).
    pub local_addresses: Vec<Ipv4Addr>,
    /// The same toward IPv6 servers; empty unless the balancer is dual stack.
    pub ipv6_local_addresses: Vec<Ipv6Addr>,
}

impl ZoneMapping {
    /// Its VIPs.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        std::iter::once(self.vip.into()).chain(self.ipv6_vip.map(IpAddr::from))
    }

    /// Sources toward servers of both families.
    pub fn sources(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 = self.local_addresses.iter().copied().map(IpAddr::from);
        v4.chain(self.ipv6_local_addresses.iter().copied().map(IpAddr::from))
    }
}

/// Edition; `StandardWithWaf` is refused in configuration (D-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// Fewer features.
    Basic,
    /// All features.
    Standard,
}

/// Who can reach the VIPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressType {
    /// Anyone.
    Internet,
    /// The private network.
    Intranet,
}

/// Address families of the VIPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4 only.
    Ipv4,
    /// IPv4 and IPv6.
    DualStack,
}
