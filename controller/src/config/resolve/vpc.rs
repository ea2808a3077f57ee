//! VPCs, their vSwitches and routes.

use super::rules::overlap;
use super::{Declared, Places, Spot};
use crate::config::ErrorFamily::{Conflict, DuplicatedParam, IllegalParam};
use crate::config::decode::Report;
use crate::config::file::{RouteEntry, VpcEntry, VswitchEntry};
use crate::model::{RegionName, Route, TransitRouterName, Vpc, VpcName, Vswitch, VswitchName, ZoneName};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;

pub(super) fn resolve_vpc(
    entry: &VpcEntry,
    declared: &Declared,
    places: &mut Places,
    report: &mut Report<'_>,
) -> Option<Vpc> {
    let head = &entry.head;
    let name = report.name(head, &entry.name).map(VpcName::new);
    let region = report.label(head, "region", &entry.region).map(RegionName::new);
    let cidr = report
        .required(head, "cidr", &entry.cidr, "write the VPC's primary CIDR")
        .and_then(|cidr| report.private_cidr(head, "cidr", cidr));
    if let (Some(name), Some(cidr)) = (&name, entry.cidr.good()) {
        places.set(Spot::VpcCidr(name.clone()), report.place(cidr.at), &head.subject);
    }
    let vswitches = resolve_vswitches(entry, cidr, report);
    let mut routes: Vec<Route> = Vec::new();
    for route in entry.routes.items() {
        let Some(route) = resolve_route(route, cidr, &routes, declared, report) else { continue };
        routes.push(route);
    }
    for (entry, name) in entry.routes.items().iter().zip(std::iter::repeat(&name)) {
        if let (Some(name), Some(destination)) = (name, entry.destination.good()) {
            let spot = Spot::Route(name.clone(), destination.value);
            places.set(spot, report.place(destination.at), &entry.head.subject);
        }
    }
    Some(Vpc { name: name?, region: region?, cidr: cidr?, ipv6_cidr: None, vswitches, routes })
}

fn resolve_vswitches(
    entry: &VpcEntry,
    vpc_cidr: Option<Ipv4Net>,
    report: &mut Report<'_>,
) -> BTreeMap<VswitchName, Vswitch> {
    let entries = entry.vswitches.items();
    report.distinct(("vSwitch", "name"), entries.iter().map(|entry| (&entry.head, &entry.name)));
    let mut vswitches: Vec<Vswitch> = Vec::new();
    for entry in entries {
        vswitches.extend(resolve_vswitch(entry, vpc_cidr, &vswitches, report));
    }
    vswitches.into_iter().map(|vswitch| (vswitch.name.clone(), vswitch)).collect()
}

fn resolve_vswitch(
    entry: &VswitchEntry,
    vpc_cidr: Option<Ipv4Net>,
    siblings: &[Vswitch],
    report: &mut Report<'_>,
) -> Option<Vswitch> {
    let head = &entry.head;
    let name = report.name(head, &entry.name).map(VswitchName::new);
    let zone = report.label(head, "zone", &entry.zone).map(ZoneName::new);
    let written = report.required(head, "cidr", &entry.cidr, "write a CIDR inside the VPC's")?;
    let cidr = report.cidr(head, "cidr", written)?;
    if let Some(vpc_cidr) = vpc_cidr
        && !vpc_cidr.contains(&cidr)
    {
        report.error(
            head.code(IllegalParam, "cidr"),
            written.at,
            &head.subject,
            format!("cidr {cidr}"),
            format!("not inside the VPC's CIDR {vpc_cidr}"),
            format!("choose a part of {vpc_cidr}"),
        );
    }
    for sibling in siblings.iter().filter(|sibling| overlap(sibling.cidr, cidr)) {
        report.error(
            Conflict.of("CidrBlock"),
            written.at,
            &head.subject,
            format!("cidr {cidr}"),
            format!("overlaps vSwitch \"{}\" ({})", sibling.name, sibling.cidr),
            "choose CIDRs without common addresses",
        );
    }
    Some(Vswitch { name: name?, zone: zone?, cidr, ipv6_cidr: None })
}

fn resolve_route(
    entry: &RouteEntry,
    vpc_cidr: Option<Ipv4Net>,
    earlier: &[Route],
    declared: &Declared,
    report: &mut Report<'_>,
) -> Option<Route> {
    let head = &entry.head;
    let router = report
        .required(head, "transit_router", &entry.transit_router, "name the transit router that carries it")
        .and_then(|text| report.reference(head, "transit router", text, &declared.transit_routers));
    let written = report.required(head, "destination", &entry.destination, "write a CIDR")?;
    let destination = report.cidr(head, "destination", written)?;
    if let Some(vpc_cidr) = vpc_cidr
        && overlap(vpc_cidr, destination)
    {
        report.error(
            Conflict.of("DestinationCidrBlock"),
            written.at,
            &head.subject,
            format!("destination {destination}"),
            format!("overlaps the VPC's own CIDR {vpc_cidr}, which is always local"),
            "route only what lies outside the VPC",
        );
    }
    if earlier.iter().any(|route| route.destination == destination) {
        report.error(
            head.code(DuplicatedParam, "destination"),
            written.at,
            &head.subject,
            format!("destination {destination}"),
            "another route of this VPC has the same destination",
            "keep one of them",
        );
        return None;
    }
    Some(Route { destination, transit_router: TransitRouterName::new(router?) })
}
