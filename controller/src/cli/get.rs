//! `causeway get`: how things stand.

use super::table::{Align, Table};
use super::{CliError, Connection, print, to_json};
use crate::api::{
    HealthStatus, Kind, ListenerStatus, LoadBalancerView, NextHopView, PathView, Request, Response,
    RouteTarget, RouteView, ServerView, View,
};
use clap::{Args, ValueEnum};
use std::net::Ipv4Addr;

/// Tables of the default output fit this.
const TERMINAL_COLUMNS: usize = 80;

/// Show load balancers, servers, routes or next hops
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  causeway get servers\n  causeway get next-hops -o json")]
pub(super) struct GetArgs {
    /// What to show
    #[arg(value_enum)]
    kind: Kind,
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t = GetOutput::Table)]
    output: GetOutput,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GetOutput {
    /// What matters most, in 80 columns
    Table,
    /// Everything there is, in columns as wide as need be
    Wide,
    /// For programs
    Json,
}

pub(super) fn get(arguments: &GetArgs) -> Result<(), CliError> {
    match arguments.connection.ask(&Request::Get { kind: arguments.kind })? {
        Response::View { view } if view.kind() == arguments.kind => print(&show(&view, arguments.output)),
        _ => Err(CliError::UnexpectedAnswer),
    }
}

fn show(view: &View, output: GetOutput) -> String {
    let is_wide = output == GetOutput::Wide;
    let width = (!is_wide).then_some(TERMINAL_COLUMNS);
    match (output, view) {
        (GetOutput::Json, View::LoadBalancers(items)) => to_json(items),
        (GetOutput::Json, View::Servers(items)) => to_json(items),
        (GetOutput::Json, View::Routes(items)) => to_json(items),
        (GetOutput::Json, View::NextHops(items)) => to_json(items),
        (_, View::LoadBalancers(items)) => load_balancers(items, is_wide, width),
        (_, View::Servers(items)) if is_wide => servers_wide(items),
        (_, View::Servers(items)) => servers(items, width),
        (_, View::Routes(items)) => routes(items, width),
        (_, View::NextHops(items)) if is_wide => next_hops_wide(items),
        (_, View::NextHops(items)) => next_hops(items, width),
    }
}

/// Two tables: names and listeners, then the addresses in each zone.
fn load_balancers(balancers: &[LoadBalancerView], is_wide: bool, width: Option<usize>) -> String {
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
                let status = match (listener.status, &listener.problem) {
                    (ListenerStatus::Running, None) => String::new(),
                    (status, Some(problem)) if is_wide => format!(" ({status:?}: {problem})"),
                    (status, _) => format!(" ({status:?})"),
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
            let local: Vec<String> = zone.local_addresses.iter().map(Ipv4Addr::to_string).collect();
            zones.row([
                balancer.name.clone(),
                format!("{}{mark}", zone.zone),
                zone.vip.to_string(),
                local.join(", "),
            ]);
        }
    }
    format!("{}\n{}", names.render(width), zones.render(width))
}

fn servers(servers: &[ServerView], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("GROUP", Align::Left),
        ("SERVER", Align::Left),
        ("WEIGHT", Align::Right),
        ("HEALTH", Align::Left),
        ("SINCE", Align::Right),
        ("ACTIVE", Align::Right),
        ("TOTAL", Align::Right),
    ]);
    for server in servers {
        table.row([
            server.group.clone(),
            server.address.to_string(),
            weight(server),
            health(server),
            duration(server.since_secs),
            server.counters.active.to_string(),
            (server.counters.requests + server.counters.flows).to_string(),
        ]);
    }
    table.render(width)
}

fn servers_wide(servers: &[ServerView]) -> String {
    let mut table = Table::new(&[
        ("GROUP", Align::Left),
        ("SERVER", Align::Left),
        ("ZONE", Align::Left),
        ("REMOTE", Align::Left),
        ("PATH", Align::Left),
        ("WEIGHT", Align::Right),
        ("HEALTH", Align::Left),
        ("SINCE", Align::Right),
        ("ACTIVE", Align::Right),
        ("REQUESTS", Align::Right),
        ("CONNECTIONS", Align::Right),
        ("FLOWS", Align::Right),
        ("PACKETS", Align::Right),
        ("BYTES", Align::Right),
        ("DETAIL", Align::Left),
    ]);
    for server in servers {
        let counters = &server.counters;
        let path = match &server.path {
            PathView::Local => "local".to_owned(),
            PathView::TransitRouter { name } => format!("via {name}"),
            PathView::None => "no route".to_owned(),
        };
        let detail = server.failure.as_ref().map_or(String::new(), |failure| {
            match (&failure.actual, &failure.expected) {
                (Some(actual), Some(expected)) => format!("got {actual}, expected {expected}"),
                _ => failure.detail.clone(),
            }
        });
        table.row([
            server.group.clone(),
            server.address.to_string(),
            server.zone.clone().unwrap_or_else(|| "-".to_owned()),
            if server.remote_ip { "yes" } else { "no" }.to_owned(),
            path,
            weight(server),
            health(server),
            duration(server.since_secs),
            counters.active.to_string(),
            counters.requests.to_string(),
            counters.connections.to_string(),
            counters.flows.to_string(),
            (counters.l4.packets + counters.l4.reply_packets).to_string(),
            (counters.l4.bytes + counters.l4.reply_bytes).to_string(),
            detail,
        ]);
    }
    table.render(None)
}

/// `100`, or `12.5/100` where the weight in force is another.
fn weight(server: &ServerView) -> String {
    if server.effective_weight == f64::from(server.weight) {
        return server.weight.to_string();
    }
    let effective = format!("{:.1}", server.effective_weight);
    format!("{}/{}", effective.trim_end_matches(".0"), server.weight)
}

fn health(server: &ServerView) -> String {
    let word = match server.health {
        HealthStatus::Unavailable => "Unavailable (no checks)".to_owned(),
        other => other.as_str().to_owned(),
    };
    let reason = server.failure.as_ref().map_or(String::new(), |failure| format!(" {}", failure.reason));
    let note = match (server.is_draining, server.in_slow_start) {
        (true, _) => ", draining",
        (false, true) => ", slow start",
        (false, false) => "",
    };
    format!("{word}{reason}{note}")
}

fn routes(routes: &[RouteView], width: Option<usize>) -> String {
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

fn next_hops(hops: &[NextHopView], width: Option<usize>) -> String {
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

fn next_hops_wide(hops: &[NextHopView]) -> String {
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

/// `42s`, `3m12s`, `5h07m`, `12d03h`.
pub(super) fn duration(secs: u64) -> String {
    let (minutes, hours, days) = (secs / 60, secs / 3600, secs / 86400);
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{minutes}m{:02}s", secs % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests;
