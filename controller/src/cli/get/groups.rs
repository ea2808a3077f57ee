//! Tables of server groups, health check templates and the inventory.

use super::show_optional;
use crate::api::{
    HashView, HealthCheckTemplateView, HealthCheckView, InventoryView, ServerGroupView, StickySessionView,
};
use crate::cli::table::{Align, Table};

pub(super) fn server_groups(groups: &[ServerGroupView], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("TYPE", Align::Left),
        ("PROTOCOL", Align::Left),
        ("SCHEDULER", Align::Left),
        ("HEALTHY", Align::Left),
        ("USED BY", Align::Left),
    ]);
    for group in groups {
        table.row([
            group.name.clone(),
            group.group_type.clone(),
            group.protocol.clone(),
            scheduler(group),
            healthy(group),
            used_by(group),
        ]);
    }
    table.render(width)
}

pub(super) fn server_groups_wide(groups: &[ServerGroupView]) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("TYPE", Align::Left),
        ("VPC", Align::Left),
        ("PROTOCOL", Align::Left),
        ("SCHEDULER", Align::Left),
        ("HEALTHY", Align::Left),
        ("HEALTH CHECK", Align::Left),
        ("STICKY", Align::Left),
        ("SLOW START", Align::Right),
        ("DRAIN", Align::Right),
        ("KEEPALIVE", Align::Left),
        ("CROSS-ZONE", Align::Left),
        ("IPV6", Align::Left),
        ("USED BY", Align::Left),
        ("TAGS", Align::Left),
    ]);
    let seconds = |secs: Option<u64>| secs.map_or_else(|| "off".to_owned(), |secs| format!("{secs}s"));
    let switch = |is_on: bool| if is_on { "on" } else { "off" }.to_owned();
    for group in groups {
        table.row([
            group.name.clone(),
            group.group_type.clone(),
            show_optional(group.vpc.clone()),
            group.protocol.clone(),
            scheduler(group),
            healthy(group),
            group.health_check.as_ref().map_or_else(
                || "off".to_owned(),
                |check| format!("{}, every {}s", probe(check), check.interval_secs),
            ),
            sticky(group.sticky_session.as_ref()),
            seconds(group.slow_start_secs),
            seconds(group.connection_drain_secs),
            switch(group.upstream_keepalive),
            switch(group.cross_zone),
            switch(group.ipv6),
            used_by(group),
            tags(group),
        ]);
    }
    table.render(None)
}

/// `Sch (source IP)`.
pub(in crate::cli) fn scheduler(group: &ServerGroupView) -> String {
    match &group.hash {
        None => group.scheduler.clone(),
        Some(HashView::SourceIp) => format!("{} (source IP)", group.scheduler),
        Some(HashView::UrlParameter { name }) => format!("{} (parameter {name})", group.scheduler),
    }
}

/// `2/3`; `-/3` where nobody looks.
fn healthy(group: &ServerGroupView) -> String {
    if group.listeners.is_empty() {
        return format!("-/{}", group.server_count);
    }
    let note = if group.is_fail_open { " fail-open" } else { "" };
    format!("{}/{}{note}", group.healthy_count, group.server_count)
}

fn used_by(group: &ServerGroupView) -> String {
    if group.listeners.is_empty() { "-".to_owned() } else { group.listeners.join(", ") }
}

/// `HEAD /health`, `gRPC /grpc.health.v1.Health/Check`, `TCP`.
pub(in crate::cli) fn probe(check: &HealthCheckView) -> String {
    let request = match (&check.method, &check.path) {
        (Some(method), Some(path)) => format!(" {method} {path}"),
        _ => String::new(),
    };
    format!("{}{request}", check.protocol)
}

pub(in crate::cli) fn sticky(sticky: Option<&StickySessionView>) -> String {
    match sticky {
        None => "off".to_owned(),
        Some(StickySessionView::Insert { timeout_secs }) => format!("Insert, {timeout_secs}s"),
        Some(StickySessionView::Server { cookie }) => format!("Server, cookie {cookie}"),
    }
}

/// `team=web, tier=1`.
pub(in crate::cli) fn tags(group: &ServerGroupView) -> String {
    let tags: Vec<String> = group.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if tags.is_empty() { "-".to_owned() } else { tags.join(", ") }
}

pub(super) fn templates(templates: &[HealthCheckTemplateView], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("PROBE", Align::Left),
        ("PASSES ON", Align::Left),
        ("INTERVAL", Align::Right),
        ("TIMEOUT", Align::Right),
        ("THRESHOLDS", Align::Right),
    ]);
    for template in templates {
        let check = &template.health_check;
        table.row([
            template.name.clone(),
            probe(check),
            if check.codes.is_empty() { "-".to_owned() } else { check.codes.join(",") },
            format!("{}s", check.interval_secs),
            format!("{}s", check.timeout_secs),
            format!("{}/{}", check.healthy_threshold, check.unhealthy_threshold),
        ]);
    }
    table.render(width)
}

pub(super) fn inventory(items: &[InventoryView], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("TYPE", Align::Left),
        ("ID", Align::Left),
        ("ADDRESSES", Align::Left),
        ("ZONE", Align::Left),
        ("GROUPS", Align::Left),
    ]);
    for item in items {
        table.row([
            item.kind.clone(),
            item.id.clone(),
            addresses(item),
            show_optional(item.zone.clone()),
            if item.groups.is_empty() { "-".to_owned() } else { item.groups.join(", ") },
        ]);
    }
    table.render(width)
}

pub(super) fn inventory_wide(items: &[InventoryView]) -> String {
    let mut table = Table::new(&[
        ("TYPE", Align::Left),
        ("ID", Align::Left),
        ("INSTANCE", Align::Left),
        ("ADDRESSES", Align::Left),
        ("VPC", Align::Left),
        ("VSWITCH", Align::Left),
        ("ZONE", Align::Left),
        ("TRIGGERS", Align::Left),
        ("GROUPS", Align::Left),
    ]);
    for item in items {
        let triggers: Vec<String> = item.triggers.iter().map(|(name, url)| format!("{name} {url}")).collect();
        table.row([
            item.kind.clone(),
            item.id.clone(),
            show_optional(item.instance.clone()),
            addresses(item),
            show_optional(item.vpc.clone()),
            show_optional(item.vswitch.clone()),
            show_optional(item.zone.clone()),
            if triggers.is_empty() { "-".to_owned() } else { triggers.join(", ") },
            if item.groups.is_empty() { "-".to_owned() } else { item.groups.join(", ") },
        ]);
    }
    table.render(None)
}

fn addresses(item: &InventoryView) -> String {
    let addresses: Vec<String> = item.addresses.iter().map(ToString::to_string).collect();
    if addresses.is_empty() { "-".to_owned() } else { addresses.join(", ") }
}
