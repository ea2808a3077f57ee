//! No address serves two purposes.

use super::{Checks, Spot};
use crate::config::ErrorFamily::{Conflict, OperationDenied};
use crate::model::{Resources, Server, ServerAddress, ServerGroup, ZoneMapping};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Uses of addresses by balancers and routers, in the order of the model.
pub(super) fn addresses_in_use(resources: &Resources) -> Vec<(IpAddr, Spot, String)> {
    let mut uses = Vec::new();
    for balancer in resources.load_balancers.values() {
        for mapping in &balancer.zone_mappings {
            let (name, zone) = (&balancer.name, &mapping.zone);
            let words = format!("the VIP of load balancer \"{name}\" in zone {zone}");
            uses.push((mapping.vip.into(), Spot::Vip(name.clone(), zone.clone()), words));
            if let Some(vip) = mapping.ipv6_vip {
                let words = format!("the IPv6 VIP of load balancer \"{name}\" in zone {zone}");
                uses.push((vip.into(), Spot::Ipv6Vip(name.clone(), zone.clone()), words));
            }
            for (number, address) in mapping.local_addresses.iter().enumerate() {
                let words = format!("a local address of load balancer \"{name}\" in zone {zone}");
                let spot = Spot::LocalAddress(name.clone(), zone.clone(), number);
                uses.push(((*address).into(), spot, words));
            }
            for (number, address) in mapping.ipv6_local_addresses.iter().enumerate() {
                let words = format!("an IPv6 local address of load balancer \"{name}\" in zone {zone}");
                let spot = Spot::Ipv6LocalAddress(name.clone(), zone.clone(), number);
                uses.push(((*address).into(), spot, words));
            }
        }
    }
    // Several tunnels may end at one address, told apart by VNI.
    let mut endpoints: BTreeMap<IpAddr, (Spot, String)> = BTreeMap::new();
    for hop in resources.transit_routers.values().flat_map(|router| &router.next_hops) {
        let words = format!("the tunnel endpoint of next hop \"{}\"", hop.name);
        endpoints.entry(hop.address.into()).or_insert((Spot::HopAddress(hop.name.clone()), words));
    }
    uses.extend(endpoints.into_iter().map(|(address, (spot, words))| (address, spot, words)));
    uses
}

pub(super) fn check_addresses(resources: &Resources, checks: &mut Checks<'_>) {
    let mut first_use: BTreeMap<IpAddr, String> = BTreeMap::new();
    for (address, spot, words) in addresses_in_use(resources) {
        if let Some(other) = first_use.get(&address) {
            checks.error(
                Conflict.of("Address"),
                &spot,
                format!("address {address}"),
                format!("it is {other} already"),
                "give each its own address",
            );
            continue;
        }
        first_use.insert(address, words);
    }
    check_loops(resources, checks);
}

/// SG-42, as far as configuration shows it: nothing listens on a local address, and no chain of listeners leads from a
/// VIP back to itself. The VIP of another load balancer is a server like any other (SG-43), but not for TCP listeners:
/// what they send never passes the host's own sockets.
fn check_loops(resources: &Resources, checks: &mut Checks<'_>) {
    let own: BTreeMap<IpAddr, (Spot, String)> = addresses_in_use(resources)
        .into_iter()
        .filter(|(_, spot, _)| !matches!(spot, Spot::HopAddress(_)))
        .map(|(address, spot, words)| (address, (spot, words)))
        .collect();
    for group in resources.server_groups.values() {
        for server in &group.servers {
            let Some((spot, words)) = own.get(&server.address.ip) else { continue };
            let is_vip = matches!(spot, Spot::Vip(..) | Spot::Ipv6Vip(..));
            if is_vip && !group.is_l4() && !leads_back(group, server, resources) {
                continue;
            }
            checks.error(
                OperationDenied.of("ForwardingLoop"),
                &Spot::Server(group.name.clone(), server.address),
                format!("address {}", server.address.ip),
                format!("it is {words}: requests would run in a circle"),
                "write the address of a server",
            );
        }
    }
}

/// Whether what a listener of `group` sends to `server` comes to a listener of `group` again.
fn leads_back(group: &ServerGroup, server: &Server, resources: &Resources) -> bool {
    let listeners_at = |address: ServerAddress| {
        resources.listeners.values().filter(move |listener| {
            let balancer = resources.load_balancers.get(&listener.load_balancer);
            let is_vip = |mapping: &ZoneMapping| mapping.vips().any(|vip| vip == address.ip);
            listener.port == address.port
                && balancer.is_some_and(|balancer| balancer.zone_mappings.iter().any(is_vip))
        })
    };
    let mut open = vec![server.address];
    let mut seen: BTreeSet<ServerAddress> = BTreeSet::new();
    while let Some(address) = open.pop() {
        if !seen.insert(address) {
            continue;
        }
        for listener in listeners_at(address) {
            if listener.server_group == group.name {
                return true;
            }
            let next = resources.server_groups.get(&listener.server_group);
            open.extend(next.iter().flat_map(|group| &group.servers).map(|server| server.address));
        }
    }
    false
}
