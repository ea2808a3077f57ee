//! Rules of connected networks: CIDRs, attachments, tunnels, routes.

use super::rules::overlap;
use super::{Checks, Spot};
use crate::config::ErrorFamily::{Conflict, DuplicatedParam, Mismatch, OperationDenied};
use crate::model::{
    AttachmentKind, Encapsulation, NextHop, Resources, Route, TransitRouter, TransitRouterName, Vpc, VpcName,
    Vswitch,
};
use crate::routing::{self, Path};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

pub(super) fn check_connectivity(resources: &Resources, checks: &mut Checks<'_>) {
    check_overlaps(resources, checks);
    check_next_hop_identities(resources, checks);
    for router in resources.transit_routers.values() {
        for vpc in attached(router, resources) {
            if vpc.region != router.region {
                checks.error(
                    Mismatch.of("RegionId"),
                    &Spot::Attachment(router.name.clone(), vpc.name.clone()),
                    "",
                    format!("the VPC is in region {}, the transit router in {}", vpc.region, router.region),
                    "attach it to the router of its region, and join the routers as peers",
                );
            }
        }
        for hop in &router.next_hops {
            check_endpoint(router, hop, resources, checks);
        }
    }
    for vpc in resources.vpcs.values() {
        for route in &vpc.routes {
            check_route(vpc, route, resources, checks);
        }
    }
    check_remote_servers(resources, checks);
    check_back_to_origin_prefixes(resources, checks);
}

/// The VPCs attached to `router`.
fn attached<'a>(router: &'a TransitRouter, resources: &'a Resources) -> impl Iterator<Item = &'a Vpc> {
    router.attachments.iter().filter_map(|attachment| match &attachment.kind {
        AttachmentKind::Vpc { vpc, .. } => resources.vpcs.get(vpc),
        AttachmentKind::Peer(_) => None,
    })
}

/// XR-4: VPCs joined by attachments and peers, however far, have no address in common.
fn check_overlaps(resources: &Resources, checks: &mut Checks<'_>) {
    for component in connected_vpcs(resources) {
        let vpcs: Vec<&Vpc> = component.iter().filter_map(|name| resources.vpcs.get(name)).collect();
        for (index, vpc) in vpcs.iter().enumerate() {
            for other in vpcs[..index].iter().filter(|other| overlap(other.cidr, vpc.cidr)) {
                checks.error(
                    Conflict.of("CidrBlock"),
                    &Spot::VpcCidr(vpc.name.clone()),
                    format!("cidr {}", vpc.cidr),
                    format!(
                        "overlaps VPC \"{}\" ({}), to which transit routers connect it",
                        other.name, other.cidr
                    ),
                    "give connected VPCs CIDRs without common addresses, or remove the attachment",
                );
            }
        }
    }
}

/// Groups of VPCs that reach each other.
fn connected_vpcs(resources: &Resources) -> Vec<BTreeSet<VpcName>> {
    let mut neighbours: BTreeMap<&TransitRouterName, BTreeSet<&TransitRouterName>> = BTreeMap::new();
    let mut routers_of: BTreeMap<&VpcName, BTreeSet<&TransitRouterName>> = BTreeMap::new();
    for router in resources.transit_routers.values() {
        for attachment in &router.attachments {
            match &attachment.kind {
                AttachmentKind::Vpc { vpc, .. } => {
                    routers_of.entry(vpc).or_default().insert(&router.name);
                }
                AttachmentKind::Peer(peer) => {
                    neighbours.entry(&router.name).or_default().insert(peer);
                    neighbours.entry(peer).or_default().insert(&router.name);
                }
            }
        }
    }
    // Two routers that share a VPC are joined through it.
    for routers in routers_of.values() {
        for router in routers {
            neighbours.entry(router).or_default().extend(routers);
        }
    }
    let mut components = Vec::new();
    let mut seen: BTreeSet<&TransitRouterName> = BTreeSet::new();
    for router in resources.transit_routers.keys() {
        let mut open = vec![router];
        let mut component = BTreeSet::new();
        while let Some(router) = open.pop() {
            if !seen.insert(router) {
                continue;
            }
            open.extend(neighbours.get(router).into_iter().flatten());
            let joined = routers_of.iter().filter(|(_, routers)| routers.contains(router));
            component.extend(joined.map(|(vpc, _)| (*vpc).clone()));
        }
        components.push(component);
    }
    components
}

/// No two tunnels end at one address with one VNI.
fn check_next_hop_identities(resources: &Resources, checks: &mut Checks<'_>) {
    let mut endpoints: BTreeMap<(Ipv4Addr, Encapsulation), &NextHop> = BTreeMap::new();
    for hop in resources.transit_routers.values().flat_map(|router| &router.next_hops) {
        if let Some(other) = endpoints.insert((hop.address, hop.encapsulation), hop) {
            let Encapsulation::Vxlan { vni, .. } = hop.encapsulation;
            checks.error(
                DuplicatedParam.of("NextHop"),
                &Spot::HopAddress(hop.name.clone()),
                format!("address {} with VNI {vni}", hop.address),
                format!("next hop \"{}\" has this endpoint and VNI", other.name),
                "give each tunnel its own VNI",
            );
        }
    }
}

/// The endpoint's zone and address against the vSwitches behind it, and against the router's own routes.
fn check_endpoint(router: &TransitRouter, hop: &NextHop, resources: &Resources, checks: &mut Checks<'_>) {
    let spot = Spot::HopAddress(hop.name.clone());
    let vswitches: Vec<&Vswitch> =
        attached(router, resources).flat_map(|vpc| vpc.vswitches.values()).collect();
    let in_zone: Vec<&&Vswitch> = vswitches.iter().filter(|vswitch| vswitch.zone == hop.zone).collect();
    if in_zone.is_empty() && !vswitches.is_empty() {
        let zones: BTreeSet<&str> = vswitches.iter().map(|vswitch| vswitch.zone.as_str()).collect();
        checks.error(
            Mismatch.of("ZoneId"),
            &Spot::NextHop(hop.name.clone()),
            format!("zone {}", hop.zone),
            "no VPC attached to this transit router has a vSwitch in that zone",
            format!("zones there: {}", zones.into_iter().collect::<Vec<_>>().join(", ")),
        );
    } else if !in_zone.is_empty() && !in_zone.iter().any(|vswitch| vswitch.cidr.contains(&hop.address)) {
        let cidrs: Vec<String> =
            in_zone.iter().map(|vswitch| format!("{} ({})", vswitch.name, vswitch.cidr)).collect();
        checks.warning(
            &spot,
            format!("address {}", hop.address),
            format!("outside every vSwitch of zone {}", hop.zone),
            format!("an endpoint there has an address of {}", cidrs.join(" or ")),
        );
    }
    for vpc in resources.vpcs.values() {
        let through_itself =
            |route: &&Route| route.transit_router == router.name && route.destination.contains(&hop.address);
        for route in vpc.routes.iter().filter(through_itself) {
            checks.error(
                OperationDenied.of("NextHopThroughItself"),
                &spot,
                format!("address {}", hop.address),
                format!(
                    "route {} of VPC \"{}\" leads to this address through this very tunnel",
                    route.destination, vpc.name
                ),
                "use an endpoint inside the VPC, or narrow the route",
            );
        }
    }
}

/// A route's router is attached to the VPC (XR-50), and can be reached where a balancer needs it.
fn check_route(vpc: &Vpc, route: &Route, resources: &Resources, checks: &mut Checks<'_>) {
    let Some(router) = resources.transit_routers.get(&route.transit_router) else { return };
    let spot = Spot::Route(vpc.name.clone(), route.destination);
    if !attached(router, resources).any(|other| other.name == vpc.name) {
        checks.error(
            Mismatch.of("VpcId"),
            &spot,
            format!("transit_router \"{}\"", router.name),
            format!("VPC \"{}\" is not attached to it", vpc.name),
            format!("add `{{vpc: {}, vswitches: [...]}}` to the router's attachments", vpc.name),
        );
    }
    let has_balancer = resources.load_balancers.values().any(|balancer| balancer.vpc == vpc.name);
    if has_balancer && router.next_hops.is_empty() {
        checks.warning(
            &spot,
            format!("transit_router \"{}\"", router.name),
            "it has no next hops: load balancers of this VPC cannot send over this route",
            "add `next_hops` to the transit router",
        );
    }
}

/// XR-101: reachability is the operator's task, so a missing route is worth a warning only.
fn check_remote_servers(resources: &Resources, checks: &mut Checks<'_>) {
    for group in resources.server_groups.values() {
        for server in group.servers.iter().filter(|server| server.remote_ip) {
            let Some(vpc) = group.vpc.as_ref().filter(|vpc| resources.vpcs.contains_key(vpc)) else {
                continue;
            };
            if routing::resolve(resources, Some(vpc), server.address.ip) == Path::None {
                checks.warning(
                    &Spot::Server(group.name.clone(), server.address),
                    format!("address {}", server.address.ip),
                    format!("VPC \"{vpc}\" has no route to it"),
                    format!("add a route for it to VPC \"{vpc}\""),
                );
            }
        }
    }
}

/// XR-62 and D-6: return routes to a prefix lead to one balancer.
fn check_back_to_origin_prefixes(resources: &Resources, checks: &mut Checks<'_>) {
    let prefixes: Vec<_> = resources
        .load_balancers
        .values()
        .filter_map(|balancer| Some((&balancer.name, balancer.back_to_origin_prefix?)))
        .collect();
    for (index, (name, prefix)) in prefixes.iter().enumerate() {
        let spot = Spot::BackToOriginPrefix((*name).clone());
        let value = format!("back_to_origin_prefix {prefix}");
        for (other, other_prefix) in prefixes[..index].iter().filter(|(_, other)| overlap(*other, *prefix)) {
            checks.error(
                Conflict.of("BackToOriginPrefix"),
                &spot,
                value.clone(),
                format!(
                    "overlaps that of load balancer \"{other}\" ({other_prefix}); answers could go to either"
                ),
                "give each load balancer its own prefix",
            );
        }
        for vpc in resources.vpcs.values().filter(|vpc| overlap(vpc.cidr, *prefix)) {
            checks.error(Conflict.of("BackToOriginPrefix"), 
                &spot,
                value.clone(),
                format!("overlaps VPC \"{}\" ({})", vpc.name, vpc.cidr),
                "use a prefix outside every VPC, such as one of 100.64.0.0/10, or leave it out to use local addresses of the vSwitches",
            );
        }
    }
}
