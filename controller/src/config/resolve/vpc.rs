//! VPCs, their vSwitches and routes.

use super::rules::overlap;
use super::{Declared, Places, Spot};
use crate::config::ErrorFamily::{Conflict, DuplicatedParam, IllegalParam, OperationDenied};
use crate::config::decode::{At, Field, Head, Report};
use crate::config::file::{RouteEntry, VpcEntry, VswitchEntry};
use crate::model::{RegionName, Route, TransitRouterName, Vpc, VpcName, Vswitch, VswitchName, ZoneName};
use ipnet::{Ipv4Net, Ipv6Net};
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
    let ipv6_cidr = entry.ipv6_cidr.good().and_then(|cidr| report.ipv6_cidr(head, "ipv6_cidr", cidr));
    let networks = Networks { cidr, ipv6_cidr, has_ipv6: !matches!(entry.ipv6_cidr, Field::Absent) };
    let vswitches = resolve_vswitches(entry, networks, report);
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
    Some(Vpc { name: name?, region: region?, cidr: cidr?, ipv6_cidr, vswitches, routes })
}

/// CIDRs of a VPC, as far as they are right.
#[derive(Clone, Copy)]
struct Networks {
    cidr: Option<Ipv4Net>,
    ipv6_cidr: Option<Ipv6Net>,
    /// Whether an IPv6 CIDR is written, right or wrong.
    has_ipv6: bool,
}

fn resolve_vswitches(
    entry: &VpcEntry,
    vpc: Networks,
    report: &mut Report<'_>,
) -> BTreeMap<VswitchName, Vswitch> {
    let entries = entry.vswitches.items();
    report.distinct(("vSwitch", "name"), entries.iter().map(|entry| (&entry.head, &entry.name)));
    let mut vswitches: Vec<Vswitch> = Vec::new();
    for entry in entries {
        vswitches.extend(resolve_vswitch(entry, vpc, &vswitches, report));
    }
    vswitches.into_iter().map(|vswitch| (vswitch.name.clone(), vswitch)).collect()
}

fn resolve_vswitch(
    entry: &VswitchEntry,
    vpc: Networks,
    siblings: &[Vswitch],
    report: &mut Report<'_>,
) -> Option<Vswitch> {
    let head = &entry.head;
    let name = report.name(head, &entry.name).map(VswitchName::new);
    let zone = report.label(head, "zone", &entry.zone).map(ZoneName::new);
    let written = report.required(head, "cidr", &entry.cidr, "write a CIDR inside the VPC's")?;
    let cidr = report.cidr(head, "cidr", written)?;
    if let Some(vpc_cidr) = vpc.cidr
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
    let ipv6_cidr = match &entry.ipv6_cidr {
        Field::Good(written) => resolve_vswitch_ipv6(head, written, vpc, siblings, report),
        Field::Absent | Field::Bad => None,
    };
    Some(Vswitch { name: name?, zone: zone?, cidr, ipv6_cidr })
}

fn resolve_vswitch_ipv6(
    head: &Head,
    written: &At<Ipv6Net>,
    vpc: Networks,
    siblings: &[Vswitch],
    report: &mut Report<'_>,
) -> Option<Ipv6Net> {
    let cidr = report.ipv6_cidr(head, "ipv6_cidr", written)?;
    let value = format!("ipv6_cidr {cidr}");
    if !vpc.has_ipv6 {
        report.error(
            OperationDenied.of("VpcNotSupportIpv6"),
            written.at,
            &head.subject,
            value,
            "the VPC has no IPv6 CIDR",
            "write the VPC's `ipv6_cidr`",
        );
        return None;
    }
    if let Some(vpc_cidr) = vpc.ipv6_cidr.filter(|vpc_cidr| !vpc_cidr.contains(&cidr)) {
        report.error(
            head.code(IllegalParam, "ipv6_cidr"),
            written.at,
            &head.subject,
            value.clone(),
            format!("not inside the VPC's CIDR {vpc_cidr}"),
            format!("choose a part of {vpc_cidr}"),
        );
    }
    for sibling in siblings {
        let Some(other) = sibling.ipv6_cidr.filter(|other| overlap(*other, cidr)) else { continue };
        report.error(
            Conflict.of("Ipv6CidrBlock"),
            written.at,
            &head.subject,
            value.clone(),
            format!("overlaps vSwitch \"{}\" ({other})", sibling.name),
            "choose CIDRs without common addresses",
        );
    }
    Some(cidr)
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
