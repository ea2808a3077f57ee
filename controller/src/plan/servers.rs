//! Servers of L4 groups and their elements.
//!
//! A server has one element, until it takes new flows again while it still drains: because it recovered (SG-159), or was
//! removed and added again (SG-158). Then new flows begin in a second element, and those of the first end when the drain
//! does. An element is *over* from the deadline of its drain on; what it still holds is dropped as `server_gone`, also
//! after it is in use again, since that is under another generation.

use super::capacity::CapacityError;
use super::contents::MapState;
use super::desired::{Draft, ipv4, is_l4};
use super::identity::identity;
use crate::health::{Drain, Standing, Status};
use crate::model::{Resources, ServerAddress, ServerGroup, ServerGroupName};
use crate::routing::{self, Path};
use forwarder_common::address::Be16;
use forwarder_common::server::{REACH_DIRECT, REACH_NONE, REACH_ROUTED, STATE_GONE, STATE_SERVING, Server};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// Indices of elements whose servers have left and do not drain by a standing, or take new flows in another element:
/// only of these a plan needs to know whether flows hold them.
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
            let addresses = stays(group, standings).into_keys();
            addresses.filter_map(|address| server_identity(&group.name, address))
        })
        .collect();
    let mut elements: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (index, server) in servers.iter().filter(|(_, server)| server.identity != 0) {
        elements.entry(server.identity).or_default().push(*index);
    }
    elements
        .into_iter()
        .filter(|(identity, indices)| indices.len() > 1 || !known.contains(identity))
        .flat_map(|(_, indices)| indices)
        .collect()
}

/// What names the elements of a server of an L4 group; `None` for an IPv6 server, of which there are no elements.
pub fn server_identity(group: &ServerGroupName, address: ServerAddress) -> Option<u64> {
    let IpAddr::V4(ip) = address.ip else { return None };
    Some(identity_of(group, ip, address))
}

fn identity_of(group: &ServerGroupName, ip: Ipv4Addr, address: ServerAddress) -> u64 {
    identity(&[b"server", group.as_str().as_bytes(), &ip.octets(), &address.port.get().to_be_bytes()])
}

/// Groups that running TCP listeners use, each once.
pub(super) fn l4_groups(resources: &Resources) -> Vec<&ServerGroup> {
    let names: BTreeSet<&ServerGroupName> =
        resources.listeners.values().filter(|listener| is_l4(listener)).map(|l| &l.server_group).collect();
    names.into_iter().filter_map(|name| resources.server_groups.get(name)).collect()
}

/// What all stays of a server in its group come to: the one that lasts, and those that left and drain.
#[derive(Clone, Debug, Default)]
pub(super) struct Stay {
    receives: bool,
    /// Receives although it has failed, because nobody is better (SG-93).
    by_fail_open: bool,
    /// Has failed, and nothing goes to it.
    is_shut_out: bool,
    drains: Vec<Drain>,
}

impl Stay {
    /// The first moment that no drain known now reaches, in nanoseconds.
    fn after_drains(&self) -> u64 {
        self.drains.iter().map(|drain| drain.began.as_nanos() + 1).max().unwrap_or(0)
    }
}

/// The servers of a group that have elements: those configured, and those that left and drain.
pub(super) fn stays(
    group: &ServerGroup,
    standings: &BTreeMap<ServerGroupName, Vec<Standing>>,
) -> BTreeMap<ServerAddress, Stay> {
    let mut stays: BTreeMap<ServerAddress, Stay> =
        group.servers.iter().map(|server| (server.address, Stay::default())).collect();
    for standing in standings.get(&group.name).into_iter().flatten() {
        let stay = stays.entry(standing.address).or_default();
        let has_failed = standing.status == Status::Unhealthy;
        stay.receives |= standing.receives_new;
        stay.by_fail_open |= standing.receives_new && has_failed;
        stay.is_shut_out |= !standing.receives_new && has_failed;
        stay.drains.extend(&standing.drains);
    }
    stays
}

/// What becomes of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// New flows may begin in it.
    Open,
    /// Its flows last until its deadline.
    Draining,
    /// Its flows are cut.
    Over,
}

impl<'a> Draft<'a> {
    /// The elements of all servers of L4 groups, without their shares of tables.
    pub fn servers(&mut self) -> Result<(), CapacityError> {
        let mut elements: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (index, server) in &self.current.live().server {
            elements.entry(server.identity).or_default().push(*index);
        }
        for group in l4_groups(self.inputs.resources) {
            for (address, stay) in stays(group, self.inputs.standings) {
                let identity = identity_of(&group.name, ipv4(address.ip), address);
                let own = elements.get(&identity).map_or(&[][..], Vec::as_slice);
                self.server(group, address, &stay, identity, own)?;
            }
        }
        self.departed();
        Ok(())
    }

    /// The elements of a server whose elements are `own` now.
    fn server(
        &mut self,
        group: &'a ServerGroup,
        address: ServerAddress,
        stay: &Stay,
        identity: u64,
        own: &[u32],
    ) -> Result<(), CapacityError> {
        let (reach, via) = self.way(group, address)?;
        let live = &self.current.live().server;
        let element = Server {
            identity,
            via,
            address: ipv4(address.ip).into(),
            port: Be16::new(address.port.get()),
            reach,
            state: STATE_SERVING,
            ..Server::default()
        };
        let elements: Vec<(u32, Fate, Server)> = own
            .iter()
            .map(|index| {
                let before = live[index];
                let (fate, drain_deadline) = self.fate(group, stay, &before);
                let state = if fate == Fate::Over { STATE_GONE } else { STATE_SERVING };
                let Server { since, generation, .. } = before;
                (*index, fate, Server { since, generation, drain_deadline, state, ..element })
            })
            .collect();
        let of = |fate| elements.iter().find(|(_, other, _)| *other == fate);
        let (index, main) = match (of(Fate::Open), of(Fate::Over), of(Fate::Draining)) {
            (Some((index, _, open)), ..) => (*index, *open),
            (_, over, Some((index, _, draining))) if !stay.receives && over.is_none() => (*index, *draining),
            (_, Some((index, _, over)), _) if !stay.receives => (*index, *over),
            // Under another generation, what was cut stays cut.
            (_, Some((index, _, over)), _) => {
                let generation = over.generation.wrapping_add(1);
                (*index, Server { generation, since: stay.after_drains(), ..element })
            }
            _ => {
                let index = self.server_indices.another()?;
                let generation = live.get(&index).map_or(1, |free| free.generation.wrapping_add(1));
                (index, Server { generation, since: stay.after_drains(), ..element })
            }
        };
        self.arrays.server.insert(index, main);
        self.serving.insert((group.name.as_str(), address), index);
        for (other, fate, server) in elements.into_iter().filter(|(other, ..)| *other != index) {
            let keeps = fate != Fate::Over && self.inputs.in_use.contains(&other);
            self.arrays.server.insert(other, if keeps { server } else { freed(&server) });
        }
        Ok(())
    }

    /// What becomes of an element of a server that has a standing, and when its flows end (0: not by us).
    fn fate(&self, group: &ServerGroup, stay: &Stay, element: &Server) -> (Fate, u64) {
        let concerns = |drain: &&Drain| drain.began.as_nanos() >= element.since;
        let deadline = stay.drains.iter().filter(concerns).map(|drain| drain.deadline.as_nanos()).min();
        let now = self.inputs.now.as_nanos();
        let deadline = match (element.drain_deadline, deadline) {
            (0, deadline) => deadline.unwrap_or(0),
            // Cancelled (D-13), if no drain known has this deadline.
            (before, deadline) if stay.by_fail_open && now < before => deadline.unwrap_or(0),
            // A drain that is no longer known is over, or an earlier process began it.
            (before, deadline) => deadline.map_or(before, |deadline| deadline.min(before)),
        };
        let is_cut = stay.is_shut_out && group.connection_drain.is_some() && deadline == 0;
        let is_due = deadline != 0 && now >= deadline;
        if element.state == STATE_GONE || is_due || is_cut {
            (Fate::Over, deadline)
        } else if deadline != 0 {
            (Fate::Draining, deadline)
        } else {
            (Fate::Open, 0)
        }
    }

    /// How a server is reached, and the index that goes with it.
    fn way(&mut self, group: &'a ServerGroup, address: ServerAddress) -> Result<(u8, u32), CapacityError> {
        Ok(match routing::resolve(self.inputs.resources, group.vpc.as_ref(), address.ip) {
            Path::Local => (REACH_DIRECT, self.direct_hop(ipv4(address.ip))?),
            Path::Via { route, transit_router, .. } => {
                let vpc = group.vpc.as_ref().expect("only a VPC has routes");
                let vpc = &self.inputs.resources.vpcs[vpc];
                (REACH_ROUTED, self.hop_group(vpc, route.destination, transit_router)?)
            }
            Path::None => (REACH_NONE, 0),
        })
    }

    /// Servers that left: those whose flows may last keep their element, all others become free.
    fn departed(&mut self) {
        for (index, server) in &self.current.live().server {
            if self.arrays.server.contains_key(index) {
                continue;
            }
            let keeps = server.state == STATE_SERVING
                && self.inputs.in_use.contains(index)
                && !self.was_drained(server)
                && self.way_still_exists(server);
            let element = if keeps { Server { weight: 0, table: 0, ..*server } } else { freed(server) };
            self.arrays.server.insert(*index, element);
        }
    }

    /// Whether a server that left belonged to a group with drains, and its own is over. A drain in progress has a
    /// standing, and with it the server an element among the wanted ones (SG-155). One that an earlier process began has
    /// left its deadline in the element; without that, as when the server went while no process ran, it lasts until its
    /// time must be up.
    fn was_drained(&self, server: &Server) -> bool {
        if server.drain_deadline != 0 {
            return self.inputs.now.as_nanos() >= server.drain_deadline;
        }
        let Ok(port) = server.port.get().try_into() else { return false };
        let address = ServerAddress { ip: server.address.address().into(), port };
        // A server whose group no listener uses any more has left no group: its flows last, as HTTP requests do.
        l4_groups(self.inputs.resources).into_iter().any(|group| {
            group
                .connection_drain
                .is_some_and(|drain| self.inputs.now >= self.inputs.known_since + drain.timeout)
                && server_identity(&group.name, address) == Some(server.identity)
        })
    }

    /// Keeps the next hop of a server that left but has flows; whether there still is one.
    fn way_still_exists(&mut self, server: &Server) -> bool {
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
}

/// A free element that remembers its generation, so that no old flow falls to the next holder of the index.
fn freed(server: &Server) -> Server {
    Server { generation: server.generation, ..Server::default() }
}
