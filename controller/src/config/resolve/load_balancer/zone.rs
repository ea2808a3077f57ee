//! A load balancer in one zone: its VIPs, and the sources of its connections to servers.

use crate::config::ErrorFamily::{IllegalParam, Mismatch, MissingParam, OperationDenied};
use crate::config::decode::{At, Field, Head, Report};
use crate::config::file::ZoneMappingEntry;
use crate::config::resolve::{Declared, Places, Spot, VswitchFacts};
use crate::model::{IpVersion, LoadBalancerName, VpcName, VswitchName, ZoneMapping, ZoneName};
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv6Addr};

/// D-1.
const LOCAL_ADDRESSES_MIN: usize = 2;

/// The load balancer, as far as it could be made out.
pub(super) struct OfBalancer<'a> {
    pub(super) name: Option<&'a LoadBalancerName>,
    pub(super) vpc: Option<&'a VpcName>,
    pub(super) address_ip_version: Option<IpVersion>,
    pub(super) source: LocalAddresses,
}

/// Where IPv4 local addresses come from (D-1).
#[derive(Clone, Copy)]
pub(super) enum LocalAddresses {
    FromVswitch,
    /// `None` where the prefix itself is wrong.
    FromPrefix(Option<Ipv4Net>),
}

pub(super) fn resolve_zone(
    entry: &ZoneMappingEntry,
    balancer: &OfBalancer<'_>,
    declared: &Declared,
    places: &mut Places,
    report: &mut Report<'_>,
) -> Option<ZoneMapping> {
    let head = &entry.head;
    let zone = report.label(head, "zone", &entry.zone).map(ZoneName::new);
    let (vswitch, facts) = resolve_vswitch(entry, balancer, zone.as_ref(), declared, report);
    let vip = report
        .required(head, "vip", &entry.vip, "write the address clients send to")
        .map(At::<IpAddr>::from)
        .filter(|vip| is_host_address(head, ("vip", "vip"), vip, None, report));
    let allowed = match balancer.source {
        LocalAddresses::FromVswitch => facts
            .and_then(|facts| facts.cidr)
            .map(|cidr| (IpNet::V4(cidr), format!("the vSwitch's CIDR {cidr}"))),
        LocalAddresses::FromPrefix(prefix) => {
            prefix.map(|prefix| (IpNet::V4(prefix), format!("the back_to_origin_prefix {prefix}")))
        }
    };
    let locals = Locals { keys: ("local_addresses", "local address"), allowed };
    let local_addresses = locals.resolve(head, &entry.local_addresses, report);
    let ipv6 = resolve_ipv6(entry, balancer, facts, report);
    let (zone, vip) = (zone?, vip?);
    if let Some(name) = balancer.name {
        let mut set = |spot: Spot, at| places.set(spot, report.place(at), &head.subject);
        set(Spot::Zone(name.clone(), zone.clone()), head.at);
        set(Spot::Vip(name.clone(), zone.clone()), vip.at);
        if let Some(at) = entry.ipv6_vip.at() {
            set(Spot::Ipv6Vip(name.clone(), zone.clone()), at);
        }
        for (number, address) in local_addresses.iter().enumerate() {
            set(Spot::LocalAddress(name.clone(), zone.clone(), number), address.at);
        }
        for (number, address) in ipv6.local_addresses.iter().enumerate() {
            set(Spot::Ipv6LocalAddress(name.clone(), zone.clone(), number), address.at);
        }
    }
    Some(ZoneMapping {
        zone,
        vswitch: VswitchName::new(vswitch?),
        vip: entry.vip.good()?.value,
        ipv6_vip: ipv6.vip,
        local_addresses: local_addresses.iter().map(|address| address.value).collect(),
        ipv6_local_addresses: ipv6.local_addresses.iter().map(|address| address.value).collect(),
    })
}

fn resolve_vswitch<'d>(
    entry: &ZoneMappingEntry,
    balancer: &OfBalancer<'_>,
    zone: Option<&ZoneName>,
    declared: &'d Declared,
    report: &mut Report<'_>,
) -> (Option<String>, Option<&'d VswitchFacts>) {
    let head = &entry.head;
    let text = report.required(head, "vswitch", &entry.vswitch, "name the vSwitch of this zone");
    let (Some(vpc), Some(text)) = (balancer.vpc, text) else { return (None, None) };
    let of_vpc = declared.vswitches.get(vpc.as_str()).cloned().unwrap_or_default();
    let Some(name) = report.reference(head, "vSwitch", text, &of_vpc) else { return (None, None) };
    let facts = declared.vswitch(vpc.as_str(), &name);
    if let (Some(zone), Some(zone_of_vswitch)) = (zone, facts.and_then(|facts| facts.zone.as_ref()))
        && zone_of_vswitch != zone.as_str()
    {
        report.error(
            Mismatch.of("ZoneId"),
            text.at,
            &head.subject,
            format!("vswitch \"{name}\""),
            format!("it is in zone {zone_of_vswitch}, not {zone}"),
            "name a vSwitch of this zone",
        );
    }
    (Some(name), facts)
}

/// The IPv6 side of a zone; empty unless the balancer is dual stack.
#[derive(Default)]
struct Ipv6Side<'e> {
    vip: Option<Ipv6Addr>,
    local_addresses: Vec<&'e At<Ipv6Addr>>,
}

fn resolve_ipv6<'e>(
    entry: &'e ZoneMappingEntry,
    balancer: &OfBalancer<'_>,
    facts: Option<&VswitchFacts>,
    report: &mut Report<'_>,
) -> Ipv6Side<'e> {
    let head = &entry.head;
    match balancer.address_ip_version {
        None => return Ipv6Side::default(),
        Some(IpVersion::Ipv4) => {
            let first = entry.ipv6_local_addresses.items().first().map(|address| address.at);
            for (key, at) in [("ipv6_vip", entry.ipv6_vip.at()), ("ipv6_local_addresses", first)] {
                let Some(at) = at else { continue };
                let (code, remedy) =
                    (head.code(IllegalParam, key), "write `address_ip_version: DualStack`, or remove it");
                report.error(code, at, &head.subject, key, "a setting of dual-stack load balancers", remedy);
            }
            return Ipv6Side::default();
        }
        Some(IpVersion::DualStack) => {}
    }
    let vip = report
        .required(head, "ipv6_vip", &entry.ipv6_vip, "write the IPv6 address clients send to")
        .filter(|vip| is_host_address(head, ("ipv6_vip", "ipv6_vip"), &At::from(*vip), None, report))
        .map(|vip| vip.value);
    if facts.is_some_and(|facts| !facts.has_ipv6) {
        let name = entry.vswitch.good().map_or("", |name| &name.value);
        report.error(
            OperationDenied.of("VSwitchNotSupportIpv6"),
            entry.vswitch.at().unwrap_or(head.at),
            &head.subject,
            format!("vswitch \"{name}\""),
            "it has no IPv6 CIDR, and the load balancer is dual stack",
            "write the vSwitch's `ipv6_cidr`",
        );
    }
    let allowed = facts
        .and_then(|facts| facts.ipv6_cidr)
        .map(|cidr| (IpNet::V6(cidr), format!("the vSwitch's CIDR {cidr}")));
    let locals = Locals { keys: ("ipv6_local_addresses", "IPv6 local address"), allowed };
    Ipv6Side { vip, local_addresses: locals.resolve(head, &entry.ipv6_local_addresses, report) }
}

/// Rules of local addresses of one family.
struct Locals {
    /// The setting, and what one of its addresses is called.
    keys: (&'static str, &'static str),
    /// Where they lie, as far as that is known, and what it is called.
    allowed: Option<(IpNet, String)>,
}

impl Locals {
    /// Those that are right.
    fn resolve<'e, A>(
        &self,
        head: &Head,
        field: &'e Field<Vec<At<A>>>,
        report: &mut Report<'_>,
    ) -> Vec<&'e At<A>>
    where
        At<IpAddr>: From<&'e At<A>>,
    {
        let (key, noun) = self.keys;
        let addresses = field.items();
        if addresses.len() < LOCAL_ADDRESSES_MIN && !matches!(field, Field::Bad) {
            let family = if matches!(field, Field::Absent) { MissingParam } else { IllegalParam };
            report.error(
                head.code(family, key),
                head.at,
                &head.subject,
                match addresses.len() {
                    1 => format!("1 {noun}"),
                    count => format!("{count} {noun}es"),
                },
                format!("a zone needs at least {LOCAL_ADDRESSES_MIN}: connections to servers come from them"),
                format!("write `{key}: [..., ...]`"),
            );
        }
        addresses.iter().filter(|address| self.is_right(head, &At::from(*address), report)).collect()
    }

    fn is_right(&self, head: &Head, address: &At<IpAddr>, report: &mut Report<'_>) -> bool {
        let network = self.allowed.as_ref().map(|(network, _)| *network);
        if let Some((network, words)) = &self.allowed
            && !network.contains(&address.value)
        {
            let (key, noun) = self.keys;
            report.error(
                head.code(IllegalParam, key),
                address.at,
                &head.subject,
                format!("{noun} {}", address.value),
                format!("not inside {words}"),
                format!("choose a free address of {network}"),
            );
            return false;
        }
        is_host_address(head, self.keys, address, network, report)
    }
}

/// Whether one host can have `address`, in `network` where it is known.
fn is_host_address(
    head: &Head,
    (key, noun): (&str, &str),
    address: &At<IpAddr>,
    network: Option<IpNet>,
    report: &mut Report<'_>,
) -> bool {
    let ip = address.value;
    // The first IPv6 address of a network is its routers' (RFC 4291 section 2.6.1); there is no broadcast.
    let is_edge = network.is_some_and(|network| {
        let is_broadcast = ip.is_ipv4() && ip == network.broadcast();
        network.prefix_len() < network.max_prefix_len() - 1 && (ip == network.network() || is_broadcast)
    });
    let is_special = ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_multicast()
        || match ip {
            IpAddr::V4(ip) => ip.is_broadcast(),
            // A link-local one means nothing without its link.
            IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some(),
        };
    if is_edge || is_special {
        let rule =
            if is_edge { "the network's own or its broadcast address" } else { "no address of a host" };
        let code = head.code(IllegalParam, key);
        report.error(code, address.at, &head.subject, format!("{noun} {ip}"), rule, "choose another address");
    }
    !is_edge && !is_special
}
