//! Groups do not follow the inventory by themselves (SG-40, D-5): which servers a change of it would move.

use super::Parsed;
use super::error::Place;
use super::resolve::Spot;
use crate::model::{Resources, Server, ServerAddress, ServerGroup, ServerGroupName, ServerId};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

/// A server that follows the inventory, whose address there is no longer the one in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleAddress {
    /// Its group.
    pub group: ServerGroupName,
    /// What it is.
    pub server: ServerId,
    /// Its port; with the above its identity apart from the address.
    pub port: NonZeroU16,
    /// The address in force, which the group keeps unless it is told to follow.
    pub held: IpAddr,
    /// Its address in the new inventory.
    pub inventory: IpAddr,
    /// Where the server is written, without an address.
    pub place: Place,
}

impl fmt::Display for StaleAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "server group \"{}\" keeps {} at {}; the inventory has it at {}",
            self.group,
            self.server,
            ServerAddress { ip: self.held, port: self.port },
            self.inventory,
        )
    }
}

/// Servers of `new` without a written address that were in the same group of `old` at another address than the
/// inventory of `new` has for them; by group, then in the order written.
///
/// Writing `address: HELD` into their entries keeps them where they are: such an address is accepted, with a warning,
/// as long as it lies in the group's VPC. Addresses that `new` writes itself are the operator's will and not listed.
pub fn stale_inventory_addresses(old: &Resources, new: &Parsed<Resources>) -> Vec<StaleAddress> {
    let mut found = Vec::new();
    for group in new.value.server_groups.values() {
        let Some(before) = old.server_groups.get(&group.name) else { continue };
        let vpc = group.vpc.as_ref().and_then(|vpc| new.value.vpcs.get(vpc));
        for server in &group.servers {
            let spot = Spot::Follower(group.name.clone(), server.address);
            let Some((place, _)) = new.places.get(&spot) else { continue };
            let held =
                held_address(before, group, server).filter(|held| vpc.is_some_and(|vpc| vpc.contains(*held)));
            found.extend(held.map(|held| StaleAddress {
                group: group.name.clone(),
                server: server.id.clone(),
                port: server.address.port,
                held,
                inventory: server.address.ip,
                place: place.clone(),
            }));
        }
    }
    found
}

/// Where `server` of the group was before, unless it is there still or another entry of the group claims that place.
fn held_address(before: &ServerGroup, group: &ServerGroup, server: &Server) -> Option<IpAddr> {
    let is_same = |other: &&Server| other.id == server.id && other.address.port == server.address.port;
    if before.servers.iter().filter(is_same).any(|other| other.address == server.address) {
        return None;
    }
    let is_free = |address: &ServerAddress| group.servers.iter().all(|other| other.address != *address);
    before
        .servers
        .iter()
        .filter(is_same)
        .map(|other| other.address)
        .find(|address| is_free(address) && address.ip.is_ipv4())
        .map(|address| address.ip)
}
