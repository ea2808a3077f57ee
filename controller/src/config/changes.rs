//! What is different between two revisions of the resources, for people.

use crate::model::{
    Acl, Listener, ListenerTls, NetworkInterface, Resources, Rule, RuleDirection, Server, ServerAddress,
    ServerGroup,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What became of it.
    pub kind: ChangeKind,
    /// The thing, as messages name it: `server group "web", server 172.16.1.20:80`.
    pub subject: String,
    /// What about it, where that is short: `weight 100 -> 50`. Else empty.
    pub detail: String,
}

/// What became of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is different.
    Changed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            ChangeKind::Added => '+',
            ChangeKind::Removed => '-',
            ChangeKind::Changed => '~',
        };
        write!(f, "{sign} {}", self.subject)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// Every difference between `old` and `new`, by kind of thing and then by name; empty if they are equal.
pub fn changes(old: &Resources, new: &Resources) -> Vec<Change> {
    let mut found = Vec::new();
    compare("VPC", &old.vpcs, &new.vpcs, &mut found, whole);
    compare("transit router", &old.transit_routers, &new.transit_routers, &mut found, whole);
    compare("load balancer", &old.load_balancers, &new.load_balancers, &mut found, whole);
    compare("server group", &old.server_groups, &new.server_groups, &mut found, compare_groups);
    compare("listener", &old.listeners, &new.listeners, &mut found, compare_listeners);
    compare("ACL", &old.acls, &new.acls, &mut found, compare_acls);
    let (was, is) = (&old.security_policies, &new.security_policies);
    compare("security policy", was, is, &mut found, whole);
    let (was, is) = (&old.inventory, &new.inventory);
    compare("instance", &was.instances, &is.instances, &mut found, whole);
    compare("interface", &was.interfaces, &is.interfaces, &mut found, compare_interfaces);
    compare("function", &was.functions, &is.functions, &mut found, whole);
    let (was, is) = (&old.health_check_templates, &new.health_check_templates);
    compare("health check template", was, is, &mut found, whole);
    found
}

/// Compares two things of one name; `subject` names them.
type Compare<T> = fn(subject: &str, old: &T, new: &T, found: &mut Vec<Change>);

fn compare<K: Ord + fmt::Display, T: PartialEq>(
    noun: &str,
    old: &BTreeMap<K, T>,
    new: &BTreeMap<K, T>,
    found: &mut Vec<Change>,
    compare_two: Compare<T>,
) {
    let mut names: Vec<&K> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        // Servers are named by address and rules by place, which no message quotes.
        let is_bare = noun.ends_with("server") || noun.ends_with("rule of");
        let subject = if is_bare { format!("{noun} {name}") } else { format!("{noun} \"{name}\"") };
        match (old.get(name), new.get(name)) {
            (None, Some(_)) => found.push(change(ChangeKind::Added, subject, "")),
            (Some(_), None) => found.push(change(ChangeKind::Removed, subject, "")),
            (Some(old), Some(new)) if old != new => compare_two(&subject, old, new, found),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

fn change(kind: ChangeKind, subject: String, detail: impl Into<String>) -> Change {
    Change { kind, subject, detail: detail.into() }
}

fn whole<T>(subject: &str, _old: &T, _new: &T, found: &mut Vec<Change>) {
    found.push(change(ChangeKind::Changed, subject.to_owned(), ""));
}

fn compare_groups(subject: &str, old: &ServerGroup, new: &ServerGroup, found: &mut Vec<Change>) {
    let settings = changed_settings(old, new);
    if !settings.is_empty() {
        found.push(change(ChangeKind::Changed, subject.to_owned(), settings.join(", ")));
    }
    let by_address = |group: &ServerGroup| -> BTreeMap<ServerAddress, Server> {
        group.servers.iter().map(|server| (server.address, server.clone())).collect()
    };
    let (before, after) = (by_address(old), by_address(new));
    compare(&format!("{subject}, server"), &before, &after, found, compare_servers);
    if before == after && old.servers != new.servers {
        found.push(change(ChangeKind::Changed, subject.to_owned(), "order of servers"));
    }
}

fn compare_listeners(subject: &str, old: &Listener, new: &Listener, found: &mut Vec<Change>) {
    macro_rules! changed {
        ($($key:literal: $field:ident;)*) => {
            [$(($key, old.$field != new.$field),)*]
        };
    }
    let of_tls = |different: fn(&ListenerTls, &ListenerTls) -> bool| match (&old.tls, &new.tls) {
        (Some(old), Some(new)) => different(old, new),
        (old, new) => old != new,
    };
    let settings = changed! {
        "load_balancer": load_balancer;
        "protocol": protocol;
        "port": port;
        "server_group": server_group;
        "description": description;
        "timeouts": timeouts;
        "gzip": gzip;
        "quic_upgrade": quic_upgrade;
        "acl": acl;
        "forwarded_headers": forwarded;
        "trusted_proxies": trusted_proxies;
        "logged_headers": logged_headers;
    };
    let tls = [
        ("certificates", of_tls(|old, new| old.certificates != new.certificates)),
        ("security_policy", of_tls(|old, new| old.policy != new.policy)),
        ("ca_certificates", of_tls(|old, new| old.client_authorities != new.client_authorities)),
        ("http2", of_tls(|old, new| old.http2 != new.http2)),
    ];
    let state = match (old.enabled, new.enabled) {
        (true, false) => Some("stopped"),
        (false, true) => Some("started"),
        _ => None,
    };
    let changed = settings.into_iter().chain(tls).filter(|(_, is_changed)| *is_changed).map(|(key, _)| key);
    let details: Vec<&str> = state.into_iter().chain(changed).collect();
    if !details.is_empty() {
        found.push(change(ChangeKind::Changed, subject.to_owned(), details.join(", ")));
    }
    let by_place = |listener: &Listener| -> BTreeMap<RulePlace, Rule> {
        let place = |rule: &Rule| RulePlace(rule.direction, rule.priority);
        listener.rules.iter().map(|rule| (place(rule), rule.clone())).collect()
    };
    compare(&format!("{subject}, rule of"), &by_place(old), &by_place(new), found, compare_rules);
}

/// What makes a rule one (LR-62).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RulePlace(RuleDirection, u16);

impl fmt::Display for RulePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            RuleDirection::Request => write!(f, "priority {}", self.1),
            RuleDirection::Response => write!(f, "priority {} for responses", self.1),
        }
    }
}

fn compare_rules(subject: &str, old: &Rule, new: &Rule, found: &mut Vec<Change>) {
    let parts = [
        (format!("name \"{}\" -> \"{}\"", old.name, new.name), old.name != new.name),
        ("conditions".to_owned(), old.conditions != new.conditions),
        ("actions".to_owned(), old.actions != new.actions),
    ];
    let details: Vec<String> =
        parts.into_iter().filter(|(_, is_changed)| *is_changed).map(|(part, _)| part).collect();
    found.push(change(ChangeKind::Changed, subject.to_owned(), details.join(", ")));
}

fn compare_acls(subject: &str, old: &Acl, new: &Acl, found: &mut Vec<Change>) {
    let networks = |acl: &Acl| -> BTreeSet<IpNet> { acl.entries.iter().map(|entry| entry.cidr).collect() };
    let (before, after) = (networks(old), networks(new));
    let signed = |sign: char, networks: &mut dyn Iterator<Item = &IpNet>| -> Vec<String> {
        networks.map(|network| format!("{sign}{network}")).collect()
    };
    let mut details = signed('-', &mut before.difference(&after));
    details.extend(signed('+', &mut after.difference(&before)));
    let detail = if details.is_empty() { "descriptions or order".to_owned() } else { details.join(" ") };
    found.push(change(ChangeKind::Changed, subject.to_owned(), detail));
}

/// Keys of the settings that are different.
fn changed_settings(old: &ServerGroup, new: &ServerGroup) -> Vec<&'static str> {
    macro_rules! changed {
        ($($key:literal: $field:ident;)*) => {
            [$(($key, old.$field != new.$field),)*]
        };
    }
    let settings = changed! {
        "type": group_type;
        "vpc": vpc;
        "protocol": protocol;
        "scheduler": scheduler;
        "health_check": health_check;
        "sticky_session": sticky_session;
        "slow_start": slow_start;
        "connection_drain": connection_drain;
        "upstream_keepalive": upstream_keepalive;
        "cross_zone_enabled": cross_zone;
        "ipv6_enabled": ipv6;
        "tls_verification": tls_verification;
        "service_name": service_name;
        "ip_version_affinity_mode": ip_version_affinity_mode;
        "resource_group": resource_group;
        "tags": tags;
    };
    settings.into_iter().filter(|(_, is_changed)| *is_changed).map(|(key, _)| key).collect()
}

fn compare_interfaces(
    subject: &str,
    old: &NetworkInterface,
    new: &NetworkInterface,
    found: &mut Vec<Change>,
) {
    let all = |interface: &NetworkInterface| -> Vec<String> {
        interface.addresses.iter().chain(&interface.ipv6_addresses).map(ToString::to_string).collect()
    };
    let (before, after) = (all(old).join(", "), all(new).join(", "));
    let detail = if before == after { String::new() } else { format!("addresses {before} -> {after}") };
    found.push(change(ChangeKind::Changed, subject.to_owned(), detail));
}

fn compare_servers(subject: &str, old: &Server, new: &Server, found: &mut Vec<Change>) {
    let mut details = Vec::new();
    if old.weight != new.weight {
        details.push(format!("weight {} -> {}", old.weight.get(), new.weight.get()));
    }
    if old.id != new.id {
        details.push(format!("{} -> {}", old.id, new.id));
    }
    if old.trigger != new.trigger {
        details.push("trigger".to_owned());
    }
    if old.zone != new.zone {
        details.push("zone".to_owned());
    }
    if old.remote_ip != new.remote_ip {
        details.push(format!("remote_ip {} -> {}", old.remote_ip, new.remote_ip));
    }
    if old.description != new.description {
        details.push("description".to_owned());
    }
    found.push(change(ChangeKind::Changed, subject.to_owned(), details.join(", ")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_resources;

    const TUTORIAL: &str = include_str!("tests/resources.yaml");

    fn between(old: &str, new: &str) -> Vec<String> {
        let parse =
            |text: &str| parse_resources(text, "r.yaml").unwrap_or_else(|errors| panic!("{errors}")).value;
        changes(&parse(old), &parse(new)).iter().map(Change::to_string).collect()
    }

    #[test]
    fn finds_nothing_in_a_change_of_comments_and_order_of_names() {
        assert_eq!(between(TUTORIAL, &format!("# a comment\n{TUTORIAL}")), [""; 0]);
    }

    #[test]
    fn names_what_comes_goes_and_changes() {
        let new = TUTORIAL
            .replace("port: 80, weight: 100}", "port: 80, weight: 50}")
            .replace("      - {address: 192.168.1.20, port: 9001, remote_ip: true}\n", "")
            .replace("interval: 2", "interval: 3")
            .replace("{name: http, load", "{name: web, load")
            .replace("mtu: 1500, weight: 100}\n  - name", "mtu: 1400, weight: 100}\n  - name");
        assert_eq!(
            between(TUTORIAL, &new),
            [
                "~ transit router \"tr-chengdu\"",
                "- server group \"tcp-web\", server 192.168.1.20:9001",
                "~ server group \"web\": health_check",
                "~ server group \"web\", server 172.16.1.20:80: weight 100 -> 50",
                "- listener \"http\"",
                "+ listener \"web\"",
            ]
        );
    }

    #[test]
    fn names_settings_servers_inventory_and_templates() {
        let network = include_str!("tests/network.yaml");
        let old = format!(
            "{network}server_groups:\n  - {{name: g1, vpc: vpc1, health_check: {{enabled: true}}, servers: [{{ecs: i-web1, \
             port: 80}}]}}\nhealth_check_templates: [{{name: deep}}]\n"
        );
        let new = old
            .replace("address: 172.16.1.20", "address: 172.16.1.99")
            .replace("name: far\n", "name: far\n    handler: event\n")
            .replace("name: deep", "name: deep, interval: 9")
            .replace("enabled: true}", "enabled: true}, scheduler: Wlc, sticky_session: {}");
        assert_eq!(
            between(&old, &new),
            [
                "~ server group \"g1\": scheduler, sticky_session",
                "- server group \"g1\", server 172.16.1.20:80",
                "+ server group \"g1\", server 172.16.1.99:80",
                "~ interface \"eni-web1\": addresses 172.16.1.20, 172.16.1.21, 2001:db8:16:1::20 -> \
                 172.16.1.99, 172.16.1.21, 2001:db8:16:1::20",
                "~ function \"acs:fc:hangzhou:1234:functions/far\"",
                "~ health check template \"deep\"",
            ]
        );
        let by_eni = old.replace("ecs: i-web1", "eni: eni-web1");
        assert_eq!(
            between(&old, &by_eni),
            ["~ server group \"g1\", server 172.16.1.20:80: ecs i-web1 -> eni eni-web1"]
        );
    }

    #[test]
    fn names_settings_and_rules_of_listeners_and_entries_of_lists() {
        let rule = |name: &str, priority: u16, path: &str| {
            format!(
                "{{name: {name}, priority: {priority}, conditions: [{{path: [{path}]}}], actions: [{{forward: web}}]}}"
            )
        };
        let with = |settings: &str, rules: &[String], acl: &str| {
            let rules = rules.join(", ");
            let http = format!("port: 80, server_group: web, rules: [{rules}]{settings}}}");
            TUTORIAL.replace("port: 80, server_group: web}", &http)
                + &format!(
                    "  - {{name: tls, load_balancer: alb1, protocol: HTTPS, port: 443, server_group: web, certificates: [www]}}\n\
                            acls: [{{name: home, entries: [{acl}]}}]\n"
                )
        };
        let old = with(
            "",
            &[rule("r1", 1, "/a"), rule("r2", 2, "/b"), rule("r3", 3, "/c")],
            "{cidr: 10.0.0.0/8}, {cidr: 11.0.0.0/8}",
        );
        let settings = ", enabled: false, gzip: false, idle_timeout: 9, logged_headers: [a], acl: {type: White, lists: [home]}";
        let new = with(
            settings,
            &[rule("one", 1, "/x"), rule("r3", 3, "/c"), rule("r4", 4, "/d")],
            "{cidr: 11.0.0.0/8}, {cidr: 12.0.0.0/8}",
        )
        .replace(
            "certificates: [www]",
            "certificates: [www, api], http2: false, security_policy: tls_cipher_policy_1_2",
        );
        assert_eq!(
            between(&old, &new),
            [
                "~ listener \"http\": stopped, timeouts, gzip, acl, logged_headers",
                "~ listener \"http\", rule of priority 1: name \"r1\" -> \"one\", conditions",
                "- listener \"http\", rule of priority 2",
                "+ listener \"http\", rule of priority 4",
                "~ listener \"tls\": certificates, security_policy, http2",
                "~ ACL \"home\": -10.0.0.0/8 +12.0.0.0/8",
            ]
        );
        assert_eq!(
            between(&new, &old)[0],
            "~ listener \"http\": started, timeouts, gzip, acl, logged_headers"
        );
    }

    #[test]
    fn shows_everything_of_a_first_revision_as_added() {
        let added = changes(&Resources::default(), &parse_resources(TUTORIAL, "r.yaml").unwrap().value);
        assert_eq!(added.len(), 2 + 2 + 1 + 2 + 2);
        assert!(added.iter().all(|change| change.kind == ChangeKind::Added));
    }
}
