//! Server groups.

use super::health_check::{self, resolve_health_check};
use super::scheduler::resolve_scheduler;
use super::servers::{Known, OfGroup, Resolved, resolve_server};
use super::sticky_session::resolve_sticky_session;
use super::tags::resolve_tags;
use super::tls_verification::resolve_tls_verification;
use super::{Places, Spot};
use crate::config::ErrorFamily::{DuplicatedParam, IllegalParam, OperationDenied, QuotaExceeded};
use crate::config::decode::{Field, Report};
use crate::config::file::ServerGroupEntry;
use crate::model::{
    ConnectionDrain, GroupProtocol, Scheduler, Server, ServerGroup, ServerGroupName, ServerGroupType,
    SlowStart, VpcName,
};
use std::collections::HashMap;

/// Servers of one group (SG section 16).
const SERVERS_MAX: usize = 1000;
/// Characters of labels that we only keep.
const OPAQUE_MAX: usize = 128;

pub(super) fn resolve_server_group(
    entry: &ServerGroupEntry,
    known: &Known<'_>,
    places: &mut Places,
    report: &mut Report<'_>,
) -> Option<ServerGroup> {
    let head = &entry.head;
    let name = report.name(head, &entry.name).map(ServerGroupName::new);
    let types =
        [("Instance", ServerGroupType::Instance), ("Ip", ServerGroupType::Ip), ("Fc", ServerGroupType::Fc)];
    let group_type =
        report.choice_or(head, "type", &entry.group_type, ServerGroupType::Instance, &types, &[]);
    let is_function = group_type == Some(ServerGroupType::Fc);
    if is_function {
        refuse_settings_of_servers(entry, report);
    }
    let vpc = match &entry.vpc {
        // A function is in no network of ours (SG-5).
        _ if is_function => None,
        field => report
            .required(head, "vpc", field, "name the VPC the group belongs to")
            .and_then(|text| report.reference(head, "VPC", text, &known.declared.vpcs))
            .map(VpcName::new),
    };
    let protocol = resolve_protocol(entry, report);
    let scheduler = resolve_scheduler(entry, protocol, report);
    let health_check = resolve_health_check(
        &entry.health_check,
        health_check::OfGroup { head, group_type, protocol },
        report,
    );
    let sticky_session = resolve_sticky_session(&entry.sticky_session, report);
    let slow_start = resolve_slow_start(entry, report);
    let connection_drain = resolve_connection_drain(entry, report);
    let upstream_keepalive = report.flag(&entry.upstream_keepalive, true);
    let cross_zone = report.flag(&entry.cross_zone_enabled, true);
    let ipv6 = report.flag(&entry.ipv6_enabled, false);
    let tls_verification = resolve_tls_verification(&entry.tls_verification, report);
    let service_name = report.opaque(head, "service_name", &entry.service_name, OPAQUE_MAX);
    let resource_group = report.opaque(head, "resource_group", &entry.resource_group, OPAQUE_MAX);
    let ip_version_affinity_mode =
        report.opaque(head, "ip_version_affinity_mode", &entry.ip_version_affinity_mode, OPAQUE_MAX);
    let tags = resolve_tags(head, &entry.tags, report);
    let servers = match group_type {
        Some(group_type) => {
            let group = OfGroup { group_type, vpc: vpc.as_ref(), is_ipv6: ipv6 == Some(true) };
            resolve_servers(entry, name.as_ref(), &group, known, places, report)
        }
        None => Vec::new(),
    };
    if let Some(name) = &name {
        places.set(Spot::ServerGroup(name.clone()), report.place(head.at), &head.subject);
    }
    let vpc = if is_function { None } else { Some(vpc?) };
    let group = ServerGroup {
        name: name?,
        group_type: group_type?,
        vpc,
        protocol: protocol?,
        scheduler: scheduler?,
        health_check: health_check?,
        sticky_session: sticky_session?,
        slow_start: slow_start?,
        connection_drain: connection_drain?,
        upstream_keepalive: upstream_keepalive?,
        cross_zone: cross_zone?,
        ipv6: ipv6?,
        tls_verification: tls_verification?,
        service_name: service_name?,
        ip_version_affinity_mode: ip_version_affinity_mode?,
        resource_group: resource_group?,
        tags: tags?,
        servers,
    };
    if !is_function {
        check_combinations(entry, &group, known, report);
    }
    Some(group)
}

/// SG-20; TCP is ours (D-17).
fn resolve_protocol(entry: &ServerGroupEntry, report: &mut Report<'_>) -> Option<GroupProtocol> {
    let choices = [
        ("HTTP", GroupProtocol::Http),
        ("HTTPS", GroupProtocol::Https),
        ("gRPC", GroupProtocol::Grpc),
        ("TCP", GroupProtocol::Tcp),
    ];
    let refused = [("UDP", "UDP is not supported yet")];
    report.choice_or(&entry.head, "protocol", &entry.protocol, GroupProtocol::Http, &choices, &refused)
}

/// SG-21, SG-60, SG-110, SG-132, SG-152, SG-172.
fn refuse_settings_of_servers(entry: &ServerGroupEntry, report: &mut Report<'_>) {
    let head = &entry.head;
    let written = [
        ("protocol", entry.protocol.at()),
        ("scheduler", entry.scheduler.at()),
        ("uch", entry.uch.at()),
        ("upstream_keepalive", entry.upstream_keepalive.at()),
        ("sticky_session", entry.sticky_session.at()),
        ("slow_start", entry.slow_start.at()),
        ("connection_drain", entry.connection_drain.at()),
        ("cross_zone_enabled", entry.cross_zone_enabled.at()),
        ("ipv6_enabled", entry.ipv6_enabled.at()),
        ("tls_verification", entry.tls_verification.at()),
    ];
    for (key, at) in written {
        let Some(at) = at else { continue };
        let code = head.code(IllegalParam, key);
        report.error(code, at, &head.subject, key, "a group of type Fc has no such setting", "remove it");
    }
}

fn resolve_servers(
    entry: &ServerGroupEntry,
    name: Option<&ServerGroupName>,
    group: &OfGroup<'_>,
    known: &Known<'_>,
    places: &mut Places,
    report: &mut Report<'_>,
) -> Vec<Server> {
    let head = &entry.head;
    let servers = entry.servers.items();
    let is_function = group.group_type == ServerGroupType::Fc;
    if let (true, Some(second)) = (is_function, servers.get(1)) {
        report.error(
            head.code(IllegalParam, "servers"),
            second.head.at,
            &head.subject,
            format!("{} servers", servers.len()),
            "a group of type Fc holds exactly one function",
            "use a group for each function",
        );
    } else if let Some(beyond) = servers.get(SERVERS_MAX) {
        report.error(
            QuotaExceeded.of("ServerGroupServersNum"),
            beyond.head.at,
            &head.subject,
            format!("{} servers", servers.len()),
            format!("a group has at most {SERVERS_MAX} servers"),
            "spread them over several groups",
        );
    }
    if is_function && servers.is_empty() && !matches!(entry.servers, Field::Bad) {
        let remedy = "write `servers: [{function: NAME}]`";
        report.warning(head.at, &head.subject, "no function", "requests for it are answered 503", remedy);
    }
    let mut resolved = Vec::with_capacity(servers.len());
    let mut identities = HashMap::new();
    for entry in servers {
        let Some(Resolved { server, is_follower }) = resolve_server(entry, group, known, report) else {
            continue;
        };
        let head = &entry.head;
        if let Some(first) = identities.insert(server.address, head.at) {
            report.error(
                DuplicatedParam.of("Server"),
                head.at,
                &head.subject,
                "",
                format!("the group has this address and port already, on line {}", first.line()),
                "remove one of them; use `weight` to change a server's share",
            );
            continue;
        }
        if let Some(name) = name {
            let at = entry.address.at().unwrap_or(head.at);
            places.set(Spot::Server(name.clone(), server.address), report.place(at), &head.subject);
            if is_follower {
                places.set(
                    Spot::Follower(name.clone(), server.address),
                    report.place(head.at),
                    &head.subject,
                );
            }
        }
        resolved.push(server);
    }
    resolved
}

/// The outer `None` is an error, the inner one "off". A section that is there is on unless it says otherwise.
fn resolve_slow_start(entry: &ServerGroupEntry, report: &mut Report<'_>) -> Option<Option<SlowStart>> {
    let section = match &entry.slow_start {
        Field::Absent => return Some(None),
        Field::Bad => return None,
        Field::Good(section) => section,
    };
    let duration = report.seconds(&section.head, "duration", &section.duration, 30..=900, 30);
    let is_on = report.flag(&section.enabled, true)?;
    let slow_start = SlowStart { duration: duration? };
    Some(is_on.then_some(slow_start))
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
    let timeout = report.seconds(&section.head, "timeout", &section.timeout, 0..=900, 300);
    let is_on = report.flag(&section.enabled, true)?;
    let drain = ConnectionDrain { timeout: timeout? };
    Some(is_on.then_some(drain))
}

/// Settings of one group that exclude each other, each named where it is written.
fn check_combinations(
    entry: &ServerGroupEntry,
    group: &ServerGroup,
    known: &Known<'_>,
    report: &mut Report<'_>,
) {
    let head = &entry.head;
    let mut denied = |reason: &'static str, at: Option<_>, value: &str, rule: &str, remedy: &str| {
        let at = at.unwrap_or(head.at);
        report.error(OperationDenied.of(reason), at, &head.subject, value, rule, remedy);
    };
    if group.slow_start.is_some() && group.scheduler != Scheduler::Wrr {
        denied(
            "SlowStartRequiresWrr",
            entry.slow_start.at(),
            "slow_start",
            "slow start works with the scheduler Wrr only",
            "write `scheduler: Wrr`, or remove `slow_start`",
        );
    }
    if !group.cross_zone {
        let at = entry.cross_zone_enabled.at();
        let value = "cross_zone_enabled false";
        if group.sticky_session.is_some() {
            denied(
                "StickySessionWithCrossZoneDisabled",
                at,
                value,
                "session persistence needs every server, whatever zone a request enters",
                "remove `cross_zone_enabled: false` or `sticky_session`",
            );
        }
        for server in group.servers.iter().filter(|server| server.remote_ip) {
            denied(
                "RemoteIpWithCrossZoneDisabled",
                at,
                value,
                &format!("server {} is remote, and in no zone", server.address),
                "remove `cross_zone_enabled: false` or the remote server",
            );
        }
        // Of a VPC that is wrong itself, the vSwitches are not known.
        let is_vpc_known = group.vpc.as_ref().is_some_and(|vpc| known.resources.vpcs.contains_key(vpc));
        let is_nowhere = |server: &&Server| is_vpc_known && !server.remote_ip && server.zone.is_none();
        for server in group.servers.iter().filter(is_nowhere) {
            denied(
                "ServerWithoutZoneWithCrossZoneDisabled",
                at,
                value,
                &format!("server {} is in no vSwitch, and so in no zone", server.address),
                "remove `cross_zone_enabled: false`, or add a vSwitch that holds the server's address",
            );
        }
    }
    let has_ipv6 = |vpc: &VpcName| known.declared.vpc_facts.get(vpc.as_str()).is_some_and(|vpc| vpc.has_ipv6);
    if group.ipv6
        && let Some(vpc) = group.vpc.as_ref().filter(|vpc| !has_ipv6(vpc))
    {
        denied(
            "VpcNotSupportIpv6",
            entry.ipv6_enabled.at(),
            "ipv6_enabled true",
            &format!("VPC \"{vpc}\" has no IPv6 CIDR"),
            "write the VPC's `ipv6_cidr`, or remove `ipv6_enabled`",
        );
    }
    if group.tls_verification.is_some() && group.protocol != GroupProtocol::Https {
        denied(
            "TlsVerificationRequiresHttps",
            entry.tls_verification.at(),
            "tls_verification",
            "only servers of protocol HTTPS have certificates",
            "write `protocol: HTTPS`, or remove `tls_verification`",
        );
    }
    if group.is_l4() {
        if group.sticky_session.is_some() {
            denied(
                "StickySessionWithTcp",
                entry.sticky_session.at(),
                "sticky_session",
                "groups of protocol TCP see no cookies",
                "remove it; `scheduler: Sch` keeps clients by their address",
            );
        }
        if group.ipv6 {
            denied(
                "Ipv6WithTcp",
                entry.ipv6_enabled.at(),
                "ipv6_enabled true",
                "IPv6 servers of TCP groups are not supported yet",
                "remove it",
            );
        }
    }
}
