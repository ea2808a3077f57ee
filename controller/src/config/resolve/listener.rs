//! Listeners, and how they fit their load balancer and server group.

use super::{Checks, Declared, Places, Spot};
use crate::config::ErrorFamily::{IllegalParam, Mismatch, OperationDenied, ResourceAlreadyExist};
use crate::config::decode::{Field, Report};
use crate::config::file::ListenerEntry;
use crate::model::{
    Edition, Listener, ListenerName, ListenerProtocol, ListenerTimeouts, LoadBalancerName, Resources,
    ServerGroupName,
};

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
            ("idle_timeout", entry.idle_timeout.good().map(|number| number.at)),
            ("request_timeout", entry.request_timeout.good().map(|number| number.at)),
            ("x_forwarded_for", entry.x_forwarded_for.good().map(|flag| flag.at)),
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
        Field::Good(flag) => flag.value,
        Field::Absent | Field::Bad => true,
    };
    if let Some(name) = &name {
        let at = entry.port.good().map_or(head.at, |port| port.at);
        places.set(Spot::Listener(name.clone()), report.place(head.at), &head.subject);
        places.set(Spot::ListenerPort(name.clone()), report.place(at), &head.subject);
        if let Some(group) = entry.server_group.good() {
            places.set(Spot::ListenerGroup(name.clone()), report.place(group.at), &head.subject);
        }
    }
    Some(Listener {
        name: name?,
        load_balancer: LoadBalancerName::new(load_balancer?),
        protocol: protocol?,
        port: port?,
        server_group: ServerGroupName::new(server_group?),
        timeouts: ListenerTimeouts { idle: idle?, request: request? },
        x_forwarded_for,
        trusted_proxies: None,
    })
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

/// SG-22, SG-5, SG-132 and SG-152.
fn check_group(listener: &Listener, resources: &Resources, checks: &mut Checks<'_>) {
    let Some(group) = resources.server_groups.get(&listener.server_group) else { return };
    let spot = Spot::ListenerGroup(listener.name.clone());
    let value = format!("server group \"{}\"", group.name);
    let mismatch = match (listener.protocol.is_l4(), group.is_l4()) {
        (false, true) => Some(("TCP", "HTTP")),
        (true, false) => Some(("HTTP", "TCP")),
        _ => None,
    };
    if let Some((of_group, of_listener)) = mismatch {
        checks.error(
            Mismatch.of("Protocol"),
            &spot,
            value.clone(),
            format!("its protocol is {of_group}; a listener of protocol {of_listener} needs one of the same"),
            format!("name a group with `protocol: {of_listener}`"),
        );
    }
    let Some(load_balancer) = resources.load_balancers.get(&listener.load_balancer) else { return };
    if let Some(vpc) = group.vpc.as_ref().filter(|vpc| **vpc != load_balancer.vpc) {
        checks.error(
            Mismatch.of("VpcId"),
            &spot,
            value.clone(),
            format!(
                "it belongs to VPC \"{}\", load balancer \"{}\" to VPC \"{}\"",
                vpc, load_balancer.name, load_balancer.vpc
            ),
            "use a group of the load balancer's VPC; servers elsewhere join it with `remote_ip: true`",
        );
    }
    if load_balancer.edition == Edition::Basic {
        let features = [
            ("slow start", group.slow_start.is_some()),
            ("connection draining", group.connection_drain.is_some()),
        ];
        for (feature, _) in features.into_iter().filter(|(_, is_on)| *is_on) {
            checks.error(
                OperationDenied.of("BasicEdition"),
                &spot,
                value.clone(),
                format!("{feature} is on, and load balancer \"{}\" is of edition Basic", load_balancer.name),
                format!("turn {feature} off, or write `edition: Standard`"),
            );
        }
    }
}
