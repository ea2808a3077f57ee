//! Servers of a group (SG section 3).

use super::functions::Functions;
use super::rules::{PRIVATE_RANGES_TEXT, is_private, list};
use super::{Declared, VpcFacts};
use crate::config::ErrorFamily::{
    IllegalParam, IncorrectStatus, Mismatch, MissingParam, OperationDenied, ResourceNotFound,
};
use crate::config::decode::{At, Field, Head, Report, nearest};
use crate::config::file::ServerEntry;
use crate::model::{
    InstanceKind, NetworkInterface, Resources, Server, ServerAddress, ServerGroupType, ServerId, VpcName,
    Weight, ZoneName,
};
use serde_saphyr::Location;
use std::net::IpAddr;

/// What servers may refer to.
pub(super) struct Known<'a> {
    pub(super) declared: &'a Declared,
    /// VPCs and inventory are resolved before groups.
    pub(super) resources: &'a Resources,
    pub(super) functions: &'a Functions,
}

/// The group, as far as it could be made out.
pub(super) struct OfGroup<'a> {
    pub(super) group_type: ServerGroupType,
    /// `None` where it is wrong, and in groups of type Fc.
    pub(super) vpc: Option<&'a VpcName>,
    pub(super) is_ipv6: bool,
}

impl OfGroup<'_> {
    fn vpc_facts(&self, known: &Known<'_>) -> Option<(&str, VpcFacts)> {
        let name = self.vpc?.as_str();
        known.declared.vpc_facts.get(name).map(|facts| (name, *facts))
    }
}

/// A server, and whether its address is the inventory's, not written.
pub(super) struct Resolved {
    pub(super) server: Server,
    pub(super) is_follower: bool,
}

pub(super) fn resolve_server(
    entry: &ServerEntry,
    group: &OfGroup<'_>,
    known: &Known<'_>,
    report: &mut Report<'_>,
) -> Option<Resolved> {
    let head = &entry.head;
    let is_function = group.group_type == ServerGroupType::Fc;
    let port = match &entry.port {
        Field::Absent if is_function => None,
        field => report.port(head, field),
    };
    let weight = report
        .number(head, "weight", &entry.weight, 0..=100, 100)
        .and_then(|weight| Weight::new(u32::try_from(weight).ok()?));
    let description = resolve_description(entry, report);
    check_type(entry, group.group_type, report)?;
    let remote_ip = report.flag(&entry.remote_ip, false);
    if remote_ip == Some(true) && group.group_type != ServerGroupType::Ip {
        report.error(
            head.code(IllegalParam, "remote_ip"),
            entry.remote_ip.at().unwrap_or(head.at),
            &head.subject,
            "remote_ip true",
            "servers in other networks are named by address, in groups of type Ip",
            "remove it, or use a group with `type: Ip`",
        );
        return None;
    }
    let (id, ip, is_follower) = match group.group_type {
        ServerGroupType::Fc => {
            let inventory = &known.resources.inventory;
            let server = known.functions.resolve_server(entry, description?, inventory, report)?;
            return Some(Resolved { server, is_follower: false });
        }
        ServerGroupType::Ip => {
            let remedy = "write the server's private address";
            let address = report.required(head, "address", &entry.address, remedy)?;
            if let Some(remote_ip) = remote_ip {
                check_address(head, address, remote_ip, entry.remote_ip.at(), group, known, report);
            }
            (ServerId::Ip, address.value, false)
        }
        ServerGroupType::Instance => resolve_member(entry, group, known, report)?,
    };
    let server = Server {
        id,
        address: ServerAddress { ip, port: port? },
        weight: weight?,
        remote_ip: remote_ip?,
        zone: zone_of(ip, group, known),
        description: description?,
        trigger: None,
    };
    Some(Resolved { server, is_follower })
}

/// SG-175.
fn zone_of(ip: IpAddr, group: &OfGroup<'_>, known: &Known<'_>) -> Option<ZoneName> {
    known.resources.vpcs.get(group.vpc?)?.vswitch_of(ip).map(|vswitch| vswitch.zone.clone())
}

/// SG-35; the outer `None` is an error.
fn resolve_description(entry: &ServerEntry, report: &mut Report<'_>) -> Option<Option<String>> {
    let head = &entry.head;
    match &entry.description {
        Field::Absent => Some(None),
        Field::Bad => None,
        Field::Good(text) if is_description(&text.value) => Some(Some(text.value.clone())),
        Field::Good(text) => {
            report.error(
                head.code(IllegalParam, "description"),
                text.at,
                &head.subject,
                "description",
                "2 to 256 characters, not beginning with http:// or https://",
                "shorten or reword it",
            );
            None
        }
    }
}

fn is_description(text: &str) -> bool {
    (2..=256).contains(&text.chars().count()) && !text.starts_with("http://") && !text.starts_with("https://")
}

/// SG-32: what is named fits the type of the group, and is one thing.
fn check_type(entry: &ServerEntry, group_type: ServerGroupType, report: &mut Report<'_>) -> Option<()> {
    use ServerGroupType::{Fc, Instance, Ip};
    let head = &entry.head;
    let named: Vec<(&str, ServerGroupType, Location)> = [
        ("ecs", Instance, entry.ecs.at()),
        ("eni", Instance, entry.eni.at()),
        ("eci", Instance, entry.eci.at()),
        ("fc", Fc, entry.fc.at()),
        ("function", Fc, entry.function.at()),
    ]
    .into_iter()
    .filter_map(|(key, of_type, at)| Some((key, of_type, at?)))
    .collect();
    let expected = match group_type {
        Instance => "`ecs`, `eni` or `eci`",
        Ip => "`address`",
        Fc => "`fc` or `function`",
    };
    for (key, _, at) in named.iter().filter(|(_, of_type, _)| *of_type != group_type) {
        report.error(
            Mismatch.of("ServerType"),
            *at,
            &head.subject,
            *key,
            format!("servers of a group of type {group_type:?} are named by {expected}"),
            format!("name it by {expected}, or use a group of another type"),
        );
    }
    let has_wrong = named.iter().any(|(_, of_type, _)| *of_type != group_type);
    let is_bad = [&entry.ecs, &entry.eni, &entry.eci, &entry.fc, &entry.function]
        .iter()
        .any(|field| matches!(field, Field::Bad));
    if has_wrong || is_bad {
        return None;
    }
    if group_type == Ip || named.len() == 1 {
        return Some(());
    }
    if let Some((_, _, at)) = named.get(1) {
        report.error(
            head.code(IllegalParam, "server_type"),
            *at,
            &head.subject,
            named.iter().map(|(key, ..)| *key).collect::<Vec<_>>().join(", "),
            "a server is one thing",
            "write an entry for each",
        );
    } else if let Some(at) = entry.address.at() {
        report.error(
            Mismatch.of("ServerType"),
            at,
            &head.subject,
            "address",
            format!("servers of a group of type {group_type:?} are named by {expected}"),
            format!("name it by {expected}, or write `type: Ip` for a group of addresses"),
        );
    } else {
        report.error(
            MissingParam.of("ServerId"),
            head.at,
            &head.subject,
            "",
            format!("servers of a group of type {group_type:?} are named by {expected}"),
            format!("write one of {expected}"),
        );
    }
    None
}

/// Rules of an address that stands for itself: SG-41, SG-51, SG-52, SG-63, SG-64.
fn check_address(
    head: &Head,
    address: &At<IpAddr>,
    remote_ip: bool,
    remote_at: Option<Location>,
    group: &OfGroup<'_>,
    known: &Known<'_>,
    report: &mut Report<'_>,
) {
    if group.is_ipv6 && remote_ip {
        report.error(
            head.code(IllegalParam, "remote_ip"),
            remote_at.unwrap_or(head.at),
            &head.subject,
            "remote_ip true",
            "servers of an IPv6 group lie in its VPC",
            "remove it, or use a group without `ipv6_enabled`",
        );
        return;
    }
    let value = format!("address {}", address.value);
    let ip = match address.value {
        IpAddr::V6(_) => return check_ipv6(head, address, group, known, report),
        IpAddr::V4(_) if group.is_ipv6 => {
            report.error(
                head.code(IllegalParam, "address"),
                address.at,
                &head.subject,
                value,
                "an IPv6 group of type Ip takes IPv6 addresses only",
                "write the server's IPv6 address, or use a group without `ipv6_enabled`",
            );
            return;
        }
        IpAddr::V4(ip) => ip,
    };
    let (rule, remedy) = if remote_ip && !is_private(ip) {
        let rule = format!("a remote server's address lies in {PRIVATE_RANGES_TEXT}");
        (rule, "use the server's private address".to_owned())
    } else if !is_private(ip) {
        let rule = "not a private address; servers are reached by private addresses only".to_owned();
        (rule, format!("use the server's address in {PRIVATE_RANGES_TEXT}"))
    } else if let Some((name, VpcFacts { cidr: Some(cidr), .. })) = group.vpc_facts(known)
        && !remote_ip
        && !cidr.contains(&ip)
    {
        let rule = format!("lies outside VPC \"{name}\" ({cidr})");
        (rule, "write `remote_ip: true` for a server in another network".to_owned())
    } else {
        return;
    };
    report.error(head.code(IllegalParam, "address"), address.at, &head.subject, value, rule, remedy);
}

/// SG-64, SG-63 and D-10.
fn check_ipv6(
    head: &Head,
    address: &At<IpAddr>,
    group: &OfGroup<'_>,
    known: &Known<'_>,
    report: &mut Report<'_>,
) {
    let value = format!("address {}", address.value);
    if !group.is_ipv6 {
        report.error(
            OperationDenied.of("ServerGroupNotSupportIpv6"),
            address.at,
            &head.subject,
            value,
            "the group has no IPv6",
            "write `ipv6_enabled: true` in the group",
        );
        return;
    }
    if let Some((name, VpcFacts { ipv6_cidr: Some(cidr), .. })) = group.vpc_facts(known)
        && !ipnet::IpNet::V6(cidr).contains(&address.value)
    {
        report.error(
            head.code(IllegalParam, "address"),
            address.at,
            &head.subject,
            value,
            format!("lies outside the IPv6 CIDR of VPC \"{name}\" ({cidr})"),
            format!("use the server's address in {cidr}"),
        );
    }
}

/// A server that is named by an id of the inventory: its identity, its address, and whether that is the inventory's.
fn resolve_member(
    entry: &ServerEntry,
    group: &OfGroup<'_>,
    known: &Known<'_>,
    report: &mut Report<'_>,
) -> Option<(ServerId, IpAddr, bool)> {
    let found = match (entry.ecs.good(), entry.eni.good(), entry.eci.good()) {
        (Some(text), _, _) => {
            (ServerId::Ecs(text.value.clone()), instance(entry, text, InstanceKind::Ecs, known, report)?)
        }
        (_, Some(text), _) => (ServerId::Eni(text.value.clone()), interface(entry, text, known, report)?),
        (_, _, Some(text)) => {
            (ServerId::Eci(text.value.clone()), instance(entry, text, InstanceKind::Eci, known, report)?)
        }
        (None, None, None) => return None,
    };
    let (id, (interfaces, at)) = found;
    let head = &entry.head;
    if let (Some(interface), Some(vpc)) = (interfaces.first(), group.vpc)
        && interface.vpc != *vpc
    {
        report.error(
            Mismatch.of("VpcId"),
            at,
            &head.subject,
            format!("VPC \"{}\"", interface.vpc),
            format!("the group belongs to VPC \"{vpc}\""),
            "use a server of the group's VPC, or its address with `remote_ip: true` in a group of type Ip",
        );
        return None;
    }
    let address = match &entry.address {
        Field::Bad => return None,
        // The primary address of the primary interface (SG-6).
        Field::Absent => return Some((id, *interfaces.first()?.addresses.first()?, true)),
        Field::Good(address) => address,
    };
    let is_held = interfaces.iter().any(|interface| {
        interface.addresses.contains(&address.value) || interface.ipv6_addresses.contains(&address.value)
    });
    if address.value.is_ipv6() || !is_held {
        check_address(
            head,
            address,
            false,
            None,
            &OfGroup { is_ipv6: group.is_ipv6 && address.value.is_ipv6(), ..*group },
            known,
            report,
        );
    }
    if !is_held && !interfaces.is_empty() {
        let current: Vec<String> = interfaces
            .iter()
            .flat_map(|interface| interface.addresses.iter().chain(&interface.ipv6_addresses))
            .map(IpAddr::to_string)
            .collect();
        report.warning(
            address.at,
            &head.subject,
            format!("address {}", address.value),
            "the inventory has it at another address now; this one is probed and sent to until you change it",
            format!("remove `address` to follow the inventory; addresses there: {}", current.join(", ")),
        );
    }
    Some((id, address.value, false))
}

/// Interfaces of what is named, the primary one first, and where it is named; none where it is released and only its
/// address is known.
type Interfaces<'a> = (Vec<&'a NetworkInterface>, Location);

fn instance<'a>(
    entry: &ServerEntry,
    text: &At<String>,
    kind: InstanceKind,
    known: &Known<'a>,
    report: &mut Report<'_>,
) -> Option<Interfaces<'a>> {
    let head = &entry.head;
    let inventory = &known.resources.inventory;
    let Some(instance) = inventory.instances.get(&text.value) else {
        if known.declared.instances.contains_key(&text.value) {
            return None;
        }
        let ids: Vec<&str> = inventory
            .instances
            .values()
            .filter(|instance| instance.kind == kind)
            .map(|instance| instance.id.as_str())
            .collect();
        return not_found(entry, text, &format!("{kind:?}"), &ids, report);
    };
    if instance.kind != kind {
        report.error(
            Mismatch.of("ServerType"),
            text.at,
            &head.subject,
            format!("id {}", text.value),
            format!("the instance is of type {:?}", instance.kind),
            format!("write `{}: {}`", format!("{:?}", instance.kind).to_lowercase(), text.value),
        );
        return None;
    }
    let interfaces: Vec<&NetworkInterface> =
        instance.interfaces.iter().filter_map(|id| inventory.interfaces.get(id)).collect();
    // An instance without interfaces was reported.
    (!interfaces.is_empty()).then_some((interfaces, text.at))
}

fn interface<'a>(
    entry: &ServerEntry,
    text: &At<String>,
    known: &Known<'a>,
    report: &mut Report<'_>,
) -> Option<Interfaces<'a>> {
    let inventory = &known.resources.inventory;
    let Some(interface) = inventory.interfaces.get(&text.value) else {
        if known.declared.interfaces.contains_key(&text.value) {
            return None;
        }
        let ids: Vec<&str> = inventory.interfaces.keys().map(String::as_str).collect();
        return not_found(entry, text, "Eni", &ids, report);
    };
    if interface.instance.is_none() {
        report.error(
            IncorrectStatus.of("Eni"),
            text.at,
            &entry.head.subject,
            format!("id {}", text.value),
            "the interface is bound to no instance",
            "list it in the `interfaces` of an instance",
        );
        return None;
    }
    Some((vec![interface], text.at))
}

/// An error, or a warning where the address is written: that is probed until the server is removed (SG-40).
fn not_found<'a>(
    entry: &ServerEntry,
    text: &At<String>,
    kind: &str,
    ids: &[&str],
    report: &mut Report<'_>,
) -> Option<Interfaces<'a>> {
    let head = &entry.head;
    let value = format!("id {}", text.value);
    let rule = "the inventory has none of that id";
    let hint = nearest(&text.value, ids).map(|near| format!("did you mean {near}? ")).unwrap_or_default();
    if let Some(address) = entry.address.good() {
        let rule = format!("{rule}; address {} is probed and sent to all the same", address.value);
        report.warning(text.at, &head.subject, value, rule, format!("{hint}remove the server if it is gone"));
        return Some((Vec::new(), text.at));
    }
    let remedy = format!("{hint}defined: {}", list(ids.iter().copied()));
    report.error(ResourceNotFound.of(kind.to_owned()), text.at, &head.subject, value, rule, remedy);
    None
}
