//! Load balancers and their zones.

mod zone;

use super::rules::is_host_name;
use super::{Declared, Places, Spot};
use crate::config::ErrorFamily::{IllegalParam, OperationDenied};
use crate::config::decode::{At, Field, Head, Report};
use crate::config::file::LoadBalancerEntry;
use crate::model::{AddressType, Edition, IpVersion, LoadBalancer, LoadBalancerName, VpcName};
use zone::{LocalAddresses, OfBalancer, resolve_zone};

/// XR-11.
const ZONES_MAX: usize = 10;

pub(super) fn resolve_load_balancer(
    entry: &LoadBalancerEntry,
    declared: &Declared,
    places: &mut Places,
    report: &mut Report<'_>,
) -> Option<LoadBalancer> {
    let head = &entry.head;
    let name = report.name(head, &entry.name).map(LoadBalancerName::new);
    let edition = report.choice_or(
        head,
        "edition",
        &entry.edition,
        Edition::Standard,
        &[("Basic", Edition::Basic), ("Standard", Edition::Standard)],
        &[("StandardWithWaf", "there is no web application firewall in this program")],
    );
    let address_type = report.choice_or(
        head,
        "address_type",
        &entry.address_type,
        AddressType::Internet,
        &[("Internet", AddressType::Internet), ("Intranet", AddressType::Intranet)],
        &[],
    );
    let address_ip_version = report.choice_or(
        head,
        "address_ip_version",
        &entry.address_ip_version,
        IpVersion::Ipv4,
        &[("IPv4", IpVersion::Ipv4), ("DualStack", IpVersion::DualStack)],
        &[],
    );
    let vpc = report
        .required(head, "vpc", &entry.vpc, "name the VPC the load balancer lives in")
        .and_then(|text| report.reference(head, "VPC", text, &declared.vpcs))
        .map(VpcName::new);
    if let (Some(IpVersion::DualStack), Some(vpc), Some(at)) =
        (address_ip_version, &vpc, entry.address_ip_version.at())
        && declared.vpc_facts.get(vpc.as_str()).is_some_and(|facts| !facts.has_ipv6)
    {
        report.error(
            OperationDenied.of("VpcNotSupportIpv6"),
            at,
            &head.subject,
            "address_ip_version DualStack",
            format!("VPC \"{vpc}\" has no IPv6 CIDR"),
            "write the VPC's and its vSwitches' `ipv6_cidr`, or `address_ip_version: IPv4`",
        );
    }
    let dns_name = report
        .required(head, "dns_name", &entry.dns_name, "write the name that CNAMEs point at")
        .and_then(|text| host_name(head, text, report));
    let back_to_origin_prefix = entry.back_to_origin_prefix.good().and_then(|prefix| {
        if let Some(name) = &name {
            places.set(Spot::BackToOriginPrefix(name.clone()), report.place(prefix.at), &head.subject);
        }
        report.private_cidr(head, "back_to_origin_prefix", prefix)
    });

    if let Some(name) = &name {
        places.set(Spot::LoadBalancer(name.clone()), report.place(head.at), &head.subject);
    }
    let mappings = entry.zone_mappings.items();
    report.required(
        head,
        "zone_mappings",
        &entry.zone_mappings,
        "add a zone with vSwitch, VIP and local addresses",
    );
    if matches!(&entry.zone_mappings, Field::Good(list) if list.is_empty()) || mappings.len() > ZONES_MAX {
        report.error(
            IllegalParam.of("ZoneMappings"),
            head.at,
            &head.subject,
            format!("{} zones", mappings.len()),
            format!("a load balancer is in 1 to {ZONES_MAX} zones"),
            "change `zone_mappings`",
        );
    } else if mappings.len() == 1 {
        report.warning(
            head.at,
            &head.subject,
            "one zone",
            "with a single zone, its loss is the loss of the service",
            "add a second zone",
        );
    }
    report.distinct(("zone", "zone"), mappings.iter().map(|mapping| (&mapping.head, &mapping.zone)));
    let zone_mappings = mappings
        .iter()
        .filter_map(|mapping| {
            let source = match &entry.back_to_origin_prefix {
                Field::Absent => LocalAddresses::FromVswitch,
                Field::Good(_) | Field::Bad => LocalAddresses::FromPrefix(back_to_origin_prefix),
            };
            let balancer = OfBalancer { name: name.as_ref(), vpc: vpc.as_ref(), address_ip_version, source };
            resolve_zone(mapping, &balancer, declared, places, report)
        })
        .collect();
    Some(LoadBalancer {
        name: name?,
        edition: edition?,
        address_type: address_type?,
        address_ip_version: address_ip_version?,
        vpc: vpc?,
        dns_name: dns_name?,
        zone_mappings,
        back_to_origin_prefix,
    })
}

/// The name that CNAMEs point at.
fn host_name(head: &Head, text: &At<String>, report: &mut Report<'_>) -> Option<String> {
    if is_host_name(&text.value) {
        return Some(text.value.clone());
    }
    report.error(
        head.code(IllegalParam, "dns_name"),
        text.at,
        &head.subject,
        format!("dns_name {:?}", text.value),
        "not a host name: labels of letters, digits and inner hyphens, joined by dots",
        "write a name such as alb1.example.org",
    );
    None
}
