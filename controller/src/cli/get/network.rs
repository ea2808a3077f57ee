//! Tables of load balancers, listeners, routes and next hops.

use super::show_optional;
use crate::api::{
    ListenerStatus, ListenerView, LoadBalancerView, NextHopView, RouteTarget, RouteView, ZoneView,
};
use crate::cli::table::{Align, Table};

/// Two tables: names and listeners, then the addresses in each zone.
pub(super) fn load_balancers(balancers: &[LoadBalancerView], is_wide: bool, width: Option<usize>) -> String {
    let mut names = Table::new(&[
        ("NAME", Align::Left),
        ("EDITION", Align::Left),
        ("TYPE", Align::Left),
        ("DNS NAME", Align::Left),
        ("LISTENERS", Align::Left),
    ]);
    let mut zones = Table::new(&[
        ("NAME", Align::Left),
        ("ZONE", Align::Left),
        ("VIP", Align::Left),
        ("LOCAL ADDRESSES", Align::Left),
    ]);
    for balancer in balancers {
        let listeners: Vec<String> = balancer
            .listeners
            .iter()
            .map(|listener| {
                let status = match listener.status {
                    ListenerStatus::Running => String::new(),
                    _ => format!(" ({})", status(listener, is_wide)),
                };
                format!("{} {}{status}", listener.protocol, listener.port)
            })
            .collect();
        names.row([
            balancer.name.clone(),
            balancer.edition.clone(),
            balancer.address_type.clone(),
            balancer.dns_name.clone(),
            listeners.join(", "),
        ]);
        for zone in &balancer.zones {
            let mark = if zone.served_here { "" } else { " (other node)" };
            zones.row([
                balancer.name.clone(),
                format!("{}{mark}", zone.zone),
                vips(zone),
                local_addresses(zone),
            ]);
        }
    }
    format!("{}\n{}", names.render(width), zones.render(width))
}

/// Addresses clients send to.
pub(in crate::cli) fn vips(zone: &ZoneView) -> String {
    let addresses = std::iter::once(zone.vip.to_string()).chain(zone.ipv6_vip.map(|vip| vip.to_string()));
    addresses.collect::<Vec<_>>().join(", ")
}

pub(in crate::cli) fn local_addresses(zone: &ZoneView) -> String {
    let of_v4 = zone.local_addresses.iter().map(ToString::to_string);
    let of_v6 = zone.ipv6_local_addresses.iter().map(ToString::to_string);
    of_v4.chain(of_v6).collect::<Vec<_>>().join(", ")
}

/// `Running`, or what else and, where there is room, why.
fn status(listener: &ListenerView, is_wide: bool) -> String {
    match &listener.problem {
        Some(problem) if is_wide => format!("{:?}: {problem}", listener.status),
        _ => format!("{:?}", listener.status),
    }
}

pub(super) fn listeners(listeners: &[ListenerView], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("LOAD BALANCER", Align::Left),
        ("PROTOCOL", Align::Left),
        ("PORT", Align::Right),
        ("SERVER GROUP", Align::Left),
        ("STATUS", Align::Left),
    ]);
    for listener in listeners {
        table.row([
            listener.name.clone(),
            listener.load_balancer.clone(),
            listener.protocol.clone(),
            listener.port.to_string(),
            listener.server_group.clone(),
            status(listener, false),
        ]);
    }
    table.render(width)
}

pub(super) fn listeners_wide(listeners: &[ListenerView]) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("LOAD BALANCER", Align::Left),
        ("PROTOCOL", Align::Left),
        ("PORT", Align::Right),
        ("SERVER GROUP", Align::Left),
        ("IDLE TIMEOUT", Align::Right),
        ("REQUEST TIMEOUT", Align::Right),
        ("X-FORWARDED-FOR", Align::Left),
        ("STATUS", Align::Left),
    ]);
    let seconds = |secs: Option<u64>| show_optional(secs.map(|secs| format!("{secs}s")));
    for listener in listeners {
        table.row([
            listener.name.clone(),
            listener.load_balancer.clone(),
            listener.protocol.clone(),
            listener.port.to_string(),
            listener.server_group.clone(),
            seconds(listener.idle_timeout_secs),
            seconds(listener.request_timeout_secs),
            if listener.x_forwarded_for { "yes" } else { "no" }.to_owned(),
            status(listener, true),
        ]);
    }
    table.render(None)
}

pub(super) fn routes(routes: &[RouteView], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("VPC", Align::Left),
        ("DESTINATION", Align::Left),
        ("TARGET", Align::Left),
        ("NEXT HOPS", Align::Left),
    ]);
    for route in routes {
        let (target, hops) = match &route.target {
            RouteTarget::Local => ("local".to_owned(), "-".to_owned()),
            RouteTarget::TransitRouter { name, next_hops } if next_hops.is_empty() => {
                (name.clone(), "none".to_owned())
            }
            RouteTarget::TransitRouter { name, next_hops } => (name.clone(), next_hops.join(", ")),
        };
        table.row([route.vpc.clone(), route.destination.clone(), target, hops]);
    }
    table.render(width)
}

pub(super) fn next_hops(hops: &[NextHopView], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("ZONE", Align::Left),
        ("ENDPOINT", Align::Left),
        ("TUNNEL", Align::Left),
        ("WEIGHT", Align::Right),
        ("SENT", Align::Right),
        ("RECEIVED", Align::Right),
    ]);
    for hop in hops {
        table.row([
            hop.name.clone(),
            hop.zone.clone(),
            hop.address.to_string(),
            hop.encapsulation.clone(),
            hop.weight.to_string(),
            hop.counters.packets.to_string(),
            hop.counters.reply_packets.to_string(),
        ]);
    }
    table.render(width)
}

pub(super) fn next_hops_wide(hops: &[NextHopView]) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("ROUTER", Align::Left),
        ("ZONE", Align::Left),
        ("ENDPOINT", Align::Left),
        ("FROM", Align::Left),
        ("TUNNEL", Align::Left),
        ("MTU", Align::Right),
        ("WEIGHT", Align::Right),
        ("SENT", Align::Right),
        ("SENT BYTES", Align::Right),
        ("RECEIVED", Align::Right),
        ("RECEIVED BYTES", Align::Right),
    ]);
    for hop in hops {
        let from = hop.from.as_ref();
        table.row([
            hop.name.clone(),
            hop.transit_router.clone(),
            hop.zone.clone(),
            hop.address.to_string(),
            from.map_or("another node".to_owned(), |(interface, address)| {
                format!("{address} on {interface}")
            }),
            hop.encapsulation.clone(),
            hop.mtu.to_string(),
            hop.weight.to_string(),
            hop.counters.packets.to_string(),
            hop.counters.bytes.to_string(),
            hop.counters.reply_packets.to_string(),
            hop.counters.reply_bytes.to_string(),
        ]);
    }
    table.render(None)
}
