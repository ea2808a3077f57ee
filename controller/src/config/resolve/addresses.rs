//! No address serves two purposes.

use super::{Checks, Spot};
use crate::config::ErrorFamily::{Conflict, OperationDenied};
use crate::model::Resources;
use std::collections::BTreeMap;
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
    // A server that is one of our own addresses is a forwarding loop (SG-42); a tunnel endpoint may be one.
    let of_balancers: BTreeMap<IpAddr, &String> = first_use
        .iter()
        .filter(|(_, words)| words.contains("load balancer"))
        .map(|(address, words)| (*address, words))
        .collect();
    for group in resources.server_groups.values() {
        for server in &group.servers {
            if let Some(words) = of_balancers.get(&server.address.ip) {
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
}
