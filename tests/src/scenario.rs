//! A small model to plan from: one load balancer with one VIP, servers on a link and behind a transit router.

use controller::health::{MemberId, Moment, Standing, Status};
use controller::model::{
    AddressType, AdmissionMode, ConnectionDrain, Edition, Encapsulation, GroupProtocol, IpVersion, Listener,
    ListenerName, ListenerProtocol, LoadBalancer, LoadBalancerName, NextHop, NextHopName, Node, NodeZone,
    Quotas, RegionName, Resources, Route, Server, ServerAddress, ServerGroup, ServerGroupName, TransitRouter,
    TransitRouterName, Tunnel, Vpc, VpcName, VswitchName, Weight, ZoneMapping, ZoneName,
};
use controller::plan::{CapacityError, Inputs, MapContents, MapState, Neighbour, desired, neighbours_wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// What clients send to.
pub const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// Outer source of tunnel packets.
pub const TUNNEL_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 10);
/// The transit router's endpoints.
pub const HOPS: [Ipv4Addr; 2] = [Ipv4Addr::new(172, 16, 1, 253), Ipv4Addr::new(172, 16, 1, 254)];
/// Their network identifier.
pub const VNI: u32 = 101;
/// A local address, source of L7 connections.
pub const LOCAL_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 101);
/// MTU of the path to the endpoints, for outer packets.
pub const PATH_MTU: u16 = 1500;
/// Address of the interface in the zone.
pub const ZONE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0xa0, 0x01];
/// Address of the routers' VXLAN devices.
pub const INNER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0xc0, 0x01];

/// Ethernet address of a neighbour in the zone.
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x11, a, b, c, d]
}

/// What a plan is made from, to be changed step by step.
#[derive(Clone)]
pub struct Scenario {
    /// The host.
    pub node: Node,
    /// What is configured.
    pub resources: Resources,
    /// Where servers stand.
    pub standings: BTreeMap<ServerGroupName, Vec<Standing>>,
    /// Neighbours that are not what [`Scenario::plan`] assumes: reachable through the zone, MTU 1500, resolved.
    pub neighbours: BTreeMap<Ipv4Addr, Option<Neighbour>>,
    /// Index of the zone's interface.
    pub zone_ifindex: u32,
    /// Now.
    pub now: Moment,
}

impl Scenario {
    /// A load balancer without listeners, on a host whose zone interface has this index.
    pub fn new(zone_ifindex: u32) -> Scenario {
        let (region, vpc, router) =
            (RegionName::new("chengdu"), VpcName::new("vpc1"), TransitRouterName::new("tr1"));
        let mut resources = Resources::default();
        resources.vpcs.insert(
            vpc.clone(),
            Vpc {
                name: vpc.clone(),
                region: region.clone(),
                cidr: "172.16.0.0/12".parse().expect("a prefix"),
                ipv6_cidr: None,
                vswitches: BTreeMap::new(),
                routes: vec![Route {
                    destination: "192.168.0.0/16".parse().expect("a prefix"),
                    transit_router: router.clone(),
                }],
            },
        );
        let next_hops = HOPS.iter().enumerate().map(|(number, address)| NextHop {
            name: NextHopName::new(format!("hop{number}")),
            zone: ZoneName::new("a"),
            address: *address,
            encapsulation: Encapsulation::Vxlan { vni: VNI, mac: INNER_MAC },
            mtu: PATH_MTU,
            weight: Weight::MAX,
        });
        resources.transit_routers.insert(
            router.clone(),
            TransitRouter { name: router, region, attachments: Vec::new(), next_hops: next_hops.collect() },
        );
        let balancer = LoadBalancerName::new("lb");
        resources.load_balancers.insert(
            balancer.clone(),
            LoadBalancer {
                name: balancer,
                edition: Edition::Standard,
                address_type: AddressType::Internet,
                address_ip_version: IpVersion::Ipv4,
                vpc,
                dns_name: "lb.example.com".into(),
                zone_mappings: vec![ZoneMapping {
                    zone: ZoneName::new("a"),
                    vswitch: VswitchName::new("vsw-a"),
                    vip: VIP,
                    local_addresses: vec![LOCAL_ADDRESS, Ipv4Addr::new(172, 16, 1, 102)],

                    ipv6_vip: None,
                    ipv6_local_addresses: Vec::new(),
                }],
                back_to_origin_prefix: None,
            },
        );
        Scenario {
            node: node(),
            resources,
            standings: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            zone_ifindex,
            now: Moment::from_nanos(1_000_000_000_000),
        }
    }

    /// Adds a listener.
    pub fn listener(&mut self, protocol: ListenerProtocol, port: u16, group: &str) -> &mut Scenario {
        let name = ListenerName::new(format!("{protocol:?}-{port}"));
        let listener = Listener {
            protocol,
            ..Listener::new(
                name.as_str(),
                &LoadBalancerName::new("lb"),
                port.try_into().expect("ports are not 0"),
                &ServerGroupName::new(group),
            )
        };
        self.resources.listeners.insert(name, listener);
        self
    }

    /// Sets a group of TCP servers, all healthy: those with weight receive new flows.
    pub fn group(&mut self, name: &str, servers: &[(&str, u32)]) -> &mut Scenario {
        let name = ServerGroupName::new(name);
        let servers: Vec<Server> = servers
            .iter()
            .map(|(address, weight)| {
                let address = server_address(address);
                let weight = Weight::new(*weight).expect("weights go to 100");
                Server { remote_ip: ipv4(address)[0] == 192, ..Server::new(address, weight) }
            })
            .collect();
        self.standings.insert(name.clone(), servers.iter().map(standing).collect());
        let group = ServerGroup {
            protocol: GroupProtocol::Tcp,
            servers,
            ..ServerGroup::new(name.as_str(), &VpcName::new("vpc1"))
        };
        self.resources.server_groups.insert(name, group);
        self
    }

    /// Turns connection draining on for a group.
    pub fn drain(&mut self, group: &str, seconds: u64) -> &mut Scenario {
        let group =
            self.resources.server_groups.get_mut(&ServerGroupName::new(group)).expect("a group of that name");
        group.connection_drain = Some(ConnectionDrain { timeout: Duration::from_secs(seconds) });
        self
    }

    /// Changes where a server stands.
    pub fn stands(&mut self, group: &str, server: &str, change: impl Fn(&mut Standing)) -> &mut Scenario {
        let address = server_address(server);
        let standings = self.standings.get_mut(&ServerGroupName::new(group)).expect("a group of that name");
        standings.iter_mut().filter(|standing| standing.address == address).for_each(change);
        self
    }

    /// The tunnel port is shared with others.
    pub fn shared(&mut self) -> &mut Scenario {
        self.node.tunnel.admission = AdmissionMode::Shared;
        self
    }

    /// The next hops, to be changed.
    pub fn next_hops(&mut self) -> &mut Vec<NextHop> {
        &mut self
            .resources
            .transit_routers
            .get_mut(&TransitRouterName::new("tr1"))
            .expect("made in new")
            .next_hops
    }

    /// What the maps should hold.
    pub fn plan(&self, current: &MapState, in_use: &BTreeSet<u32>) -> Result<MapContents, CapacityError> {
        let wanted = neighbours_wanted(&self.node, &self.resources, &self.standings);
        let neighbours = wanted
            .into_iter()
            .filter_map(|address| {
                let assumed = Some(Neighbour {
                    ifindex: self.zone_ifindex,
                    gateway: address,
                    mtu: 1500,
                    source_mac: ZONE_MAC,
                    destination_mac: Some(mac_of(address)),
                });
                Some((address, self.neighbours.get(&address).copied().unwrap_or(assumed)?))
            })
            .collect();
        let inputs = Inputs {
            node: &self.node,
            resources: &self.resources,
            standings: &self.standings,
            neighbours: &neighbours,
            in_use,
            known_since: Moment::default(),
            now: self.now,
        };
        desired(&inputs, current)
    }
}

fn node() -> Node {
    Node {
        name: "node1".into(),
        zones: vec![NodeZone {
            zone: ZoneName::new("a"),
            interface: "zone".into(),
            tunnel_address: TUNNEL_ADDRESS,
        }],
        client_interfaces: vec!["clients".into()],
        tunnel: Tunnel { vxlan_port: 4789, admission: AdmissionMode::Exclusive },
        nat_prefix: Some("172.16.100.0/24".parse().expect("a prefix")),
        workers: 1,
        memory_limit: None,
        state_dir: "/nonexistent".into(),
        api_socket: "/nonexistent/api".into(),
        metrics_listen: None,
        bpf_dir: "/nonexistent/bpf".into(),
        access_log: None,
        quotas: Quotas::default(),
    }
}

fn server_address(text: &str) -> ServerAddress {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn ipv4(address: ServerAddress) -> [u8; 4] {
    match address.ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => panic!("{ip}: these scenarios have IPv4 servers"),
    }
}

/// A healthy server's standing.
fn standing(server: &Server) -> Standing {
    let receives_new = server.weight > Weight::ZERO;
    Standing {
        id: MemberId(u32::from_be_bytes(ipv4(server.address))),
        address: server.address,
        weight: server.weight,
        receives_new,
        ramp: None,
        status: if receives_new { Status::Normal } else { Status::Unused },
        failure: None,
        since: Moment::default(),
        drains: Vec::new(),
        evidence: None,
    }
}
