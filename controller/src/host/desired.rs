//! Which addresses, rules and routes a node needs. Pure.
//!
//! **Addresses.** VIPs and local addresses are `/32`, scope host: the kernel accepts packets to them, answers ARP for them
//! and lets sockets bind them, but never picks one as the source of traffic of its own, and a `/32` brings no route
//! along. Local addresses sit on their zone's interface; so does a VIP inside the zone's vSwitch; other VIPs sit on the
//! first client interface, or on `lo` if there is none. NAT addresses are never local: every packet to them is XDP's.
//! What XDP did not take is discarded by a blackhole route, so that the host neither answers nor forwards it.
//!
//! IPv6 addresses are `/128` likewise. There is no scope host for them; that they are deprecated from the start keeps the
//! kernel from picking them, and a flag keeps it from making a route. They skip duplicate address detection, since
//! sockets could not bind them meanwhile.
//!
//! **Routes.** Traffic from a local address follows the system route table of its VPC and nothing an operator may have
//! put elsewhere (XR-54, XR-103): a rule per local address leads to one private table per VPC, which holds the vSwitches
//! the node is attached to and the VPC's routes toward its transit routers. `tc_egress` wraps what leaves by the latter;
//! the plain route only has to lead there, with an MTU that leaves room for the tunnel header. A destination no next hop
//! serves is unreachable, not left to the default route. Everything else (other vSwitches of the VPC) continues with
//! the tables that follow, as for any traffic of the host. IPv6 servers are always inside the VPC, so for IPv6 there are
//! the vSwitches only.

use super::{RULE_PRIORITY, TABLE_BASE, TABLE_MAIN};
use crate::model::{
    Encapsulation, LoadBalancer, NextHop, NextHopName, Node, NodeZone, Resources, Vpc, VpcName, Vswitch,
    Weight, ZoneMapping,
};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// Everything of ours in the kernel's tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostState {
    /// `/32` and `/128` addresses.
    pub addresses: BTreeSet<Address>,
    /// Policy rules.
    pub rules: BTreeSet<Rule>,
    /// Routes.
    pub routes: BTreeSet<Route>,
}

impl HostState {
    /// This state and what `other` has besides: what must stand while one replaces the other.
    pub fn and(mut self, other: HostState) -> HostState {
        let is_taken = |route: &Route| {
            let place = |route: &Route| (route.table, route.destination, route.metric);
            self.routes.iter().any(|own| place(own) == place(route))
        };
        let routes: Vec<Route> = other.routes.into_iter().filter(|route| !is_taken(route)).collect();
        self.routes.extend(routes);
        self.addresses.extend(other.addresses);
        self.rules.extend(other.rules);
        self
    }
}

/// A `/32` of scope host, or a `/128`, on an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
}

/// `from SOURCE lookup TABLE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Place among all rules; lower is earlier.
    pub priority: u32,
    /// Local address.
    pub source: IpAddr,
    /// Where its traffic is looked up.
    pub table: u32,
}

/// One route; table, destination and metric are its identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Table it is in.
    pub table: u32,
    /// Where it leads.
    pub destination: IpNet,
    /// Lower wins; the next one takes over when an interface goes down.
    pub metric: u32,
    /// How.
    pub target: RouteTarget,
}

/// How a route leads to its destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteTarget {
    /// Neighbours on this interface.
    OnLink {
        /// The interface.
        interface: String,
    },
    /// By a gateway on the interface's network.
    Via {
        /// The gateway.
        gateway: Ipv4Addr,
        /// The interface.
        interface: String,
        /// Largest packet, bytes.
        mtu: u32,
    },
    /// Toward a tunnel endpoint that is not on the interface's network: by whatever gateway leads to it. Becomes
    /// [`RouteTarget::Via`] when applied; never found in the kernel.
    Toward {
        /// The endpoint.
        endpoint: Ipv4Addr,
        /// The interface.
        interface: String,
        /// Largest packet, bytes.
        mtu: u32,
    },
    /// Nowhere; the sender is told.
    Unreachable,
    /// Nowhere, silently.
    Blackhole,
}

/// Metric of the route that catches a destination whose next hops are all gone.
const METRIC_UNREACHABLE: u32 = 10_000;
/// Metric of IPv6 routes.
const METRIC_IPV6: u32 = 1;

/// What `node` needs to serve `resources`.
///
/// A packet whose gateway does not answer never reaches `tc_egress`, which could have sent it through another hop. So
/// routes by hops in `silent` come last; they stay, since a hop that is wrongly thought silent beats none.
pub fn desired(node: &Node, resources: &Resources, silent: &BTreeSet<NextHopName>) -> HostState {
    let mut state = HostState::default();
    if let Some(prefix) = node.nat_prefix {
        let target = RouteTarget::Blackhole;
        state.routes.insert(Route { table: TABLE_MAIN, destination: prefix.into(), metric: 0, target });
    }
    let tables: BTreeMap<&VpcName, u32> = resources.vpcs.keys().zip(TABLE_BASE..).collect();
    for balancer in resources.load_balancers.values() {
        let Some(vpc) = resources.vpcs.get(&balancer.vpc) else { continue };
        let table = tables[&balancer.vpc];
        let served = served_zones(node, balancer);
        for (zone, mapping) in &served {
            add_addresses(&mut state, node, vpc, zone, mapping, table);
        }
        add_vpc_routes(&mut state, &served, vpc, resources, silent, table);
    }
    state
}

/// The zones of `balancer` that `node` serves.
fn served_zones<'a>(node: &'a Node, balancer: &'a LoadBalancer) -> Vec<(&'a NodeZone, &'a ZoneMapping)> {
    let mapping_of =
        |zone: &NodeZone| balancer.zone_mappings.iter().find(|mapping| mapping.zone == zone.zone);
    node.zones.iter().filter_map(|zone| Some((zone, mapping_of(zone)?))).collect()
}

fn add_addresses(
    state: &mut HostState,
    node: &Node,
    vpc: &Vpc,
    zone: &NodeZone,
    mapping: &ZoneMapping,
    table: u32,
) {
    let vswitch = vpc.vswitches.get(&mapping.vswitch);
    let interface_of_vip = |vip| match node.client_interfaces.first() {
        _ if vswitch.is_some_and(|vswitch| is_in(vswitch, vip)) => &zone.interface,
        Some(interface) => interface,
        None => "lo",
    };
    let locals = mapping.sources().map(|address| (zone.interface.as_str(), address));
    let vips = mapping.vips().map(|vip| (interface_of_vip(vip), vip));
    for (interface, address) in locals.chain(vips) {
        // The tunnel address is the operator's, with a prefix of its own.
        if address != IpAddr::from(zone.tunnel_address) {
            state.addresses.insert(Address { interface: interface.into(), address });
        }
    }
    for source in mapping.sources() {
        state.rules.insert(Rule { priority: RULE_PRIORITY, source, table });
    }
}

fn add_vpc_routes(
    state: &mut HostState,
    served: &[(&NodeZone, &ZoneMapping)],
    vpc: &Vpc,
    resources: &Resources,
    silent: &BTreeSet<NextHopName>,
    table: u32,
) {
    if served.is_empty() {
        return;
    }
    for (zone, mapping) in served {
        let Some(vswitch) = vpc.vswitches.get(&mapping.vswitch) else { continue };
        let target = RouteTarget::OnLink { interface: zone.interface.clone() };
        let destination = vswitch.cidr.into();
        state.routes.insert(Route { table, destination, metric: 0, target: target.clone() });
        if let Some(cidr) = vswitch.ipv6_cidr.filter(|_| !mapping.ipv6_local_addresses.is_empty()) {
            // The kernel takes 0 for its own default there.
            state.routes.insert(Route { table, destination: cidr.into(), metric: METRIC_IPV6, target });
        }
    }
    for route in &vpc.routes {
        let hops =
            resources.transit_routers.get(&route.transit_router).map_or(&[][..], |router| &router.next_hops);
        let mut usable: Vec<(&NextHop, &NodeZone, &ZoneMapping)> = hops
            .iter()
            .filter(|hop| hop.weight > Weight::ZERO)
            .filter_map(|hop| {
                let (zone, mapping) = served.iter().find(|(zone, _)| zone.zone == hop.zone)?;
                Some((hop, *zone, *mapping))
            })
            .collect();
        usable.sort_by_key(|(hop, ..)| silent.contains(&hop.name));
        // tc_egress may send any flow through any hop, so every route allows for the narrowest.
        let mtu = usable.iter().map(|(hop, ..)| inner_mtu(hop)).min().unwrap_or(0);
        for ((hop, zone, mapping), metric) in usable.into_iter().zip(1..) {
            let interface = zone.interface.clone();
            let is_attached =
                vpc.vswitches.get(&mapping.vswitch).is_some_and(|v| v.cidr.contains(&hop.address));
            let target = if is_attached {
                RouteTarget::Via { gateway: hop.address, interface, mtu }
            } else {
                RouteTarget::Toward { endpoint: hop.address, interface, mtu }
            };
            state.routes.insert(Route { table, destination: route.destination.into(), metric, target });
        }
        let target = RouteTarget::Unreachable;
        state.routes.insert(Route {
            table,
            destination: route.destination.into(),
            metric: METRIC_UNREACHABLE,
            target,
        });
    }
}

/// Whether `address` lies in one of a vSwitch's CIDRs.
fn is_in(vswitch: &Vswitch, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => vswitch.cidr.contains(&address),
        IpAddr::V6(address) => vswitch.ipv6_cidr.is_some_and(|cidr| cidr.contains(&address)),
    }
}

/// Largest packet that fits through the tunnel, bytes.
fn inner_mtu(hop: &NextHop) -> u32 {
    let overhead = match hop.encapsulation {
        // Outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14 (RFC 7348 section 5).
        Encapsulation::Vxlan { .. } => 50,
    };
    u32::from(hop.mtu).saturating_sub(overhead)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{
        AddressType, AdmissionMode, Edition, IpVersion, LoadBalancerName, RegionName, Route as VpcRoute,
        TransitRouter, TransitRouterName, Tunnel, VswitchName, ZoneName,
    };

    fn zone(name: &str, interface: &str, tunnel_address: &str) -> NodeZone {
        let tunnel_address = tunnel_address.parse().unwrap();
        NodeZone { zone: ZoneName::new(name), interface: interface.into(), tunnel_address }
    }

    /// The tutorial's balancer: clients on eth0, VSW1 on eth1, VSW2 on eth2.
    pub(in crate::host) fn node() -> Node {
        Node {
            name: "lb".into(),
            zones: vec![zone("a", "eth1", "172.16.1.10"), zone("b", "eth2", "172.16.2.10")],
            client_interfaces: vec!["eth0".into()],
            tunnel: Tunnel { vxlan_port: 4789, admission: AdmissionMode::Exclusive },
            nat_prefix: Some("198.18.0.0/24".parse().unwrap()),
            workers: 1,
            memory_limit: None,
            state_dir: "/tmp".into(),
            api_socket: "/tmp/api".into(),
            metrics_listen: None,
            bpf_dir: "/sys/fs/bpf/causeway".into(),
            access_log: None,
            quotas: crate::model::Quotas::default(),
        }
    }

    fn mapping(zone: &str, vswitch: &str, vip: &str, locals: [&str; 2]) -> ZoneMapping {
        ZoneMapping {
            zone: ZoneName::new(zone),
            vswitch: VswitchName::new(vswitch),
            vip: vip.parse().unwrap(),
            local_addresses: locals.map(|local| local.parse().unwrap()).to_vec(),

            ipv6_vip: None,
            ipv6_local_addresses: Vec::new(),
        }
    }

    fn vswitch(name: &str, zone: &str, cidr: &str) -> (VswitchName, Vswitch) {
        let name = VswitchName::new(name);
        (
            name.clone(),
            Vswitch { name, zone: ZoneName::new(zone), cidr: cidr.parse().unwrap(), ipv6_cidr: None },
        )
    }

    fn hop(name: &str, zone: &str, address: &str, mtu: u16) -> NextHop {
        NextHop {
            name: NextHopName::new(name),
            zone: ZoneName::new(zone),
            address: address.parse().unwrap(),
            encapsulation: Encapsulation::Vxlan { vni: 100, mac: [2, 0, 0, 0, 1, 0] },
            mtu,
            weight: Weight::MAX,
        }
    }

    pub(in crate::host) fn resources() -> Resources {
        let vpc = Vpc {
            name: VpcName::new("vpc1"),
            region: RegionName::new("chengdu"),
            cidr: "172.16.0.0/16".parse().unwrap(),
            ipv6_cidr: None,
            vswitches: [vswitch("vsw1", "a", "172.16.1.0/24"), vswitch("vsw2", "b", "172.16.2.0/24")].into(),
            routes: vec![VpcRoute {
                destination: "192.168.0.0/16".parse().unwrap(),
                transit_router: TransitRouterName::new("tr1"),
            }],
        };
        let router = TransitRouter {
            name: TransitRouterName::new("tr1"),
            region: RegionName::new("chengdu"),
            attachments: vec![],
            next_hops: vec![hop("tr1-a", "a", "172.16.1.254", 1500), hop("tr1-b", "b", "172.16.2.254", 1500)],
        };
        let balancer = LoadBalancer {
            name: LoadBalancerName::new("alb"),
            edition: Edition::Standard,
            address_type: AddressType::Internet,
            address_ip_version: IpVersion::Ipv4,
            vpc: vpc.name.clone(),
            dns_name: "alb.example.com".into(),
            zone_mappings: vec![
                mapping("a", "vsw1", "203.0.113.10", ["172.16.1.11", "172.16.1.12"]),
                mapping("b", "vsw2", "203.0.113.11", ["172.16.2.11", "172.16.2.12"]),
            ],
            back_to_origin_prefix: None,
        };
        Resources {
            vpcs: [(vpc.name.clone(), vpc)].into(),
            transit_routers: [(router.name.clone(), router)].into(),
            load_balancers: [(balancer.name.clone(), balancer)].into(),
            ..Resources::default()
        }
    }

    fn planned(node: &Node, resources: &Resources) -> HostState {
        desired(node, resources, &BTreeSet::new())
    }

    /// The state as `ip` would write it.
    fn text(state: &HostState) -> Vec<String> {
        let addresses = state.addresses.iter().map(|a| format!("{} dev {}", a.address, a.interface));
        let rules =
            state.rules.iter().map(|r| format!("{}: from {} lookup {}", r.priority, r.source, r.table));
        let routes = state.routes.iter().map(|route| {
            let target = match &route.target {
                RouteTarget::OnLink { interface } => format!("dev {interface}"),
                RouteTarget::Via { gateway, interface, mtu } => {
                    format!("via {gateway} dev {interface} mtu {mtu}")
                }
                RouteTarget::Toward { endpoint, interface, mtu } => {
                    format!("toward {endpoint} dev {interface} mtu {mtu}")
                }
                RouteTarget::Unreachable => "unreachable".into(),
                RouteTarget::Blackhole => "blackhole".into(),
            };
            format!("{} {target} table {} metric {}", route.destination, route.table, route.metric)
        });
        addresses.chain(rules).chain(routes).collect()
    }

    // Holds XR-14, XR-50, XR-103
    #[test]
    fn plans_the_tutorial() {
        assert_eq!(
            text(&planned(&node(), &resources())),
            [
                "203.0.113.10 dev eth0",
                "203.0.113.11 dev eth0",
                "172.16.1.11 dev eth1",
                "172.16.1.12 dev eth1",
                "172.16.2.11 dev eth2",
                "172.16.2.12 dev eth2",
                "97: from 172.16.1.11 lookup 97000",
                "97: from 172.16.1.12 lookup 97000",
                "97: from 172.16.2.11 lookup 97000",
                "97: from 172.16.2.12 lookup 97000",
                "198.18.0.0/24 blackhole table 254 metric 0",
                "172.16.1.0/24 dev eth1 table 97000 metric 0",
                "172.16.2.0/24 dev eth2 table 97000 metric 0",
                "192.168.0.0/16 via 172.16.1.254 dev eth1 mtu 1450 table 97000 metric 1",
                "192.168.0.0/16 via 172.16.2.254 dev eth2 mtu 1450 table 97000 metric 2",
                "192.168.0.0/16 unreachable table 97000 metric 10000",
            ]
        );
    }

    /// The tutorial's balancer made dual stack in zone A.
    pub(in crate::host) fn dual_stack() -> Resources {
        let mut resources = resources();
        let vpc = resources.vpcs.values_mut().next().unwrap();
        vpc.ipv6_cidr = Some("fd00:16::/56".parse().unwrap());
        let vswitch = vpc.vswitches.get_mut(&VswitchName::new("vsw1")).unwrap();
        vswitch.ipv6_cidr = Some("fd00:16:0:1::/64".parse().unwrap());
        let balancer = resources.load_balancers.values_mut().next().unwrap();
        balancer.address_ip_version = IpVersion::DualStack;
        balancer.zone_mappings[0].ipv6_vip = Some("2001:db8::10".parse().unwrap());
        balancer.zone_mappings[0].ipv6_local_addresses =
            ["fd00:16:0:1::11", "fd00:16:0:1::12"].map(|address| address.parse().unwrap()).to_vec();
        resources
    }

    // Holds SG-62
    #[test]
    fn a_dual_stack_balancer_has_addresses_and_routes_of_both_families() {
        let ipv4 = planned(&node(), &resources());
        let mut both = planned(&node(), &dual_stack());
        both.addresses.retain(|address| !ipv4.addresses.contains(address));
        both.rules.retain(|rule| !ipv4.rules.contains(rule));
        both.routes.retain(|route| !ipv4.routes.contains(route));
        assert_eq!(
            text(&both),
            [
                "2001:db8::10 dev eth0",
                "fd00:16:0:1::11 dev eth1",
                "fd00:16:0:1::12 dev eth1",
                "97: from fd00:16:0:1::11 lookup 97000",
                "97: from fd00:16:0:1::12 lookup 97000",
                "fd00:16:0:1::/64 dev eth1 table 97000 metric 1",
            ]
        );
        // A VIP inside the vSwitch is reached there.
        let mut inside = dual_stack();
        let balancer = inside.load_balancers.values_mut().next().unwrap();
        balancer.zone_mappings[0].ipv6_vip = Some("fd00:16:0:1::10".parse().unwrap());
        let vip = Address { interface: "eth1".into(), address: "fd00:16:0:1::10".parse().unwrap() };
        assert!(planned(&node(), &inside).addresses.contains(&vip));
    }

    #[test]
    fn a_node_needs_nothing_for_zones_it_does_not_serve() {
        let mut node = node();
        node.nat_prefix = None;
        node.zones.remove(0);
        let text = text(&planned(&node, &resources()));
        assert_eq!(
            text,
            [
                "203.0.113.11 dev eth0",
                "172.16.2.11 dev eth2",
                "172.16.2.12 dev eth2",
                "97: from 172.16.2.11 lookup 97000",
                "97: from 172.16.2.12 lookup 97000",
                "172.16.2.0/24 dev eth2 table 97000 metric 0",
                "192.168.0.0/16 via 172.16.2.254 dev eth2 mtu 1450 table 97000 metric 1",
                "192.168.0.0/16 unreachable table 97000 metric 10000",
            ]
        );
        node.zones.clear();
        assert_eq!(planned(&node, &resources()), HostState::default());
    }

    #[test]
    fn vips_follow_the_network_they_are_in() {
        let mut resources = resources();
        let balancer = resources.load_balancers.values_mut().next().unwrap();
        balancer.zone_mappings[0].vip = "172.16.1.13".parse().unwrap();
        let mut node = node();
        node.client_interfaces.clear();
        let state = planned(&node, &resources);
        let on = |interface: &str, address: &str| {
            state
                .addresses
                .contains(&Address { interface: interface.into(), address: address.parse().unwrap() })
        };
        assert!(on("eth1", "172.16.1.13"));
        assert!(on("lo", "203.0.113.11"));
    }

    #[test]
    fn leaves_the_tunnel_address_to_the_operator() {
        let mut resources = resources();
        let balancer = resources.load_balancers.values_mut().next().unwrap();
        balancer.zone_mappings[0].local_addresses[0] = "172.16.1.10".parse().unwrap();
        let state = planned(&node(), &resources);
        assert!(!state.addresses.iter().any(|address| address.address == Ipv4Addr::new(172, 16, 1, 10)));
        assert!(state.rules.iter().any(|rule| rule.source == Ipv4Addr::new(172, 16, 1, 10)));
    }

    // Holds XR-106
    #[test]
    fn routes_allow_for_the_narrowest_hop_and_skip_hops_without_weight() {
        let mut resources = resources();
        let router = resources.transit_routers.values_mut().next().unwrap();
        router.next_hops[1].mtu = 1400;
        router.next_hops.push(hop("far", "a", "10.9.9.9", 9000));
        router.next_hops.push(NextHop { weight: Weight::ZERO, ..hop("idle", "a", "172.16.1.253", 576) });
        let text = text(&planned(&node(), &resources));
        assert_eq!(
            text[13..],
            [
                "192.168.0.0/16 via 172.16.1.254 dev eth1 mtu 1350 table 97000 metric 1",
                "192.168.0.0/16 via 172.16.2.254 dev eth2 mtu 1350 table 97000 metric 2",
                "192.168.0.0/16 toward 10.9.9.9 dev eth1 mtu 1350 table 97000 metric 3",
                "192.168.0.0/16 unreachable table 97000 metric 10000",
            ]
        );
    }

    // Holds XR-108
    #[test]
    fn routes_by_silent_hops_come_last_and_stay() {
        let silent = [NextHopName::new("tr1-a")].into();
        let text = text(&desired(&node(), &resources(), &silent));
        assert_eq!(
            text[13..15],
            [
                "192.168.0.0/16 via 172.16.2.254 dev eth2 mtu 1450 table 97000 metric 1",
                "192.168.0.0/16 via 172.16.1.254 dev eth1 mtu 1450 table 97000 metric 2",
            ]
        );
    }

    #[test]
    fn a_destination_without_a_usable_hop_is_unreachable() {
        let mut resources = resources();
        resources.transit_routers.values_mut().next().unwrap().next_hops.clear();
        let text = text(&planned(&node(), &resources));
        assert_eq!(text[13..], ["192.168.0.0/16 unreachable table 97000 metric 10000"]);
    }

    #[test]
    fn each_vpc_has_a_table_of_its_own() {
        let mut resources = resources();
        let mut other = resources.vpcs.values().next().unwrap().clone();
        other.name = VpcName::new("vpc0");
        let mut balancer = resources.load_balancers.values().next().unwrap().clone();
        balancer.name = LoadBalancerName::new("other");
        balancer.vpc = other.name.clone();
        balancer.zone_mappings.truncate(1);
        balancer.zone_mappings[0].local_addresses = vec!["172.16.1.31".parse().unwrap()];
        resources.vpcs.insert(other.name.clone(), other);
        resources.load_balancers.insert(balancer.name.clone(), balancer);
        let state = planned(&node(), &resources);
        let tables: Vec<_> = state.rules.iter().map(|rule| (rule.source.to_string(), rule.table)).collect();
        assert!(tables.contains(&("172.16.1.31".into(), 97_000)));
        assert!(tables.contains(&("172.16.1.11".into(), 97_001)));
    }
}
