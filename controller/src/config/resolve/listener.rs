//! Listeners: settings of one, by itself. How it fits other things is [`checks`]'s.

mod checks;
mod forwarded;
mod settings;
mod tls;

pub(super) use checks::check_listeners;
pub(super) use settings::check_header_name;

use super::forwarding::{OfListener, is_header_of_rules_taken, resolve_rules};
use super::{Declared, Places, Spot};
use crate::config::ErrorFamily::{IllegalParam, OperationDenied};
use crate::config::decode::{Field, Head, Located, Report};
use crate::config::file::ListenerEntry;
use crate::model::{
    AclKind, AclName, Listener, ListenerAcl, ListenerName, ListenerProtocol, ListenerTimeouts,
    LoadBalancerName, ServerGroupName,
};
use serde_saphyr::Location;
use std::collections::BTreeSet;

/// Seconds that a timeout may have where the node allows it (LR-13).
const TIMEOUT_SECS: std::ops::RangeInclusive<i128> = 1..=3600;
/// LR-32.
const LISTS_MAX: usize = 3;

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
    let protocol = report
        .required(head, "protocol", &entry.protocol, "write HTTP, HTTPS, QUIC or TCP")
        .and_then(|text| {
            let protocols = [
                ("HTTP", ListenerProtocol::Http),
                ("HTTPS", ListenerProtocol::Https),
                ("QUIC", ListenerProtocol::Quic),
                ("TCP", ListenerProtocol::Tcp),
            ];
            let refused = [("UDP", "UDP listeners are not supported yet")];
            report.choice(head, "protocol", text, &protocols, &refused)
        });
    let port = report.port(head, &entry.port);
    if let Some(protocol) = protocol {
        refuse_settings_of_others(entry, protocol, report);
    }
    let description = settings::resolve_description(entry, report);
    let enabled = report.flag(&entry.enabled, true);
    let idle = report.seconds(head, "idle_timeout", &entry.idle_timeout, TIMEOUT_SECS, 15);
    let request = report.seconds(head, "request_timeout", &entry.request_timeout, TIMEOUT_SECS, 60);
    let requests_per_connection = settings::resolve_requests_per_connection(entry, report);
    let gzip = report.flag(&entry.gzip, true);
    let loops = settings::resolve_loop_detection(&entry.loop_detection, is_header_of_rules_taken, report);
    // What is wrong with it is reported; rules and other headers are looked at all the same.
    let presumed = loops.clone().unwrap_or_default();
    let forwarded = forwarded::resolve_forwarded(&entry.forwarded_headers, protocol, &presumed, report);
    let trusted_proxies = settings::resolve_trusted_proxies(entry, report);
    let logged_headers = settings::resolve_logged_headers(entry, report);
    refuse_tracing(entry, report);
    let tls = tls::resolve_tls(entry, protocol, declared, report);
    let quic_upgrade = match &entry.quic_upgrade {
        Field::Absent => Some(None),
        Field::Bad => None,
        Field::Good(text) => report
            .reference(head, "listener", text, &declared.listeners)
            .map(|listener| Some(ListenerName::new(listener))),
    };
    let acl = resolve_acl(entry, declared, report);
    let of_listener =
        OfListener { name: name.as_ref(), protocol, groups: &declared.server_groups, loops: &presumed };
    let rules = resolve_rules(entry, &of_listener, places, report);
    if let Some(name) = &name {
        set_places(entry, name, places, report);
    }
    let (name, load_balancer) = (name?, LoadBalancerName::new(load_balancer?));
    Some(Listener {
        protocol: protocol?,
        description: description?,
        enabled: enabled?,
        timeouts: ListenerTimeouts { idle: idle?, request: request? },
        forwarded: forwarded?,
        trusted_proxies: trusted_proxies?,
        gzip: gzip?,
        tls: tls?,
        quic_upgrade: quic_upgrade?,
        requests_per_connection: requests_per_connection?,
        loops: loops?,
        acl: acl?,
        logged_headers: logged_headers?,
        rules,
        ..Listener::new(name.as_str(), &load_balancer, port?, &ServerGroupName::new(server_group?))
    })
}

/// `at`, or the entry's place for what has none.
fn place_or(head: &Head, at: Location) -> Location {
    if at == Location::UNKNOWN { head.at } else { at }
}

/// LR-10: what another protocol has and this one has not.
fn refuse_settings_of_others(entry: &ListenerEntry, protocol: ListenerProtocol, report: &mut Report<'_>) {
    use ListenerProtocol::{Http, Https, Quic};
    let with_requests: (&[_], _) = (&[Http, Https, Quic], "HTTP, HTTPS and QUIC listeners");
    let with_tls: (&[_], _) = (&[Https, Quic], "HTTPS and QUIC listeners");
    let https: (&[_], _) = (&[Https], "HTTPS listeners");
    let written = [
        ("idle_timeout", entry.idle_timeout.at(), with_requests),
        ("request_timeout", entry.request_timeout.at(), with_requests),
        ("requests_per_connection", entry.requests_per_connection.at(), with_requests),
        ("gzip", entry.gzip.at(), with_requests),
        ("forwarded_headers", entry.forwarded_headers.at(), with_requests),
        ("trusted_proxies", entry.trusted_proxies.at(), with_requests),
        ("logged_headers", entry.logged_headers.at(), with_requests),
        ("acl", entry.acl.at(), with_requests),
        ("loop_detection", entry.loop_detection.at(), with_requests),
        ("rules", entry.rules.at(), with_requests),
        ("certificates", entry.certificates.at(), with_tls),
        ("http2", entry.http2.at(), https),
        ("security_policy", entry.security_policy.at(), https),
        ("ca_enabled", entry.ca_enabled.at(), https),
        ("ca_certificates", entry.ca_certificates.at(), https),
        ("quic_upgrade", entry.quic_upgrade.at(), https),
    ];
    for (key, at, (protocols, words)) in written {
        let Some(at) = at.filter(|_| !protocols.contains(&protocol)) else { continue };
        report.error(
            entry.head.code(IllegalParam, key),
            place_or(&entry.head, at),
            &entry.head.subject,
            key,
            format!("a setting of {words} only"),
            "remove it",
        );
    }
}

/// D-18.
fn refuse_tracing(entry: &ListenerEntry, report: &mut Report<'_>) {
    let Some(tracing) = entry.tracing.good() else { return };
    let head = &tracing.head;
    let types = [("Zipkin", ()), ("OpenTelemetry", ())];
    report.choice_or(head, "type", &tracing.tracing_type, (), &types, &[]);
    report.number(head, "sample", &tracing.sample, 1..=10_000, 1);
    if report.flag(&tracing.enabled, true) == Some(true) {
        report.error(
            OperationDenied.of("AccessLogTracing"),
            tracing.enabled.at().unwrap_or(head.at),
            &head.subject,
            "tracing",
            "requests cannot be traced yet; the access log has the timings of each",
            "remove it, or write `enabled: false`",
        );
    }
}

/// The outer `None` is an error, the inner one "everybody is served".
fn resolve_acl(
    entry: &ListenerEntry,
    declared: &Declared,
    report: &mut Report<'_>,
) -> Option<Option<ListenerAcl>> {
    let acl = match &entry.acl {
        Field::Absent => return Some(None),
        Field::Bad => return None,
        Field::Good(acl) => acl,
    };
    let head = &acl.head;
    let kinds = [("White", AclKind::White), ("Black", AclKind::Black)];
    let kind = report
        .required(
            head,
            "type",
            &acl.acl_type,
            "write White to serve only what the lists hold, or Black to refuse it",
        )
        .and_then(|text| report.choice(head, "type", text, &kinds, &[]));
    let lists = report.required(head, "lists", &acl.lists, "name 1 to 3 of `acls`")?;
    if lists.is_empty() || lists.len() > LISTS_MAX {
        report.error(
            head.code(IllegalParam, "lists"),
            place_or(head, lists.location()),
            &head.subject,
            format!("{} lists", lists.len()),
            format!("a listener goes by 1 to {LISTS_MAX} lists"),
            "name some of `acls`, or remove `acl`",
        );
    }
    let mut names = BTreeSet::new();
    let mut acls = Vec::new();
    for text in lists {
        if !names.insert(&text.value) {
            settings::repeated(head, "lists", text, report);
        }
        acls.push(report.reference(head, "ACL", text, &declared.acls).map(AclName::new));
    }
    Some(Some(ListenerAcl { kind: kind?, acls: acls.into_iter().collect::<Option<_>>()? }))
}

fn set_places(entry: &ListenerEntry, name: &ListenerName, places: &mut Places, report: &Report<'_>) {
    let head = &entry.head;
    let mut set = |spot: Spot, at: Option<Location>| {
        places.set(spot, report.place(at.map_or(head.at, |at| place_or(head, at))), &head.subject);
    };
    set(Spot::Listener(name.clone()), None);
    set(Spot::ListenerPort(name.clone()), entry.port.at());
    set(Spot::ListenerGroup(name.clone()), entry.server_group.at());
    set(Spot::IdleTimeout(name.clone()), entry.idle_timeout.at());
    set(Spot::RequestTimeout(name.clone()), entry.request_timeout.at());
    set(Spot::SecurityPolicyOf(name.clone()), entry.security_policy.at());
    set(Spot::CaCertificates(name.clone()), entry.ca_certificates.at());
    set(Spot::Certificates(name.clone()), entry.certificates.at());
    set(Spot::QuicUpgrade(name.clone()), entry.quic_upgrade.at());
    set(Spot::AclOf(name.clone()), entry.acl.at());
}
