//! Rules between a node and the resources it serves.

use super::addresses::addresses_in_use;
use super::quotas::check_quotas;
use super::rules::overlap;
use super::{Checks, Spot};
use crate::config::ErrorFamily::{Conflict, Mismatch, MissingParam};
use crate::model::{ListenerProtocol, Node, Resources, ZoneName};
use std::collections::BTreeSet;
use std::net::IpAddr;

pub(in crate::config) fn check_together(node: &Node, resources: &Resources, checks: &mut Checks<'_>) {
    check_nat_prefix(node, resources, checks);
    check_zones(node, resources, checks);
    check_tunnel_addresses(node, resources, checks);
    check_quotas(&node.quotas, resources, checks);
}

fn check_nat_prefix(node: &Node, resources: &Resources, checks: &mut Checks<'_>) {
    let tcp_listeners =
        || resources.listeners.values().filter(|listener| listener.protocol == ListenerProtocol::Tcp);
    let Some(prefix) = node.nat_prefix else {
        for listener in tcp_listeners() {
            checks.error(
                MissingParam.of("NatPrefix"),
                &Spot::Listener(listener.name.clone()),
                "protocol TCP",
                format!("node \"{}\" has no nat_prefix, from which flows of TCP listeners come", node.name),
                "add `nat_prefix: ...` to the node's settings: a private prefix that nothing else uses",
            );
        }
        return;
    };
    let value = format!("nat_prefix {prefix}");
    let remedy = "choose a prefix that nothing else uses: every port of every address in it belongs to NAT";
    let mut clash = |rule: String| {
        checks.error(
            Conflict.of("NatPrefix"),
            &Spot::NatPrefix,
            value.clone(),
            format!("contains {rule}"),
            remedy,
        )
    };
    for (address, _, words) in addresses_in_use(resources) {
        if ipnet::IpNet::from(prefix).contains(&address) {
            clash(format!("{address}, {words}"));
        }
    }
    for zone in node.zones.iter().filter(|zone| prefix.contains(&zone.tunnel_address)) {
        clash(format!("{}, the tunnel address of zone {}", zone.tunnel_address, zone.zone));
    }
    for group in resources.server_groups.values() {
        for server in
            group.servers.iter().filter(|server| ipnet::IpNet::from(prefix).contains(&server.address.ip))
        {
            clash(format!("{}, a server of group \"{}\"", server.address, group.name));
        }
    }
    for balancer in resources.load_balancers.values() {
        if let Some(other) = balancer.back_to_origin_prefix.filter(|other| overlap(*other, prefix)) {
            checks.error(
                Conflict.of("NatPrefix"),
                &Spot::NatPrefix,
                value.clone(),
                format!("overlaps the back_to_origin_prefix {other} of load balancer \"{}\"", balancer.name),
                remedy,
            );
        }
    }
    for vpc in resources.vpcs.values() {
        for vswitch in vpc.vswitches.values().filter(|vswitch| overlap(vswitch.cidr, prefix)) {
            checks.warning(
                &Spot::NatPrefix,
                value.clone(),
                format!(
                    "overlaps vSwitch \"{}\" ({}), whose hosts may use its addresses",
                    vswitch.name, vswitch.cidr
                ),
                "choose a prefix outside the vSwitches",
            );
        }
    }
    // Transit routers know the way back to the VPC's CIDR only (XR-54).
    let vpcs: BTreeSet<_> = tcp_listeners()
        .filter_map(|listener| resources.load_balancers.get(&listener.load_balancer))
        .filter_map(|balancer| resources.vpcs.get(&balancer.vpc))
        .filter(|vpc| !vpc.cidr.contains(&prefix))
        .map(|vpc| (vpc.name.as_str(), vpc.cidr))
        .collect();
    for (name, cidr) in vpcs {
        checks.warning(
            &Spot::NatPrefix,
            value.clone(),
            format!("outside VPC \"{name}\" ({cidr}): servers elsewhere know no way back to it"),
            format!("choose a part of {cidr}, or route the prefix back to this node yourself"),
        );
    }
}

fn check_zones(node: &Node, resources: &Resources, checks: &mut Checks<'_>) {
    let served: BTreeSet<&ZoneName> = node.zones.iter().map(|zone| &zone.zone).collect();
    let served_text = served.iter().map(|zone| zone.as_str()).collect::<Vec<_>>().join(", ");
    for balancer in resources.load_balancers.values() {
        for mapping in balancer.zone_mappings.iter().filter(|mapping| !served.contains(&mapping.zone)) {
            checks.warning(
                &Spot::Zone(balancer.name.clone(), mapping.zone.clone()),
                "",
                format!("node \"{}\" does not serve it", node.name),
                format!("serve it here or on another node; zones here: {served_text}"),
            );
        }
    }
    for router in resources.transit_routers.values() {
        for hop in router.next_hops.iter().filter(|hop| !served.contains(&hop.zone)) {
            checks.warning(
                &Spot::NextHop(hop.name.clone()),
                format!("zone {}", hop.zone),
                format!("node \"{}\" does not serve it and leaves this next hop out", node.name),
                format!("zones here: {served_text}"),
            );
        }
    }
    for vpc in resources.vpcs.values() {
        let has_balancer = resources.load_balancers.values().any(|balancer| balancer.vpc == vpc.name);
        for route in vpc.routes.iter().filter(|_| has_balancer) {
            let Some(router) = resources.transit_routers.get(&route.transit_router) else { continue };
            if !router.next_hops.is_empty() && !router.next_hops.iter().any(|hop| served.contains(&hop.zone))
            {
                checks.error(
                    Mismatch.of("ZoneId"),
                    &Spot::Route(vpc.name.clone(), route.destination),
                    format!("transit_router \"{}\"", router.name),
                    format!("every next hop is in a zone that node \"{}\" does not serve", node.name),
                    format!("add a next hop in one of the zones {served_text}"),
                );
            }
        }
    }
}

fn check_tunnel_addresses(node: &Node, resources: &Resources, checks: &mut Checks<'_>) {
    let uses = addresses_in_use(resources);
    for zone in &node.zones {
        let spot = Spot::TunnelAddress(zone.zone.clone());
        let value = format!("tunnel_address {}", zone.tunnel_address);
        if let Some((_, _, words)) =
            uses.iter().find(|(address, ..)| *address == IpAddr::from(zone.tunnel_address))
        {
            checks.error(
                Conflict.of("TunnelAddress"),
                &spot,
                value.clone(),
                format!("it is {words}"),
                "give the tunnels an address of their own",
            );
        }
        let mut vswitches = resources
            .vpcs
            .values()
            .flat_map(|vpc| vpc.vswitches.values())
            .filter(|vswitch| vswitch.zone == zone.zone)
            .peekable();
        let is_known = vswitches.peek().is_some();
        if is_known && !vswitches.any(|vswitch| vswitch.cidr.contains(&zone.tunnel_address)) {
            checks.warning(
                &spot,
                value,
                format!("outside every vSwitch of zone {}", zone.zone),
                "write an address of the interface in that zone's vSwitch",
            );
        }
    }
}
