//! Listeners, and how they fit their load balancer and server group.

use super::attachment::{Listening, misfits_of_balancer, misfits_of_listener};
use super::{Checks, Declared, Places, Spot};
use crate::config::ErrorFamily::{IllegalParam, ResourceAlreadyExist};
use crate::config::decode::{Field, Report};
use crate::config::file::ListenerEntry;
use crate::model::{
    ForwardedHeaders, Listener, ListenerName, ListenerProtocol, ListenerTimeouts, LoadBalancer,
    LoadBalancerName, Resources, Server, ServerGroup, ServerGroupName, Weight, XForwardedFor,
};
use ipnet::IpNet;

pub(super) fn resolve_listener(
    entry: &ListenerEntry,
    declared: &Declared,
    places: &mut Places,
    report: &mut Report<'_>,
) -> Option<Listener> {
    let head = &entry.head;
    let name = report.name(head, &entry.name).map(ListenerName::new);
    let load_balancer = report
        .required(head, "load_balancer", &entry.load_balancer, "name the load balancer it belongs to")
        .and_then(|text| report.reference(head, "load balancer", text, &declared.load_balancers));
    let server_group = report
        .required(head, "server_group", &entry.server_group, "name the server group it forwards to")
        .and_then(|text| report.reference(head, "server group", text, &declared.server_groups));
    let protocol = report.required(head, "protocol", &entry.protocol, "write HTTP or TCP").and_then(|text| {
        report.choice(
            head,
            "protocol",
            text,
            &[("HTTP", ListenerProtocol::Http), ("TCP", ListenerProtocol::Tcp)],
            &[
                ("HTTPS", "HTTPS listeners are not supported yet"),
                ("QUIC", "QUIC listeners are not supported yet"),
                ("UDP", "UDP listeners are not supported yet"),
            ],
        )
    });
    let port = report.port(head, &entry.port);
    let idle = report.seconds(head, "idle_timeout", &entry.idle_timeout, 1..=600, 15);
    let request = report.seconds(head, "request_timeout", &entry.request_timeout, 1..=600, 60);
    if protocol == Some(ListenerProtocol::Tcp) {
        let places_of_http_settings = [
            ("idle_timeout", entry.idle_timeout.at()),
            ("request_timeout", entry.request_timeout.at()),
            ("x_forwarded_for", entry.x_forwarded_for.at()),
            ("trusted_proxies", entry.trusted_proxies.items().first().map(|cidr| cidr.at)),
        ];
        for (key, at) in places_of_http_settings {
            if let Some(at) = at {
                report.error(
                    head.code(IllegalParam, key),
                    at,
                    &head.subject,
                    key,
                    "a setting of HTTP listeners only",
                    "remove it",
                );
            }
        }
    }
    let x_forwarded_for = match &entry.x_forwarded_for {
        Field::Good(flag) if !flag.value => XForwardedFor::Pass,
        _ => XForwardedFor::Append,
    };
    let trusted_proxies = resolve_trusted_proxies(entry, report);
    if let Some(name) = &name {
        let at = entry.port.good().map_or(head.at, |port| port.at);
        places.set(Spot::Listener(name.clone()), report.place(head.at), &head.subject);
        places.set(Spot::ListenerPort(name.clone()), report.place(at), &head.subject);
        if let Some(group) = entry.server_group.good() {
            places.set(Spot::ListenerGroup(name.clone()), report.place(group.at), &head.subject);
        }
    }
    let (name, load_balancer) = (name?, LoadBalancerName::new(load_balancer?));
    Some(Listener {
        protocol: protocol?,
        timeouts: ListenerTimeouts { idle: idle?, request: request? },
        forwarded: ForwardedHeaders { x_forwarded_for, ..ForwardedHeaders::default() },
        trusted_proxies: trusted_proxies?,
        ..Listener::new(name.as_str(), &load_balancer, port?, &ServerGroupName::new(server_group?))
    })
}

/// The outer `None` is an error, the inner one "no proxy is believed" (LR-44, SG-88).
fn resolve_trusted_proxies(entry: &ListenerEntry, report: &mut Report<'_>) -> Option<Option<Vec<IpNet>>> {
    let head = &entry.head;
    let cidrs = match &entry.trusted_proxies {
        Field::Absent => return Some(None),
        Field::Bad => return None,
        Field::Good(cidrs) => cidrs,
    };
    if cidrs.is_empty() {
        report.error(
            head.code(IllegalParam, "trusted_proxies"),
            head.at,
            &head.subject,
            "trusted_proxies",
            "no proxy could be believed",
            "list the proxies' CIDRs, or remove it to take the peer for the client",
        );
        return None;
    }
    let networks: Vec<IpNet> =
        cidrs.iter().filter_map(|cidr| report.any_cidr(head, "trusted_proxies", cidr)).collect();
    Some(Some(networks))
}

/// Rules between listeners, load balancers and server groups.
pub(super) fn check_listeners(resources: &Resources, checks: &mut Checks<'_>) {
    for listener in resources.listeners.values() {
        check_port(listener, resources, checks);
        check_group(listener, resources, checks);
    }
}

/// (load balancer, port, transport) is unique (LR-3); HTTP and TCP share the transport.
fn check_port(listener: &Listener, resources: &Resources, checks: &mut Checks<'_>) {
    let same = |other: &&Listener| {
        other.name < listener.name
            && other.load_balancer == listener.load_balancer
            && other.port == listener.port
    };
    if let Some(other) = resources.listeners.values().find(same) {
        checks.error(
            ResourceAlreadyExist.of("Listener"),
            &Spot::ListenerPort(listener.name.clone()),
            format!("port {}", listener.port),
            format!("listener \"{}\" has this port of load balancer \"{}\"", other.name, other.load_balancer),
            "choose another port",
        );
    }
}

/// The group fits the listener and its load balancer.
fn check_group(listener: &Listener, resources: &Resources, checks: &mut Checks<'_>) {
    let Some(group) = resources.server_groups.get(&listener.server_group) else { return };
    let spot = Spot::ListenerGroup(listener.name.clone());
    let value = format!("server group \"{}\"", group.name);
    let balancer = resources.load_balancers.get(&listener.load_balancer);
    // HTTP/2 is on wherever HTTPS is (LR section 2).
    let listening = Listening { protocol: listener.protocol, http2: true };
    let mut misfits = misfits_of_listener(listening, balancer.map(|balancer| balancer.edition), group);
    if let Some(balancer) = balancer {
        let region = resources.vpcs.get(&balancer.vpc).map(|vpc| &vpc.region);
        misfits.extend(misfits_of_balancer(balancer, region, group));
        if !group.cross_zone {
            warn_of_empty_zones(balancer, group, &spot, checks);
        }
    }
    for misfit in misfits {
        checks.error(misfit.code, &spot, value.clone(), misfit.rule, misfit.remedy);
    }
}

/// SG-173: with cross-zone balancing off, a zone without servers answers 503.
fn warn_of_empty_zones(balancer: &LoadBalancer, group: &ServerGroup, spot: &Spot, checks: &mut Checks<'_>) {
    for mapping in &balancer.zone_mappings {
        let serves =
            |server: &Server| server.weight != Weight::ZERO && server.zone.as_ref() == Some(&mapping.zone);
        if !group.servers.iter().any(serves) {
            checks.warning(
                spot,
                format!("server group \"{}\"", group.name),
                format!(
                    "it has no server with a weight in zone {}, and cross-zone balancing is off: what enters there \
                     is not served",
                    mapping.zone
                ),
                "add a server in that zone, or turn cross-zone balancing on",
            );
        }
    }
}
