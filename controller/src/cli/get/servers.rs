//! Tables of servers, and what is said of one.

use super::{duration, show_optional};
use crate::api::{DrainView, EventView, EvidenceView, FailureView, HealthStatus, PathView, ServerView};
use crate::cli::table::{Align, Table};

pub(super) fn servers(servers: &[ServerView], width: Option<usize>) -> String {
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
            name(server),
            weight(server),
            health(server),
            duration(server.since_secs),
            server.counters.active.to_string(),
            (server.counters.requests + server.counters.flows).to_string(),
        ]);
    }
    table.render(width)
}

pub(super) fn servers_wide(servers: &[ServerView]) -> String {
    let mut table = Table::new(&[
        ("GROUP", Align::Left),
        ("SERVER", Align::Left),
        ("ID", Align::Left),
        ("ZONE", Align::Left),
        ("REMOTE", Align::Left),
        ("PATH", Align::Left),
        ("WEIGHT", Align::Right),
        ("HEALTH", Align::Left),
        ("SINCE", Align::Right),
        ("LAST PROBE", Align::Left),
        ("NEXT", Align::Right),
        ("DRAIN", Align::Left),
        ("ACTIVE", Align::Right),
        ("REQUESTS", Align::Right),
        ("CONNECTIONS", Align::Right),
        ("FLOWS", Align::Right),
        ("PACKETS", Align::Right),
        ("BYTES", Align::Right),
        ("DETAIL", Align::Left),
        ("DESCRIPTION", Align::Left),
    ]);
    for server in servers {
        let counters = &server.counters;
        let failure = server.failure.as_ref();
        table.row([
            server.group.clone(),
            server.address.to_string(),
            show_optional(server.id.clone()),
            show_optional(server.zone.clone()),
            if server.remote_ip { "yes" } else { "no" }.to_owned(),
            path(server),
            weight(server),
            health(server),
            duration(server.since_secs),
            show_optional(server.evidence.as_ref().map(evidence)),
            show_optional(server.next_probe_ms.map(seconds)),
            show_optional(server.drains.first().map(drain)),
            counters.active.to_string(),
            counters.requests.to_string(),
            counters.connections.to_string(),
            counters.flows.to_string(),
            (counters.l4.packets + counters.l4.reply_packets).to_string(),
            (counters.l4.bytes + counters.l4.reply_bytes).to_string(),
            failure.map_or(String::new(), detail),
            server.description.clone().unwrap_or_default(),
        ]);
    }
    table.render(None)
}

pub(super) fn events(events: &[EventView], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("AGE", Align::Right),
        ("GROUP", Align::Left),
        ("SERVER", Align::Left),
        ("EVENT", Align::Left),
    ]);
    for event in events {
        table.row([
            duration(event.ago_secs),
            event.group.clone(),
            event.server.map_or_else(|| "all".to_owned(), |server| server.to_string()),
            event.what.clone(),
        ]);
    }
    table.render(width)
}

/// As an operator names it: a function has no address that anyone would know.
pub(in crate::cli) fn name(server: &ServerView) -> String {
    match &server.id {
        Some(id) if id.starts_with("fc:") => id.clone(),
        _ => server.address.to_string(),
    }
}

/// How it is reached.
pub(in crate::cli) fn path(server: &ServerView) -> String {
    match &server.path {
        PathView::Local => "local".to_owned(),
        PathView::TransitRouter { name } => format!("via {name}"),
        PathView::None => "no route".to_owned(),
    }
}

/// What came and what was expected, or what the operating system said.
pub(in crate::cli) fn detail(failure: &FailureView) -> String {
    match (&failure.actual, &failure.expected) {
        (Some(actual), Some(expected)) => format!("got {actual}, expected {expected}"),
        _ => failure.detail.clone(),
    }
}

/// `passed x12, 1.2s ago`.
fn evidence(evidence: &EvidenceView) -> String {
    let word = evidence.failure.as_ref().map_or("passed", |failure| &failure.reason);
    format!("{word} x{}, {} ago", evidence.in_a_row, seconds(evidence.ago_ms))
}

/// `removed, 3 of 12 left, 25s`.
fn drain(drain: &DrainView) -> String {
    let left = match drain.in_flight {
        Some((first, latest)) => format!("{latest} of {first} left, "),
        None => String::new(),
    };
    format!("{}, {left}{}", drain.cause, duration(drain.remaining_secs))
}

/// `1.2s`.
pub(in crate::cli) fn seconds(milliseconds: u64) -> String {
    format!("{}.{}s", milliseconds / 1000, milliseconds % 1000 / 100)
}

/// `100`, or `12.5/100` where the weight in force is another.
pub(in crate::cli) fn weight(server: &ServerView) -> String {
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
