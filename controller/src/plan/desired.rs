//! Model, health, neighbours and time → map contents.

use super::capacity::{CapacityError, Indices};
use super::contents::{Arrays, Keys, MapContents, MapState, Table};
use super::identity::identity;
use super::servers::{l4_groups, stays};
use super::tables::{TableSlots, zone_of_table};
use crate::balance::maglev::{self, Builder, Member};
use crate::health::{Moment, Standing};
use crate::model::{
    AdmissionMode, Encapsulation, Listener, Node, NodeZone, Resources, Scheduler, ServerAddress,
    ServerGroupName, TransitRouter, Vpc,
};
use crate::routing::{self, Path};
use forwarder_common::address::{Be16, Be32, Mac};
use forwarder_common::headers::{PROTOCOL_TCP, VXLAN_OVERHEAD};
use forwarder_common::limits::{self, HOP_BUCKETS, HOPS_PER_GROUP};
use forwarder_common::next_hop::{self, HopGroup, NO_HOP, NextHop};
use forwarder_common::settings::Settings;
use forwarder_common::tunnel::{ANY_VNI, PAIR_ONLY, RouteKey, TunnelKey, route_prefix};
use forwarder_common::vip::{self, ADDRESS_ONLY, Vip, VipKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// What a plan is made from.
pub struct Inputs<'a> {
    /// This host.
    pub node: &'a Node,
    /// What is configured.
    pub resources: &'a Resources,
    /// Where the servers of each group stand; groups that are missing have no usable server.
    pub standings: &'a BTreeMap<ServerGroupName, Vec<Standing>>,
    /// How the addresses of [`neighbours_wanted`] are reached; missing ones are not reachable (yet).
    pub neighbours: &'a BTreeMap<Ipv4Addr, Neighbour>,
    /// Indices of servers that flows still hold. A server that left without a drain keeps them. Only those of
    /// [`super::departed`] matter.
    pub in_use: &'a BTreeSet<u32>,
    /// Since when there are standings: a drain that began before, under an earlier process, has left none.
    pub known_since: Moment,
    /// Now.
    pub now: Moment,
}

/// How an address is reached on a link of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Interface toward it.
    pub ifindex: u32,
    /// The address itself, or the gateway that takes packets for it.
    pub gateway: Ipv4Addr,
    /// MTU of the interface, bytes.
    pub mtu: u16,
    /// Ethernet address of the interface.
    pub source_mac: Mac,
    /// Ethernet address of the gateway; `None` until the kernel has resolved it.
    pub destination_mac: Option<Mac>,
}

/// Addresses whose neighbours the plan needs: tunnel endpoints of this node's zones, and servers of L4 groups on links.
pub fn neighbours_wanted(
    node: &Node,
    resources: &Resources,
    standings: &BTreeMap<ServerGroupName, Vec<Standing>>,
) -> BTreeSet<Ipv4Addr> {
    let endpoints = served_hops(node, resources).map(|(_, hop)| hop.address);
    let servers = l4_groups(resources).into_iter().flat_map(|group| {
        stays(group, standings)
            .into_keys()
            .filter(|address| {
                matches!(routing::resolve(resources, group.vpc.as_ref(), address.ip), Path::Local)
            })
            .map(|address| ipv4(address.ip))
    });
    endpoints.chain(servers).collect()
}

/// What the maps should hold. Elements that exist already keep their indices; Maglev tables whose servers and weights
/// did not change keep their slots.
pub fn desired(inputs: &Inputs, current: &MapState) -> Result<MapContents, CapacityError> {
    let mut draft = Draft::new(inputs, current);
    draft.settings()?;
    draft.routes()?;
    draft.servers()?;
    let tables = draft.tables()?;
    draft.vips(&tables)?;
    draft.finish()
}

/// A plan in the making.
pub(super) struct Draft<'a> {
    pub inputs: &'a Inputs<'a>,
    pub current: &'a MapState,
    pub arrays: Arrays,
    keys: Keys,
    pub tables: BTreeMap<u32, Table>,
    vip_indices: Indices,
    pub server_indices: Indices,
    /// Elements in which new flows of a server begin, by its group and address.
    pub serving: BTreeMap<(&'a str, ServerAddress), u32>,
    hop_indices: Indices,
    group_indices: Indices,
    /// Hop group of each (VPC, destination).
    hop_groups: BTreeMap<(&'a str, ipnet::Ipv4Net), u32>,
}

impl<'a> Draft<'a> {
    fn new(inputs: &'a Inputs<'a>, current: &'a MapState) -> Draft<'a> {
        let live = current.live();
        Draft {
            inputs,
            current,
            arrays: Arrays::default(),
            keys: Keys::default(),
            tables: BTreeMap::new(),
            vip_indices: Indices::new("VIPs", limits::VIPS, live.vip.iter().map(|(i, v)| (v.identity, *i))),
            server_indices: Indices::new(
                "servers of L4 groups",
                limits::SERVERS,
                live.server.iter().map(|(i, s)| (s.identity, *i)),
            ),
            hop_indices: Indices::new(
                "next hops",
                limits::NEXT_HOPS,
                live.next_hop.iter().map(|(i, h)| (h.identity, *i)),
            ),
            group_indices: Indices::new(
                "routes to transit routers",
                limits::HOP_GROUPS,
                live.hop_group.iter().map(|(i, g)| (g.identity, *i)),
            ),
            serving: BTreeMap::new(),
            hop_groups: BTreeMap::new(),
        }
    }

    fn settings(&mut self) -> Result<(), CapacityError> {
        let node = self.inputs.node;
        let addresses: BTreeSet<Ipv4Addr> = node.zones.iter().map(|zone| zone.tunnel_address).collect();
        CapacityError::check("tunnel addresses", addresses.len(), limits::TUNNEL_ADDRESSES as u32)?;
        let settings = &mut self.arrays.settings;
        *settings = Settings {
            vxlan_port: Be16::new(node.tunnel.vxlan_port),
            shared_port: u16::from(node.tunnel.admission == AdmissionMode::Shared),
            tunnel_address_count: addresses.len() as u32,
            ..Settings::default()
        };
        for (place, address) in settings.tunnel_addresses.iter_mut().zip(&addresses) {
            *place = (*address).into();
        }
        // The prefix belongs to XDP only while an L4 listener needs it.
        let has_l4 = self.inputs.resources.listeners.values().any(is_l4);
        if let Some(prefix) = node.nat_prefix.filter(|_| has_l4) {
            settings.nat_base = prefix.network().into();
            settings.nat_mask = prefix.netmask().into();
        }
        Ok(())
    }

    /// Next hops, hop groups, accepted tunnels, local addresses and the trie.
    fn routes(&mut self) -> Result<(), CapacityError> {
        let (node, resources) = (self.inputs.node, self.inputs.resources);
        for balancer in resources.load_balancers.values() {
            let Some(vpc) = resources.vpcs.get(&balancer.vpc) else { continue };
            for route in &vpc.routes {
                let Some(router) = resources.transit_routers.get(&route.transit_router) else { continue };
                let group = self.hop_group(vpc, route.destination, router)?;
                let prefix = route_prefix(route.destination.prefix_len());
                let destination = route.destination.network().into();
                let locals = node
                    .zones_of(balancer)
                    .flat_map(|zone| zone.local_addresses.iter())
                    .map(|address| Be32::from(*address));
                let has_l4 =
                    resources.listeners.values().any(|l| is_l4(l) && l.load_balancer == balancer.name);
                let nat = Some(self.arrays.settings.nat_base)
                    .filter(|_| has_l4 && self.arrays.settings.nat_mask != Be32::default());
                for local in locals.chain(nat) {
                    self.keys.routes.entry((prefix, RouteKey { local, destination })).or_insert(group);
                }
            }
            for zone in node.zones_of(balancer) {
                self.keys
                    .local_addresses
                    .extend(zone.local_addresses.iter().map(|address| Be32::from(*address)));
            }
        }
        CapacityError::check("pairs of local address and route", self.keys.routes.len(), limits::ROUTES)?;
        CapacityError::check("tunnels", self.keys.tunnels.len(), limits::TUNNELS)?;
        CapacityError::check("local addresses", self.keys.local_addresses.len(), limits::LOCAL_ADDRESSES)
    }

    /// The group of hops that carry `destination` of `vpc`. One group per route, so that a route's index never changes.
    pub fn hop_group(
        &mut self,
        vpc: &'a Vpc,
        destination: ipnet::Ipv4Net,
        router: &TransitRouter,
    ) -> Result<u32, CapacityError> {
        let key = (vpc.name.as_str(), destination);
        if let Some(index) = self.hop_groups.get(&key) {
            return Ok(*index);
        }
        let identity =
            identity(&[b"route", vpc.name.as_str().as_bytes(), destination.to_string().as_bytes()]);
        let index = self.group_indices.of(identity)?;
        let mut group = HopGroup {
            identity,
            count: 0,
            zero: 0,
            hops: [0; HOPS_PER_GROUP],
            buckets: [NO_HOP; HOP_BUCKETS + 5],
        };
        let mut members = Vec::new();
        let neighbours = self.inputs.neighbours;
        let answers = |hop: &crate::model::NextHop| {
            neighbours.get(&hop.address).is_some_and(|neighbour| neighbour.destination_mac.is_some())
        };
        // Flows for a hop that cannot be reached go to the others; where none can, to their own, which may come back.
        let some_answer = router.next_hops.iter().any(answers);
        for hop in &router.next_hops {
            let Some(zone) = self.inputs.node.zones.iter().find(|zone| zone.zone == hop.zone) else {
                continue;
            };
            let (identity, element) = self.tunnel_hop(zone, hop)?;
            let position = group.count as usize;
            group.hops[position] = element as u16;
            group.count += 1;
            let weight = if some_answer && !answers(hop) { 0 } else { hop.weight.get() };
            members.push(Member { index: position as u16, identity, weight });
        }
        for (bucket, member) in group.buckets.iter_mut().zip(Builder::new(HOP_BUCKETS).build(&members)) {
            *bucket = if member == maglev::EMPTY { NO_HOP } else { member as u8 };
        }
        self.arrays.hop_group.insert(index, group);
        self.hop_groups.insert(key, index);
        Ok(index)
    }

    /// The element of a tunnel endpoint, and the keys that accept its answers.
    fn tunnel_hop(
        &mut self,
        zone: &NodeZone,
        hop: &crate::model::NextHop,
    ) -> Result<(u64, u32), CapacityError> {
        let Encapsulation::Vxlan { vni, mac } = hop.encapsulation;
        let identity =
            identity(&[b"vxlan", &zone.tunnel_address.octets(), &hop.address.octets(), &vni.to_be_bytes()]);
        let index = self.hop_indices.of(identity)?;
        let neighbour = self.inputs.neighbours.get(&hop.address);
        let element = NextHop {
            identity,
            kind: next_hop::KIND_VXLAN,
            mtu: hop.mtu.saturating_sub(VXLAN_OVERHEAD),
            inner_destination_mac: mac,
            udp_port: Be16::new(self.inputs.node.tunnel.vxlan_port),
            outer_source: zone.tunnel_address.into(),
            outer_destination: hop.address.into(),
            vni,
            ..link(neighbour, hop.address)
        };
        self.arrays.next_hop.insert(index, element);
        let key = TunnelKey {
            outer_source: hop.address.into(),
            outer_destination: zone.tunnel_address.into(),
            vni,
        };
        self.keys.tunnels.insert(key, index);
        self.keys.tunnels.insert(TunnelKey { vni: ANY_VNI, ..key }, PAIR_ONLY);
        Ok((identity, index))
    }

    /// A hop to a neighbour on a link. Servers behind one gateway share it.
    pub fn direct_hop(&mut self, address: Ipv4Addr) -> Result<u32, CapacityError> {
        let neighbour = self.inputs.neighbours.get(&address);
        let gateway = neighbour.map_or(address, |neighbour| neighbour.gateway);
        let ifindex = neighbour.map_or(0, |neighbour| neighbour.ifindex);
        let identity = identity(&[b"direct", &gateway.octets(), &ifindex.to_be_bytes()]);
        let index = self.hop_indices.of(identity)?;
        let element = NextHop {
            identity,
            kind: next_hop::KIND_DIRECT,
            mtu: neighbour.map_or(0, |neighbour| neighbour.mtu),
            ..link(neighbour, gateway)
        };
        self.arrays.next_hop.insert(index, element);
        Ok(index)
    }

    fn vips(&mut self, tables: &TableSlots<'a>) -> Result<(), CapacityError> {
        let resources = self.inputs.resources;
        // Packets of QUIC listeners pass untouched: the programs know VIPs by TCP only.
        let has_vips = |listener: &&Listener| listener.enabled && !listener.protocol.is_udp();
        for listener in resources.listeners.values().filter(has_vips) {
            let Some(balancer) = resources.load_balancers.get(&listener.load_balancer) else { continue };
            for mapping in self.inputs.node.zones_of(balancer) {
                let identity = vip_identity(mapping.vip, listener);
                let index = self.vip_indices.of(identity)?;
                let vip = if is_l4(listener) {
                    let group = &resources.server_groups[&listener.server_group];
                    let choice = match group.scheduler {
                        Scheduler::Sch(_) => vip::BY_SOURCE,
                        Scheduler::Wrr | Scheduler::Wlc => vip::BY_FLOW,
                    };
                    let table = tables[&(&group.name, zone_of_table(group, mapping))];
                    Vip { identity, kind: vip::KIND_L4, choice, table }
                } else {
                    Vip { identity, kind: vip::KIND_L7, ..Vip::default() }
                };
                self.arrays.vip.insert(index, vip);
                self.keys.vips.insert(vip_key(mapping.vip, listener), index);
                if is_l4(listener) {
                    let whole = VipKey { port: Be16::new(0), ..vip_key(mapping.vip, listener) };
                    self.keys.vips.insert(whole, ADDRESS_ONLY);
                }
            }
        }
        CapacityError::check("keys of VIPs", self.keys.vips.len(), limits::VIPS)
    }

    fn finish(self) -> Result<MapContents, CapacityError> {
        CapacityError::check("next hops", self.arrays.next_hop.len(), limits::NEXT_HOPS)?;
        Ok(MapContents { arrays: self.arrays, keys: self.keys, tables: self.tables })
    }
}

/// The part of a next hop that concerns the link; unresolved without a neighbour.
fn link(neighbour: Option<&Neighbour>, gateway: Ipv4Addr) -> NextHop {
    let Some(neighbour) = neighbour else { return NextHop { gateway: gateway.into(), ..NextHop::default() } };
    NextHop {
        ifindex: neighbour.ifindex,
        gateway: neighbour.gateway.into(),
        source_mac: neighbour.source_mac,
        destination_mac: neighbour.destination_mac.unwrap_or_default(),
        resolved: u8::from(neighbour.destination_mac.is_some()),
        ..NextHop::default()
    }
}

fn served_hops<'a>(
    node: &'a Node,
    resources: &'a Resources,
) -> impl Iterator<Item = (&'a NodeZone, &'a crate::model::NextHop)> {
    resources.transit_routers.values().flat_map(|router| &router.next_hops).filter_map(|hop| {
        let zone = node.zones.iter().find(|zone| zone.zone == hop.zone)?;
        Some((zone, hop))
    })
}

/// Whether it is balanced in XDP now; one that is stopped is not (LR-5).
pub(super) fn is_l4(listener: &Listener) -> bool {
    listener.protocol.is_l4() && listener.enabled
}

/// How the datapath finds the VIP of a listener that is not of UDP.
pub fn vip_key(address: Ipv4Addr, listener: &Listener) -> VipKey {
    VipKey { address: address.into(), port: Be16::new(listener.port.get()), protocol: PROTOCOL_TCP, zero: 0 }
}

pub(super) fn vip_identity(address: Ipv4Addr, listener: &Listener) -> u64 {
    identity(&[b"vip", &address.octets(), &listener.port.get().to_be_bytes(), b"tcp"])
}

/// The address of an L4 server: configuration has only IPv4 ones there.
pub(super) fn ipv4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => unreachable!("{address} is a server of an L4 group"),
    }
}
