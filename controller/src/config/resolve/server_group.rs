//! Server groups and their servers.

use super::health_check::resolve_health_check;
use super::rules::{PRIVATE_RANGES_TEXT, is_private};
use super::{Declared, Places, Spot};
use crate::config::ErrorFamily::{DuplicatedParam, IllegalParam, QuotaExceeded};
use crate::config::decode::{Field, Report};
use crate::config::file::{ServerEntry, ServerGroupEntry};
use crate::model::{
    ConnectionDrain, GroupProtocol, Scheduler, Server, ServerAddress, ServerGroup, ServerGroupName,
    ServerGroupType, SlowStart, VpcName, Weight,
};
use ipnet::Ipv4Net;

/// Servers of one group (SG section 16).
const SERVERS_MAX: usize = 1000;

pub(super) fn resolve_server_group(
    entry: &ServerGroupEntry,
    declared: &Declared,
    places: &mut Places,
    report: &mut Report<'_>,
) -> Option<ServerGroup> {
    let head = &entry.head;
    let name = report.name(head, &entry.name).map(ServerGroupName::new);
    let group_type = report.required(head, "type", &entry.group_type, "write `type: Ip`").and_then(|text| {
        let refused = [
            ("Instance", "groups of inventory instances are not supported yet"),
            ("Fc", "function groups are not supported yet"),
        ];
        report.choice(head, "type", text, &[("Ip", ServerGroupType::Ip)], &refused)
    });
    let vpc = report
        .required(head, "vpc", &entry.vpc, "name the VPC the group belongs to")
        .and_then(|text| report.reference(head, "VPC", text, &declared.vpcs));
    let protocol = report.choice_or(
        head,
        "protocol",
        &entry.protocol,
        GroupProtocol::Http,
        &[("HTTP", GroupProtocol::Http), ("TCP", GroupProtocol::Tcp)],
        &[
            ("HTTPS", "HTTPS to servers is not supported yet"),
            ("gRPC", "gRPC to servers is not supported yet"),
            ("UDP", "UDP is not supported yet"),
        ],
    );
    let scheduler = report.choice_or(
        head,
        "scheduler",
        &entry.scheduler,
        (),
        &[("Wrr", ())],
        &[
            ("Wlc", "weighted least connections is not supported yet"),
            ("Sch", "consistent hashing is not supported yet"),
        ],
    );
    let upstream_keepalive = match &entry.upstream_keepalive {
        Field::Good(flag) => flag.value,
        Field::Absent | Field::Bad => true,
    };
    let health_check = resolve_health_check(&entry.health_check, protocol, head, report);
    let slow_start = resolve_slow_start(entry, report);
    let connection_drain = resolve_connection_drain(entry, report);

    let servers = entry.servers.items();
    if let Some(beyond) = servers.get(SERVERS_MAX) {
        report.error(
            QuotaExceeded.of("ServerGroupServersNum"),
            beyond.head.at,
            &head.subject,
            format!("{} servers", servers.len()),
            format!("a group has at most {SERVERS_MAX} servers"),
            "spread them over several groups",
        );
    }
    let vpc_network = vpc.as_ref().and_then(|vpc| Some((vpc.as_str(), *declared.vpc_cidrs.get(vpc)?)));
    let mut resolved: Vec<Server> = Vec::with_capacity(servers.len());
    let mut identities = std::collections::HashMap::new();
    for entry in servers {
        let Some(server) = resolve_server(entry, vpc_network, report) else { continue };
        if let Some(first) = identities.insert(server.address, entry.head.at) {
            report.error(
                DuplicatedParam.of("Server"),
                entry.head.at,
                &entry.head.subject,
                "",
                format!("the group has this address and port already, on line {}", first.line()),
                "remove one of them; use `weight` to change a server's share",
            );
            continue;
        }
        if let Some(name) = &name {
            let spot = Spot::Server(name.clone(), server.address);
            let at = entry.address.good().map_or(entry.head.at, |address| address.at);
            places.set(spot, report.place(at), &entry.head.subject);
        }
        resolved.push(server);
    }
    if let Some(name) = &name {
        places.set(Spot::ServerGroup(name.clone()), report.place(head.at), &head.subject);
    }
    Some(ServerGroup {
        name: name?,
        group_type: group_type?,
        vpc: Some(VpcName::new(vpc?)),
        protocol: protocol?,
        scheduler: scheduler.map(|()| Scheduler::Wrr)?,
        health_check: health_check?,
        slow_start: slow_start?,
        connection_drain: connection_drain?,
        upstream_keepalive,
        sticky_session: None,
        cross_zone: true,
        ipv6: false,
        tls_verification: None,
        service_name: None,
        ip_version_affinity_mode: None,
        resource_group: None,
        tags: Default::default(),
        servers: resolved,
    })
}

/// The outer `None` is an error, the inner one "off". A section that is there is on unless it says otherwise.
fn resolve_slow_start(entry: &ServerGroupEntry, report: &mut Report<'_>) -> Option<Option<SlowStart>> {
    let section = match &entry.slow_start {
        Field::Absent => return Some(None),
        Field::Bad => return None,
        Field::Good(section) => section,
    };
    let duration = report.seconds(&section.head, "duration", &section.duration, 30..=900, 30)?;
    let is_on = section.enabled.good().is_none_or(|flag| flag.value);
    Some(is_on.then_some(SlowStart { duration }))
}

/// As [`resolve_slow_start`].
fn resolve_connection_drain(
    entry: &ServerGroupEntry,
    report: &mut Report<'_>,
) -> Option<Option<ConnectionDrain>> {
    let section = match &entry.connection_drain {
        Field::Absent => return Some(None),
        Field::Bad => return None,
        Field::Good(section) => section,
    };
    let timeout = report.seconds(&section.head, "timeout", &section.timeout, 0..=900, 300)?;
    let is_on = section.enabled.good().is_none_or(|flag| flag.value);
    Some(is_on.then_some(ConnectionDrain { timeout }))
}

fn resolve_server(
    entry: &ServerEntry,
    vpc: Option<(&str, Ipv4Net)>,
    report: &mut Report<'_>,
) -> Option<Server> {
    let head = &entry.head;
    let port = report.port(head, &entry.port);
    let weight = report
        .number(head, "weight", &entry.weight, 0..=100, 100)
        .and_then(|weight| Weight::new(u32::try_from(weight).ok()?));
    let remote_ip = entry.remote_ip.good().is_some_and(|flag| flag.value);
    let address = report.required(head, "address", &entry.address, "write the server's private IPv4 address");
    let description = match &entry.description {
        Field::Good(text) if is_description(&text.value) => Some(text.value.clone()),
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
        Field::Absent | Field::Bad => None,
    };
    let address = address?;
    let ip = address.value;
    let value = format!("address {ip}");
    let is_remote_flag_known = !matches!(entry.remote_ip, Field::Bad);
    if remote_ip && !is_private(ip) {
        report.error(
            head.code(IllegalParam, "address"),
            address.at,
            &head.subject,
            value,
            format!("a remote server's address lies in {PRIVATE_RANGES_TEXT}"),
            "use the server's private address",
        );
    } else if !is_private(ip) {
        report.error(
            head.code(IllegalParam, "address"),
            address.at,
            &head.subject,
            value,
            "not a private address; servers are reached by private addresses only",
            format!("use the server's address in {PRIVATE_RANGES_TEXT}"),
        );
    } else if let Some((name, cidr)) = vpc
        && is_remote_flag_known
        && !remote_ip
        && !cidr.contains(&ip)
    {
        report.error(
            head.code(IllegalParam, "address"),
            address.at,
            &head.subject,
            value,
            format!("lies outside VPC \"{name}\" ({cidr})"),
            "write `remote_ip: true` for a server in another network",
        );
    }
    Some(Server {
        id: crate::model::ServerId::Ip,
        address: ServerAddress { ip: ip.into(), port: port? },
        weight: weight?,
        remote_ip,
        zone: None,
        description,
        trigger: None,
    })
}

/// SG-35.
fn is_description(text: &str) -> bool {
    (2..=256).contains(&text.chars().count()) && !text.starts_with("http://") && !text.starts_with("https://")
}
