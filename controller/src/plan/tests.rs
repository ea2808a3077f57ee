//! Model and clock in, map operations out.

mod capacity;
mod drains;
mod elements;
mod golden;
mod l7;
mod l7_rules;
mod properties;
mod tables;

use super::{
    CapacityError, Change, Inputs, MapContents, MapState, Neighbour, desired, diff, neighbours_wanted,
};
use crate::health::{MemberId, Moment, Standing, Status};
use crate::model::{
    AddressType, AdmissionMode, Edition, Encapsulation, GroupProtocol, IpVersion, Listener, ListenerProtocol,
    LoadBalancer, LoadBalancerName, NextHop, NextHopName, Node, NodeZone, Quotas, RegionName, Resources,
    Route, Server, ServerAddress, ServerGroup, ServerGroupName, TransitRouter, TransitRouterName, Tunnel,
    Vpc, VpcName, VswitchName, Weight, ZoneMapping, ZoneName,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

/// A configuration, everything else that a plan is made from, and the maps.
#[derive(Clone)]
struct World {
    node: Node,
    resources: Resources,
    standings: BTreeMap<ServerGroupName, Vec<Standing>>,
    /// Addresses that are not resolved.
    unresolved: BTreeSet<Ipv4Addr>,
    /// Addresses that the kernel has no route to.
    unreachable: BTreeSet<Ipv4Addr>,
    in_use: BTreeSet<u32>,
    known_since: Moment,
    now: Moment,
    maps: MapState,
}

impl World {
    /// One load balancer `lb` in VPC `vpc1`, which has a route 192.168.0.0/16 to router `tr1` with two hops.
    fn new() -> World {
        let mut world = World {
            node: Node {
                name: "node1".into(),
                zones: vec![zone("a", Ipv4Addr::new(172, 16, 1, 10))],
                client_interfaces: vec!["eth0".into()],
                tunnel: Tunnel { vxlan_port: 4789, admission: AdmissionMode::Exclusive },
                nat_prefix: Some("172.16.100.0/24".parse().unwrap()),
                workers: 1,
                memory_limit: None,
                state_dir: "/var/lib/causeway".into(),
                api_socket: "/run/causeway/api".into(),
                metrics_listen: None,
                bpf_dir: "/sys/fs/bpf/causeway".into(),
                access_log: None,
                quotas: Quotas::default(),
            },
            resources: Resources::default(),
            standings: BTreeMap::new(),
            unresolved: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            in_use: BTreeSet::new(),
            known_since: Moment::default(),
            now: Moment::from_nanos(1_000_000_000_000),
            maps: MapState::default(),
        };
        world.vpc("vpc1", &[("192.168.0.0/16", "tr1")]);
        world.router("tr1", &[("172.16.1.253", 101, 100), ("172.16.1.254", 101, 100)]);
        world.balancer("lb", "vpc1", "203.0.113.10", &["172.16.1.101", "172.16.1.102"]);
        world
    }

    fn vpc(&mut self, name: &str, routes: &[(&str, &str)]) {
        let routes = routes.iter().map(|(destination, router)| Route {
            destination: destination.parse().unwrap(),
            transit_router: TransitRouterName::new(*router),
        });
        let vpc = Vpc {
            name: VpcName::new(name),
            region: RegionName::new("chengdu"),
            cidr: "172.16.0.0/12".parse().unwrap(),
            ipv6_cidr: None,
            vswitches: BTreeMap::new(),
            routes: routes.collect(),
        };
        self.resources.vpcs.insert(vpc.name.clone(), vpc);
    }

    /// Hops: address, VNI, weight.
    fn router(&mut self, name: &str, hops: &[(&str, u32, u32)]) {
        let next_hops = hops.iter().map(|(address, vni, weight)| NextHop {
            name: NextHopName::new(format!("{address}/{vni}")),
            zone: ZoneName::new("a"),
            address: address.parse().unwrap(),
            encapsulation: Encapsulation::Vxlan { vni: *vni, mac: [2, 0, 0, 0, 0xc0, 1] },
            mtu: 1500,
            weight: Weight::new(*weight).unwrap(),
        });
        let router = TransitRouter {
            name: TransitRouterName::new(name),
            region: RegionName::new("chengdu"),
            attachments: Vec::new(),
            next_hops: next_hops.collect(),
        };
        self.resources.transit_routers.insert(router.name.clone(), router);
    }

    fn balancer(&mut self, name: &str, vpc: &str, vip: &str, local_addresses: &[&str]) {
        let balancer = LoadBalancer {
            name: LoadBalancerName::new(name),
            edition: Edition::Standard,
            address_type: AddressType::Internet,
            address_ip_version: IpVersion::Ipv4,
            vpc: VpcName::new(vpc),
            dns_name: format!("{name}.example.com"),
            zone_mappings: vec![ZoneMapping {
                zone: ZoneName::new("a"),
                vswitch: VswitchName::new("vsw-a"),
                vip: vip.parse().unwrap(),
                ipv6_vip: None,
                local_addresses: local_addresses.iter().map(|address| address.parse().unwrap()).collect(),
                ipv6_local_addresses: Vec::new(),
            }],
            back_to_origin_prefix: None,
        };
        self.resources.load_balancers.insert(balancer.name.clone(), balancer);
    }

    fn listener(&mut self, protocol: ListenerProtocol, port: u16, group: &str) {
        let listener = Listener {
            protocol,
            ..Listener::new(
                format!("{protocol:?}{port}"),
                &LoadBalancerName::new("lb"),
                port.try_into().unwrap(),
                &ServerGroupName::new(group),
            )
        };
        self.resources.listeners.insert(listener.name.clone(), listener);
    }

    /// A group whose servers are healthy and receive new flows if they have weight.
    fn group(&mut self, name: &str, servers: &[(&str, u32)]) -> &mut ServerGroup {
        let servers: Vec<Server> = servers
            .iter()
            .map(|(address, weight)| Server::new(server_address(address), Weight::new(*weight).unwrap()))
            .collect();
        let name = ServerGroupName::new(name);
        self.standings.insert(name.clone(), servers.iter().map(standing).collect());
        let group = ServerGroup {
            protocol: GroupProtocol::Tcp,
            servers,
            ..ServerGroup::new(name.as_str(), &VpcName::new("vpc1"))
        };
        self.resources.server_groups.insert(name.clone(), group);
        self.resources.server_groups.get_mut(&name).unwrap()
    }

    fn wanted(&self) -> Result<MapContents, CapacityError> {
        let neighbours = neighbours_wanted(&self.node, &self.resources, &self.standings)
            .into_iter()
            .filter(|address| !self.unreachable.contains(address))
            .map(|address| {
                let [a, b, c, d] = address.octets();
                let neighbour = Neighbour {
                    ifindex: 4,
                    gateway: address,
                    mtu: 1500,
                    source_mac: [2, 0, 0, 0, 0xa0, 1],
                    destination_mac: Some([2, 0x11, a, b, c, d])
                        .filter(|_| !self.unresolved.contains(&address)),
                };
                (address, neighbour)
            })
            .collect();
        let inputs = Inputs {
            node: &self.node,
            resources: &self.resources,
            standings: &self.standings,
            neighbours: &neighbours,
            in_use: &self.in_use,
            known_since: self.known_since,
            now: self.now,
        };
        desired(&inputs, &self.maps)
    }

    /// Plans, and carries the plan out.
    fn apply(&mut self) -> Option<Change> {
        let change = diff(&self.maps, &self.wanted().expect("fits the tables"))?;
        self.maps.apply(&change);
        Some(change)
    }
}

fn zone(name: &str, tunnel_address: Ipv4Addr) -> NodeZone {
    NodeZone { zone: ZoneName::new(name), interface: format!("eth-{name}"), tunnel_address }
}

fn server_address(text: &str) -> ServerAddress {
    text.parse().unwrap()
}

fn standing(server: &Server) -> Standing {
    Standing {
        id: MemberId(u32::from(super::desired::ipv4(server.address.ip))),
        address: server.address,
        weight: server.weight,
        receives_new: server.weight > Weight::ZERO,
        ramp: None,
        status: Status::Normal,
        failure: None,
        since: Moment::default(),
        evidence: None,
        drains: Vec::new(),
    }
}
