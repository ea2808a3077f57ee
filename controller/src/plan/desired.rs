//! Model, health, neighbours and time → map contents.

use super::capacity::{CapacityError, Indices};
use super::contents::{Arrays, Keys, MapContents, MapState, Table};
use super::identity::identity;
use crate::balance::maglev::{self, Builder, Member};
use crate::health::{Moment, Standing, Status};
use crate::model::{
    AdmissionMode, Encapsulation, Listener, ListenerProtocol, Node, NodeZone, Resources, ServerAddress,
    ServerGroup, ServerGroupName, TransitRouter, Vpc,
};
use crate::routing::{self, Path};
use forwarder_common::address::{Be16, Be32, Mac};
use forwarder_common::headers::{PROTOCOL_TCP, VXLAN_OVERHEAD};
use forwarder_common::limits::{self, HOP_BUCKETS, HOPS_PER_GROUP, MAGLEV_ENTRIES};
use forwarder_common::next_hop::{self, HopGroup, NO_HOP, NextHop};
use forwarder_common::server::{self, REACH_DIRECT, REACH_NONE, REACH_ROUTED};
use forwarder_common::settings::Settings;
use forwarder_common::tunnel::{ANY_VNI, PAIR_ONLY, RouteKey, TunnelKey, route_prefix};
use forwarder_common::vip::{self, ADDRESS_ONLY, MaglevEntry, NO_SERVER, Vip, VipKey};
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
    /// Indices of servers that flows still hold. A server that left without a drain keeps them.
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
        members(group, standings, Moment::default())
            .into_keys()
            .filter(|address| {
                matches!(routing::resolve(resources, group.vpc.as_ref(), address.ip), Path::Local)
            })
            .map(|address| ipv4(address.ip))
    });
    endpoints.chain(servers).collect()
}

/// Indices of serving elements whose servers have left and do not drain by a standing: only of these a plan needs to
/// know whether flows hold them.
pub fn departed(
    resources: &Resources,
    standings: &BTreeMap<ServerGroupName, Vec<Standing>>,
    current: &MapState,
) -> BTreeSet<u32> {
    let servers = &current.live().server;
    if servers.is_empty() {
        return BTreeSet::new();
    }
    let known: BTreeSet<u64> = l4_groups(resources)
        .into_iter()
        .flat_map(|group| {
            let addresses = members(group, standings, Moment::default()).into_keys();
            addresses.filter_map(|address| server_identity(&group.name, address))
        })
        .collect();
    let has_left = |server: &server::Server| server.identity != 0 && !known.contains(&server.identity);
    servers.iter().filter(|(_, server)| has_left(server)).map(|(index, _)| *index).collect()
}

/// What the maps should hold. Elements that exist already keep their indices; Maglev tables whose servers and weights
/// did not change keep their slots.
pub fn desired(inputs: &Inputs, current: &MapState) -> Result<MapContents, CapacityError> {
    let mut draft = Draft::new(inputs, current);
    draft.settings()?;
    draft.routes()?;
    let groups = draft.groups()?;
    draft.vips(&groups)?;
    draft.finish()
}

/// A plan in the making.
struct Draft<'a> {
    inputs: &'a Inputs<'a>,
    current: &'a MapState,
    arrays: Arrays,
    keys: Keys,
    tables: BTreeMap<u32, Table>,
    vip_indices: Indices,
    server_indices: Indices,
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
    fn hop_group(
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

    /// Servers and tables of L4 groups; the table slot of each group.
    fn groups(&mut self) -> Result<BTreeMap<ServerGroupName, u32>, CapacityError> {
        let groups = l4_groups(self.inputs.resources);
        CapacityError::check("server groups of TCP listeners", groups.len(), limits::MAGLEV_TABLES / 2)?;
        let mut wanted = BTreeMap::new();
        for group in groups {
            let mut entries = Vec::new();
            for (address, weight) in members(group, self.inputs.standings, self.inputs.now) {
                let (identity, index) = self.server(group, address)?;
                entries.push(Member { index: index as u16, identity, weight });
            }
            wanted.insert(group.name.clone(), entries);
        }
        self.departed();
        let mut slots = BTreeMap::new();
        let mut taken = self.slots_in_use();
        for (name, members) in wanted {
            let old = self.current_slot(&name);
            if let Some(slot) = old
                && self.is_unproven(&name, &members, slot)
            {
                self.tables.insert(slot, self.current.tables[&slot].clone());
                slots.insert(name, slot);
                continue;
            }
            let (slot, table) = table(&members, old.map(|slot| (slot, &self.current.tables[&slot])), &taken);
            let slot = slot.ok_or(CapacityError {
                what: "Maglev tables",
                needed: taken.len() + 1,
                capacity: limits::MAGLEV_TABLES,
            })?;
            taken.insert(slot);
            self.tables.insert(slot, table);
            slots.insert(name, slot);
        }
        Ok(slots)
    }

    /// Whether nothing is known yet of any server of a group that has a table, as after a restart of this program: the
    /// table of before knows better than fail-open, as long as it holds nobody who has left.
    fn is_unproven(&self, group: &ServerGroupName, members: &[Member], slot: u32) -> bool {
        let standings = self.inputs.standings.get(group).map_or(&[][..], Vec::as_slice);
        let nothing_known = standings.iter().all(|standing| standing.status == Status::Initial);
        let in_table: BTreeSet<u16> = self.current.tables[&slot].iter().map(|entry| entry.server).collect();
        let known: BTreeSet<u16> = members.iter().map(|member| member.index).collect();
        nothing_known
            && in_table.len() > usize::from(in_table.contains(&NO_SERVER))
            && in_table.is_subset(&known)
    }

    fn server(&mut self, group: &ServerGroup, address: ServerAddress) -> Result<(u64, u32), CapacityError> {
        let identity = identity_of_server(&group.name, ipv4(address.ip), address);
        let index = self.server_indices.of(identity)?;
        let (reach, via) = match routing::resolve(self.inputs.resources, group.vpc.as_ref(), address.ip) {
            Path::Local => (REACH_DIRECT, self.direct_hop(ipv4(address.ip))?),
            Path::Via { route, transit_router, .. } => {
                let vpc = group.vpc.as_ref().expect("only a VPC has routes");
                let vpc = &self.inputs.resources.vpcs[vpc];
                (REACH_ROUTED, self.hop_group(vpc, route.destination, transit_router)?)
            }
            Path::None => (REACH_NONE, 0),
        };
        let before = self.current.live().server.get(&index);
        let generation = match before {
            Some(server) if server.identity == identity => server.generation,
            Some(server) => server.generation.wrapping_add(1),
            None => 1,
        };
        let state =
            if self.drain_is_over(group, address) { server::STATE_GONE } else { server::STATE_SERVING };
        self.arrays.server.insert(
            index,
            server::Server {
                identity,
                generation,
                via,
                address: ipv4(address.ip).into(),
                port: Be16::new(address.port.get()),
                reach,
                state,
            },
        );
        Ok((identity, index))
    }

    /// Whether the flows of a failed server are to be cut: drains are on, none runs (any more), and nothing new comes.
    fn drain_is_over(&self, group: &ServerGroup, address: ServerAddress) -> bool {
        group.connection_drain.is_some()
            && self.inputs.standings.get(&group.name).into_iter().flatten().any(|standing| {
                standing.address == address
                    && standing.status == Status::Unhealthy
                    && standing.drains.is_empty()
                    && !standing.receives_new
            })
    }

    /// A hop to a neighbour on a link. Servers behind one gateway share it.
    fn direct_hop(&mut self, address: Ipv4Addr) -> Result<u32, CapacityError> {
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

    /// Servers that left: those whose flows may last keep their element, all others become free and remember their
    /// generation, so that no old flow falls to the next holder of the index.
    fn departed(&mut self) {
        for (index, server) in &self.current.live().server {
            if self.arrays.server.contains_key(index) {
                continue;
            }
            let keeps = server.state == server::STATE_SERVING
                && self.inputs.in_use.contains(index)
                && !self.was_drained(server)
                && self.way_still_exists(server);
            let element = if keeps {
                *server
            } else {
                server::Server { generation: server.generation, ..server::Server::default() }
            };
            self.arrays.server.insert(*index, element);
        }
    }

    /// Whether a server that left belonged to a group with drains, and its own is over. A drain in progress has a
    /// standing, and with it the server an element among the wanted ones (SG-155); but one that an earlier process began
    /// is remembered by nobody, and lasts until its time must be up.
    fn was_drained(&self, server: &server::Server) -> bool {
        let Ok(port) = server.port.get().try_into() else { return false };
        let address = ServerAddress { ip: server.address.address().into(), port };
        self.inputs.resources.server_groups.values().any(|group| {
            group
                .connection_drain
                .is_some_and(|drain| self.inputs.now >= self.inputs.known_since + drain.timeout)
                && server_identity(&group.name, address) == Some(server.identity)
        })
    }

    /// Keeps the next hop of a server that left but has flows; whether there still is one.
    fn way_still_exists(&mut self, server: &server::Server) -> bool {
        let live = self.current.live();
        match server.reach {
            REACH_DIRECT => match live.next_hop.get(&server.via) {
                Some(hop) => {
                    self.arrays.next_hop.entry(server.via).or_insert(*hop);
                    true
                }
                None => false,
            },
            REACH_ROUTED => self.arrays.hop_group.contains_key(&server.via),
            _ => false,
        }
    }

    /// Slots that packets may be reading now.
    fn slots_in_use(&self) -> BTreeSet<u32> {
        self.current.live().vip.values().filter(|vip| vip.kind == vip::KIND_L4).map(|vip| vip.table).collect()
    }

    /// The slot of a group's table now, found through the VIPs of its listeners.
    fn current_slot(&self, group: &ServerGroupName) -> Option<u32> {
        let resources = self.inputs.resources;
        let slot = resources.listeners.values().filter(|l| is_l4(l) && l.server_group == *group).find_map(
            |listener| {
                let balancer = resources.load_balancers.get(&listener.load_balancer)?;
                self.inputs.node.zones_of(balancer).find_map(|zone| {
                    let index = self.current.keys.vips.get(&vip_key(zone.vip, listener))?;
                    let vip = self.current.live().vip.get(index)?;
                    (vip.kind == vip::KIND_L4 && vip.identity == vip_identity(zone.vip, listener))
                        .then_some(vip.table)
                })
            },
        )?;
        self.current.tables.contains_key(&slot).then_some(slot)
    }

    fn vips(&mut self, tables: &BTreeMap<ServerGroupName, u32>) -> Result<(), CapacityError> {
        let resources = self.inputs.resources;
        for listener in resources.listeners.values() {
            let Some(balancer) = resources.load_balancers.get(&listener.load_balancer) else { continue };
            for zone in self.inputs.node.zones_of(balancer) {
                let identity = vip_identity(zone.vip, listener);
                let index = self.vip_indices.of(identity)?;
                let (kind, table) = match listener.protocol {
                    ListenerProtocol::Http | ListenerProtocol::Https | ListenerProtocol::Quic => {
                        (vip::KIND_L7, 0)
                    }
                    ListenerProtocol::Tcp => (vip::KIND_L4, tables[&listener.server_group]),
                };
                self.arrays.vip.insert(index, Vip { identity, kind, table });
                self.keys.vips.insert(vip_key(zone.vip, listener), index);
                if listener.protocol == ListenerProtocol::Tcp {
                    let whole = VipKey { port: Be16::new(0), ..vip_key(zone.vip, listener) };
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

/// A table with these members: the current one with its slot if the assignment is the same, else a new one in a slot
/// that nobody reads. `None` for the slot when there is none.
fn table(members: &[Member], current: Option<(u32, &Table)>, taken: &BTreeSet<u32>) -> (Option<u32>, Table) {
    let owners = Builder::new(MAGLEV_ENTRIES as usize).build(members);
    if let Some((slot, table)) = current
        && table.iter().map(|entry| entry.server).eq(owners.iter().copied())
    {
        return (Some(slot), table.clone());
    }
    let entries = owners.iter().enumerate().map(|(place, owner)| MaglevEntry {
        server: *owner,
        previous: current.map_or(NO_SERVER, |(_, table)| table[place].server),
    });
    let free = (0..limits::MAGLEV_TABLES).find(|slot| !taken.contains(slot));
    (free, entries.collect())
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

/// Groups that TCP listeners use, each once.
fn l4_groups(resources: &Resources) -> Vec<&ServerGroup> {
    let names: BTreeSet<&ServerGroupName> =
        resources.listeners.values().filter(|listener| is_l4(listener)).map(|l| &l.server_group).collect();
    names.into_iter().filter_map(|name| resources.server_groups.get(name)).collect()
}

/// The servers of a group that have an element, with their weight in a table built `now`: those configured, and those
/// that left and drain.
fn members(
    group: &ServerGroup,
    standings: &BTreeMap<ServerGroupName, Vec<Standing>>,
    now: Moment,
) -> BTreeMap<ServerAddress, u32> {
    let mut weights: BTreeMap<ServerAddress, u32> =
        group.servers.iter().map(|server| (server.address, 0)).collect();
    for standing in standings.get(&group.name).into_iter().flatten() {
        // A server that left, drains and came back stands here twice; only one of the two receives.
        *weights.entry(standing.address).or_default() += standing.table_weight(now);
    }
    weights
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

fn is_l4(listener: &Listener) -> bool {
    listener.protocol == ListenerProtocol::Tcp
}

fn vip_key(address: Ipv4Addr, listener: &Listener) -> VipKey {
    VipKey { address: address.into(), port: Be16::new(listener.port.get()), protocol: PROTOCOL_TCP, zero: 0 }
}

fn vip_identity(address: Ipv4Addr, listener: &Listener) -> u64 {
    identity(&[b"vip", &address.octets(), &listener.port.get().to_be_bytes(), b"tcp"])
}

/// What names the elements of a server of an L4 group; `None` for an IPv6 server, of which there are no elements.
pub fn server_identity(group: &ServerGroupName, address: ServerAddress) -> Option<u64> {
    let IpAddr::V4(ip) = address.ip else { return None };
    Some(identity_of_server(group, ip, address))
}

fn identity_of_server(group: &ServerGroupName, ip: Ipv4Addr, address: ServerAddress) -> u64 {
    identity(&[b"server", group.as_str().as_bytes(), &ip.octets(), &address.port.get().to_be_bytes()])
}

/// The address of an L4 server: configuration has only IPv4 ones there.
pub(super) fn ipv4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => unreachable!("{address} is a server of an L4 group"),
    }
}
