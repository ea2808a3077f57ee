//! `causeway describe`: everything about one thing, in words.

use super::get::{self, duration, groups, network, servers};
use super::{CliError, Connection, print};
use crate::api::{
    CertificateView, HealthCheckView, HealthStatus, Kind, ListenerView, LoadBalancerView, RuleView,
    ServerGroupView, ServerView, View,
};
use crate::certificate::date;
use crate::config::ErrorFamily;
use crate::config::edit::{Remark, names_server};
use clap::{Args, Subcommand};

/// Show everything about a server group, server, load balancer or listener, in words
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  causeway describe server-group web\n  causeway describe server web 172.16.1.20:80"
)]
pub(super) struct DescribeArgs {
    #[command(subcommand)]
    command: DescribeCommand,
}

#[derive(Debug, Subcommand)]
enum DescribeCommand {
    /// Show a server group's settings and how each of its servers stands
    #[command(after_help = "Example:\n  causeway describe server-group web")]
    ServerGroup(NameArgs),
    Server(ServerArgs),
    /// Show a load balancer with its zones, addresses and listeners
    #[command(after_help = "Example:\n  causeway describe load-balancer alb1")]
    LoadBalancer(NameArgs),
    /// Show a listener's settings and whether it accepts traffic
    #[command(after_help = "Example:\n  causeway describe listener http")]
    Listener(NameArgs),
}

/// Which one.
#[derive(Debug, Args)]
struct NameArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    connection: Connection,
}

/// Show how a server of a group stands, with the evidence, and what it got
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  causeway describe server web 172.16.1.20:80")]
struct ServerArgs {
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,
    /// The server, named as for `causeway server`
    #[arg(value_name = "SERVER")]
    server: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn describe(arguments: &DescribeArgs) -> Result<(), CliError> {
    match &arguments.command {
        DescribeCommand::ServerGroup(NameArgs { name, connection }) => {
            let groups = get::ask(connection, Kind::ServerGroups, Some(name))?;
            let (View::ServerGroups(groups), View::Servers(servers)) =
                (groups, get::ask(connection, Kind::Servers, Some(name))?)
            else {
                return Err(CliError::UnexpectedAnswer);
            };
            print(&groups.iter().map(|group| describe_group(group, &servers)).collect::<String>())
        }
        DescribeCommand::Server(ServerArgs { group, server: name, connection }) => {
            let View::Servers(servers) = get::ask(connection, Kind::Servers, Some(group))? else {
                return Err(CliError::UnexpectedAnswer);
            };
            let found: Vec<&ServerView> = servers
                .iter()
                .filter(|server| names_server(name, server.id.as_deref(), server.address))
                .collect();
            if found.is_empty() {
                return Err(CliError::Denied(vec![Remark {
                    code: Some(ErrorFamily::ResourceNotFound.of("Server")),
                    subject: format!("server group \"{group}\", server {name}"),
                    value: String::new(),
                    rule: "the group has no such server".into(),
                    remedy: format!("`causeway get servers {group}` shows which it has"),
                }]));
            }
            print(&found.iter().map(|server| describe_server(server)).collect::<Vec<_>>().join("\n"))
        }
        DescribeCommand::LoadBalancer(NameArgs { name, connection }) => {
            let View::LoadBalancers(balancers) = get::ask(connection, Kind::LoadBalancers, Some(name))?
            else {
                return Err(CliError::UnexpectedAnswer);
            };
            print(&balancers.iter().map(describe_load_balancer).collect::<String>())
        }
        DescribeCommand::Listener(NameArgs { name, connection }) => {
            let View::Listeners(listeners) = get::ask(connection, Kind::Listeners, Some(name))? else {
                return Err(CliError::UnexpectedAnswer);
            };
            let is_tls = |listener: &ListenerView| matches!(listener.protocol.as_str(), "HTTPS" | "QUIC");
            let certificates = if listeners.iter().any(is_tls) {
                let View::Certificates(certificates) = get::ask(connection, Kind::Certificates, None)? else {
                    return Err(CliError::UnexpectedAnswer);
                };
                certificates
            } else {
                Vec::new()
            };
            let View::Rules(rules) = get::ask(connection, Kind::Rules, Some(name))? else {
                return Err(CliError::UnexpectedAnswer);
            };
            let page = |listener| {
                describe_listener(listener)
                    + &describe_certificates(listener, &certificates)
                    + &describe_rules(listener, &rules)
            };
            print(&listeners.iter().map(page).collect::<String>())
        }
    }
}

/// A heading and lines of labels and values below it.
struct Page(String);

impl Page {
    fn new(heading: String) -> Page {
        Page(heading + "\n")
    }

    fn line(&mut self, label: &str, value: impl AsRef<str>) {
        self.0.push_str(&format!("  {label:<16} {}\n", value.as_ref()));
    }
}

fn switch(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn describe_group(group: &ServerGroupView, servers: &[ServerView]) -> String {
    let mut page = Page::new(format!("Server group {}", group.name));
    page.line(
        "type",
        match &group.vpc {
            Some(vpc) => format!("{}, in VPC {vpc}", group.group_type),
            None => group.group_type.clone(),
        },
    );
    page.line("protocol", &group.protocol);
    // The rest means nothing for a function.
    let is_function = group.group_type == "Fc";
    if !is_function {
        page.line("scheduler", groups::scheduler(group));
    }
    match &group.health_check {
        None => page.line("health check", "off: every server counts as usable"),
        Some(check) => {
            page.line("health check", what_passes(check));
            page.line("", how_often(check));
        }
    }
    if !is_function {
        page.line("sticky sessions", groups::sticky(group.sticky_session.as_ref()));
        let seconds = |secs: Option<u64>| secs.map_or_else(|| "off".to_owned(), |secs| format!("{secs} s"));
        page.line("slow start", seconds(group.slow_start_secs));
        page.line("draining", seconds(group.connection_drain_secs));
        page.line("keepalive", switch(group.upstream_keepalive));
        page.line("cross-zone", switch(group.cross_zone));
        page.line("IPv6", switch(group.ipv6));
    }
    if group.protocol == "HTTPS" {
        page.line(
            "certificates",
            match &group.tls_verification {
                None => "of servers are not verified".to_owned(),
                Some(verification) => match &verification.server_name {
                    Some(name) => format!("of servers are verified, for {name}"),
                    None => "of servers are verified, for their addresses".to_owned(),
                },
            },
        );
    }
    for (label, value) in [
        ("service name", &group.service_name),
        ("resource group", &group.resource_group),
        ("IP affinity", &group.ip_version_affinity_mode),
    ] {
        if let Some(value) = value {
            page.line(label, value);
        }
    }
    if !group.tags.is_empty() {
        page.line("tags", groups::tags(group));
    }
    page.line(
        "used by",
        match group.listeners.as_slice() {
            [] => "nothing: its servers are not probed, and get no traffic".to_owned(),
            listeners => format!(
                "{} {} of {}",
                if listeners.len() == 1 { "listener" } else { "listeners" },
                listeners.join(", "),
                group.load_balancers.join(", ")
            ),
        },
    );
    if group.is_fail_open {
        page.line("fail-open", "no server is healthy, so all with weight receive");
    }
    page.0.push_str(&match servers.len() {
        0 => "No servers\n".to_owned(),
        1 => "1 server\n".to_owned(),
        count => format!("{count} servers\n"),
    });
    for server in servers {
        let weight =
            if is_function { String::new() } else { format!(", weight {}", servers::weight(server)) };
        page.0.push_str(&format!("  {}{weight}\n", servers::name(server)));
        page.0.push_str(&format!("    {}\n", standing(server)));
    }
    page.0
}

/// `HTTP HEAD /health, passes on http_2xx`.
fn what_passes(check: &HealthCheckView) -> String {
    let mut text = groups::probe(check);
    if let Some(port) = check.connect_port {
        text.push_str(&format!(" on port {port}"));
    }
    if let Some(host) = &check.host {
        text.push_str(&format!(", Host {host}"));
    }
    if !check.codes.is_empty() {
        text.push_str(&format!(", passes on {}", check.codes.join(",")));
    }
    text
}

fn how_often(check: &HealthCheckView) -> String {
    format!(
        "every {} s, timeout {} s, healthy after {}, unhealthy after {} in a row (a silent server within {} s)",
        check.interval_secs,
        check.timeout_secs,
        check.healthy_threshold,
        check.unhealthy_threshold,
        check.detects_within_secs
    )
}

fn describe_server(server: &ServerView) -> String {
    let mut page = Page::new(format!("Server {} of group {}", servers::name(server), server.group));
    if let Some(id) = &server.id {
        page.line("id", id);
    }
    page.line("address", server.address.to_string());
    page.line(
        "weight",
        match server.weight {
            0 => "0: no new traffic".to_owned(),
            _ if server.effective_weight == f64::from(server.weight) => server.weight.to_string(),
            configured => format!("{configured}, {:.1} in force", server.effective_weight),
        },
    );
    page.line("health", standing(server));
    if let Some(ramp) = &server.slow_start {
        page.line("slow start", format!("{} s of {} s", ramp.elapsed_secs, ramp.duration_secs));
    }
    for drain in &server.drains {
        let in_flight = match drain.in_flight {
            Some((first, latest)) => format!("{latest} of {first} still in flight"),
            None => "nothing counted yet".to_owned(),
        };
        page.line(
            "drain",
            format!(
                "{}, for {}: {in_flight}; cut in {} s",
                drain.cause,
                duration(drain.elapsed_secs),
                drain.remaining_secs
            ),
        );
    }
    page.line("zone", server.zone.as_deref().unwrap_or("none"));
    page.line(
        "path",
        match (server.remote_ip, servers::path(server)) {
            (true, path) => format!("{path}, remote"),
            (false, path) => path,
        },
    );
    let counters = &server.counters;
    page.line("in flight", counters.active.to_string());
    page.line(
        "requests",
        format!(
            "{} on {} connections; {} without a response, {} connections failed",
            counters.requests, counters.connections, counters.request_failures, counters.connect_failures
        ),
    );
    if counters.flows > 0 {
        page.line(
            "flows",
            format!(
                "{}; {} bytes sent, {} received",
                counters.flows, counters.l4.bytes, counters.l4.reply_bytes
            ),
        );
    }
    if let Some(description) = &server.description {
        page.line("description", description);
    }
    page.0
}

/// `Unhealthy for 3m12s: RESPONSE_MISMATCH, got 404, expected HTTP_2xx; last probe 1.2 s ago, next within 0.8 s`.
fn standing(server: &ServerView) -> String {
    let mut text = format!("{} for {}", server.health.as_str(), duration(server.since_secs));
    match server.health {
        HealthStatus::Unavailable => text.push_str(": checks are off"),
        HealthStatus::Unused if server.weight == 0 => text.push_str(": weight 0, no new traffic, not probed"),
        HealthStatus::Unused => {
            text = "Unused: no traffic of this node can reach it (no listener uses the group, or cross-zone is off)".into();
        }
        HealthStatus::Removing => {
            if let Some(drain) = server.drains.first() {
                let in_flight = drain.in_flight.map_or(String::new(), |(first, latest)| {
                    format!(": {latest} of {first} still in flight")
                });
                text.push_str(&format!("{in_flight}, cut in {} s", drain.remaining_secs));
            }
        }
        HealthStatus::Normal | HealthStatus::Initial | HealthStatus::Unhealthy => {}
    }
    if let Some(failure) = &server.failure {
        let detail = servers::detail(failure);
        let detail = if detail.is_empty() { detail } else { format!(", {detail}") };
        text.push_str(&format!(": {}{detail}", failure.reason));
    }
    if let Some(ramp) = &server.slow_start {
        text.push_str(&format!(", in slow start ({} s of {} s)", ramp.elapsed_secs, ramp.duration_secs));
    }
    let seconds = |milliseconds: u64| format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100);
    if let Some(evidence) = &server.evidence {
        let word = match &evidence.failure {
            None => " passed".to_owned(),
            // Said already where it is the verdict.
            Some(_) if server.failure.is_some() => String::new(),
            Some(failure) => format!(" failed ({})", failure.reason),
        };
        text.push_str(&format!("; last probe{word} {} ago", seconds(evidence.ago_ms)));
        match server.next_probe_ms {
            Some(0) => text.push_str(", next under way"),
            Some(next) => text.push_str(&format!(", next within {}", seconds(next))),
            None => {}
        }
    }
    text
}

fn describe_load_balancer(balancer: &LoadBalancerView) -> String {
    let mut page = Page::new(format!("Load balancer {}", balancer.name));
    page.line("edition", &balancer.edition);
    page.line("address type", format!("{}, {}", balancer.address_type, balancer.address_ip_version));
    page.line("VPC", &balancer.vpc);
    page.line("DNS name", &balancer.dns_name);
    for zone in &balancer.zones {
        let place = if zone.served_here { "" } else { ", served by another node" };
        page.line(
            "zone",
            format!(
                "{} (vSwitch {}): VIP {}, local addresses {}{place}",
                zone.zone,
                zone.vswitch,
                network::vips(zone),
                network::local_addresses(zone)
            ),
        );
    }
    for listener in &balancer.listeners {
        let ListenerView { name, protocol, port, server_group, .. } = listener;
        page.line(
            "listener",
            format!("{name}: {protocol} {port} to server group {server_group}{}", problem(listener)),
        );
    }
    page.0
}

fn describe_listener(listener: &ListenerView) -> String {
    let mut page = Page::new(format!("Listener {}", listener.name));
    page.line("load balancer", &listener.load_balancer);
    page.line("accepts", format!("{} on port {}", listener.protocol, listener.port));
    page.line("server group", &listener.server_group);
    if let (Some(idle), Some(request)) = (listener.idle_timeout_secs, listener.request_timeout_secs) {
        page.line("timeouts", format!("idle {idle} s, request {request} s"));
        page.line("X-Forwarded-For", switch(listener.x_forwarded_for));
        if !listener.trusted_proxies.is_empty() {
            page.line("trusted proxies", listener.trusted_proxies.join(", "));
        }
    }
    for (label, value) in &listener.settings {
        page.line(label, value);
    }
    page.line("status", format!("{:?}{}", listener.status, problem(listener)));
    page.0
}

/// The rules of a listener in the order in which they are asked; nothing where it has none.
fn describe_rules(listener: &ListenerView, rules: &[RuleView]) -> String {
    let of = |direction: &str, heading: &str| -> String {
        let rules = rules.iter().filter(|rule| rule.listener == listener.name && rule.direction == direction);
        rules.map(|rule| heading.to_owned() + &describe_rule(rule)).collect()
    };
    let (requests, responses) = (of("Request", "Rule "), of("Response", "Response rule "));
    let default = format!("Otherwise\n  then forward to {}\n", listener.server_group);
    if requests.is_empty() { responses } else { requests + &default + &responses }
}

fn describe_rule(rule: &RuleView) -> String {
    let (conditions, actions) = (rule.conditions.join("\n  and "), rule.actions.join("\n  then "));
    format!("{}: {}\n  if {conditions}\n  then {actions}\n", rule.priority, rule.name)
}

/// A line for each certificate that a listener names.
fn describe_certificates(listener: &ListenerView, certificates: &[CertificateView]) -> String {
    let mut lines = Page(String::new());
    for certificate in certificates.iter().filter(|one| one.listeners.contains(&listener.name)) {
        let CertificateView { name, names, key_type, not_after, days_left, problem, .. } = certificate;
        let end = problem.clone().unwrap_or_else(|| format!("until {}, {days_left} days", date(*not_after)));
        lines.line("certificate", format!("{name}: {}; {key_type}; {end}", names.join(", ")));
    }
    lines.0
}

fn problem(listener: &ListenerView) -> String {
    listener.problem.as_ref().map_or(String::new(), |problem| format!(" ({problem})"))
}

#[cfg(test)]
mod tests;
