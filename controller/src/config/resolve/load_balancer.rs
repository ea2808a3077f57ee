//! Load balancers and their zones.

use super::{Declared, Places, Spot};
use crate::config::ErrorFamily::{IllegalParam, Mismatch};
use crate::config::decode::{At, Field, Head, Report};
use crate::config::file::{LoadBalancerEntry, ZoneMappingEntry};
use crate::model::{
    AddressType, Edition, IpVersion, LoadBalancer, LoadBalancerName, VpcName, VswitchName, ZoneMapping,
    ZoneName,
};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// XR-11.
const ZONES_MAX: usize = 10;
/// D-1.
const LOCAL_ADDRESSES_MIN: usize = 2;

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
        &[("IPv4", IpVersion::Ipv4)],
        &[("DualStack", "IPv6 VIPs are not supported yet")],
    );
    let vpc = report
        .required(head, "vpc", &entry.vpc, "name the VPC the load balancer lives in")
        .and_then(|text| report.reference(head, "VPC", text, &declared.vpcs))
        .map(VpcName::new);
    let dns_name = report
        .required(head, "dns_name", &entry.dns_name, "write the name that CNAMEs point at")
        .and_then(|text| host_name(head, text, report));
    let back_to_origin_prefix = entry.back_to_origin_prefix.good().and_then(|prefix| {
        if let Some(name) = &name {
            places.set(Spot::BackToOriginPrefix(name.clone()), report.place(prefix.at), &head.subject);
        }
        report.private_cidr(head, "back_to_origin_prefix", prefix)
    });

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
            let prefix = match &entry.back_to_origin_prefix {
                Field::Absent => LocalAddresses::FromVswitch,
                Field::Good(_) | Field::Bad => LocalAddresses::FromPrefix(back_to_origin_prefix),
            };
            resolve_zone(mapping, vpc.as_ref(), prefix, declared, places, name.as_ref(), report)
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

/// Where local addresses come from (D-1).
#[derive(Clone, Copy)]
enum LocalAddresses {
    FromVswitch,
    /// `None` where the prefix itself is wrong.
    FromPrefix(Option<Ipv4Net>),
}

fn resolve_zone(
    entry: &ZoneMappingEntry,
    vpc: Option<&VpcName>,
    source: LocalAddresses,
    declared: &Declared,
    places: &mut Places,
    load_balancer: Option<&LoadBalancerName>,
    report: &mut Report<'_>,
) -> Option<ZoneMapping> {
    let head = &entry.head;
    let zone = report.label(head, "zone", &entry.zone).map(ZoneName::new);
    let vswitch_text = report.required(head, "vswitch", &entry.vswitch, "name the vSwitch of this zone");
    let vswitch = match (vpc, vswitch_text) {
        (Some(vpc), Some(text)) => {
            let of_vpc = declared.vswitches.get(vpc.as_str()).cloned().unwrap_or_default();
            report.reference(head, "vSwitch", text, &of_vpc)
        }
        _ => None,
    };
    let known = vpc.zip(vswitch.as_ref()).and_then(|(vpc, name)| declared.vswitch(vpc.as_str(), name));
    if let (Some(zone), Some(known), Some(text)) = (&zone, known, vswitch_text)
        && let Some(zone_of_vswitch) = &known.zone
        && zone_of_vswitch != zone.as_str()
    {
        report.error(
            Mismatch.of("ZoneId"),
            text.at,
            &head.subject,
            format!("vswitch \"{}\"", text.value),
            format!("it is in zone {zone_of_vswitch}, not {zone}"),
            "name a vSwitch of this zone",
        );
    }
    let vip = report
        .required(head, "vip", &entry.vip, "write the address clients send to")
        .filter(|vip| is_host_address(head, "vip", vip, None, report));

    let allowed = match source {
        LocalAddresses::FromVswitch => {
            known.and_then(|known| known.cidr).map(|cidr| (cidr, format!("the vSwitch's CIDR {cidr}")))
        }
        LocalAddresses::FromPrefix(prefix) => {
            prefix.map(|prefix| (prefix, format!("the back_to_origin_prefix {prefix}")))
        }
    };
    let local_addresses: Vec<&At<Ipv4Addr>> = entry
        .local_addresses
        .items()
        .iter()
        .filter(|address| is_local_address(head, address, allowed.as_ref(), report))
        .collect();
    let count = entry.local_addresses.items().len();
    if count < LOCAL_ADDRESSES_MIN && !matches!(entry.local_addresses, Field::Bad) {
        report.error(
            head.code(IllegalParam, "local_addresses"),
            head.at,
            &head.subject,
            if count == 1 { "1 local address".to_owned() } else { format!("{count} local addresses") },
            format!("a zone needs at least {LOCAL_ADDRESSES_MIN}: connections to servers come from them"),
            "write `local_addresses: [..., ...]`",
        );
    }
    let (zone, vip) = (zone?, vip?);
    if let Some(load_balancer) = load_balancer {
        let spot = Spot::Zone(load_balancer.clone(), zone.clone());
        places.set(spot, report.place(head.at), &head.subject);
        places.set(Spot::Vip(load_balancer.clone(), zone.clone()), report.place(vip.at), &head.subject);
        for (number, address) in local_addresses.iter().enumerate() {
            let spot = Spot::LocalAddress(load_balancer.clone(), zone.clone(), number);
            places.set(spot, report.place(address.at), &head.subject);
        }
    }
    Some(ZoneMapping {
        zone,
        vswitch: VswitchName::new(vswitch?),
        vip: vip.value,
        ipv6_vip: None,
        ipv6_local_addresses: Vec::new(),
        local_addresses: local_addresses.into_iter().map(|address| address.value).collect(),
    })
}

fn is_local_address(
    head: &Head,
    address: &At<Ipv4Addr>,
    allowed: Option<&(Ipv4Net, String)>,
    report: &mut Report<'_>,
) -> bool {
    let Some((network, words)) = allowed else {
        return is_host_address(head, "local address", address, None, report);
    };
    if network.contains(&address.value) {
        return is_host_address(head, "local address", address, Some(*network), report);
    }
    report.error(
        head.code(IllegalParam, "local_addresses"),
        address.at,
        &head.subject,
        format!("local address {}", address.value),
        format!("not inside {words}"),
        format!("choose a free address of {network}"),
    );
    false
}

/// Whether one host can have `address`, in `network` where it is known.
fn is_host_address(
    head: &Head,
    key: &str,
    address: &At<Ipv4Addr>,
    network: Option<Ipv4Net>,
    report: &mut Report<'_>,
) -> bool {
    let ip = address.value;
    let is_edge = network.is_some_and(|network| {
        network.prefix_len() < 31 && (ip == network.network() || ip == network.broadcast())
    });
    let is_special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_broadcast();
    if is_edge || is_special {
        let rule =
            if is_edge { "the network's own or its broadcast address" } else { "no address of a host" };
        report.error(
            head.code(IllegalParam, key),
            address.at,
            &head.subject,
            format!("{key} {ip}"),
            rule,
            "choose another address",
        );
    }
    !is_edge && !is_special
}

/// A host name (RFC 1123): labels of 1 to 63 letters, digits and inner hyphens, 253 characters in all.
fn host_name(head: &Head, text: &At<String>, report: &mut Report<'_>) -> Option<String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.value.len() <= 253 && text.value.split('.').all(is_label) {
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
