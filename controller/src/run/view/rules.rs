//! Listeners' settings and rules in words, access control lists, security policies.

use crate::api::{AclView, RuleView, SecurityPolicyView};
use crate::model::{
    Acl, Condition, Extension, FieldCondition, Final, HeaderValue, Listener, LoopDetection, Origins, Pair,
    Pattern, Redirect, Rewrite, Rule, StatusPattern, Template, TrafficLimit, XForwardedFor,
};
use crate::run::control::Control;
use crate::tls_policy::{PolicyRef, SystemPolicy, served};
use std::fmt;

impl Control {
    pub(super) fn rules(&self) -> Vec<RuleView> {
        let listeners = self.resources.listeners.values();
        listeners.flat_map(|listener| listener.rules.iter().map(|rule| rule_view(listener, rule))).collect()
    }

    pub(super) fn acls(&self) -> Vec<AclView> {
        let users = |acl: &Acl| -> Vec<String> {
            let lists = self.resources.listeners.values().map(|listener| (listener, listener.acl.as_ref()));
            let used = lists.filter_map(|(listener, list)| {
                let list = list.filter(|list| list.acls.contains(&acl.name))?;
                Some(format!("{} ({:?})", listener.name, list.kind))
            });
            used.collect()
        };
        let view = |acl: &Acl| AclView {
            name: acl.name.to_string(),
            entries: acl
                .entries
                .iter()
                .map(|entry| (entry.cidr.to_string(), entry.description.clone()))
                .collect(),
            listeners: users(acl),
        };
        self.resources.acls.values().map(view).collect()
    }

    /// Those of the file, then the system's.
    pub(super) fn security_policies(&self) -> Vec<SecurityPolicyView> {
        let custom = self.resources.security_policies.values();
        let custom = custom.map(|policy| (policy.name.to_string(), PolicyRef::Custom(policy)));
        let system = SystemPolicy::ALL.map(|policy| (policy.id().to_owned(), PolicyRef::System(policy)));
        let view = |(name, policy): (String, PolicyRef<'_>)| {
            let served = served(&policy);
            let users = self
                .resources
                .listeners
                .values()
                .filter(|listener| listener.tls.as_ref().is_some_and(|tls| tls.policy.as_str() == name));
            SecurityPolicyView {
                is_system: matches!(policy, PolicyRef::System(_)),
                versions: served.versions.iter().map(ToString::to_string).collect(),
                suites: served.suites.iter().map(|suite| (*suite).to_owned()).collect(),
                left_out: served.left_out,
                listeners: users.map(|listener| listener.name.to_string()).collect(),
                name,
            }
        };
        custom.chain(system).map(view).collect()
    }

    /// What `describe` tells of a listener beside what every listener has: labels and values.
    pub(super) fn settings(&self, listener: &Listener) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        let mut say = |label: &str, value: String| settings.push((label.to_owned(), value));
        if let Some(description) = &listener.description {
            say("description", description.clone());
        }
        if listener.protocol.is_l4() {
            return settings;
        }
        let switch = |is_on| if is_on { "on" } else { "off" }.to_owned();
        say("gzip", switch(listener.gzip));
        if let Some(tls) = &listener.tls {
            if !listener.protocol.is_udp() {
                say("HTTP/2", switch(tls.http2));
            }
            say("security policy", tls.policy.to_string());
            if let Some(policy) = PolicyRef::find(&tls.policy, &self.resources.security_policies) {
                let served = served(&policy);
                let versions: Vec<String> = served.versions.iter().map(ToString::to_string).collect();
                say("", format!("serves {}", versions.join(", ")));
                for left_out in served.left_out {
                    say("", format!("without {left_out}"));
                }
            }
            if tls.client_authorities.is_some() {
                say("client certs", "required".to_owned());
            }
        }
        if let Some(quic) = &listener.quic_upgrade {
            say("HTTP/3", format!("advertised, by listener {quic}"));
        }
        if let Some(requests) = listener.requests_per_connection {
            say("connections", format!("closed after {requests} requests"));
        }
        if listener.loops != LoopDetection::default() {
            say("loop header", listener.loops.headers().join(", "));
        }
        if let Some(acl) = &listener.acl {
            let names: Vec<&str> = acl.acls.iter().map(|name| name.as_str()).collect();
            say("access list", format!("{:?}: {}", acl.kind, names.join(", ")));
        }
        let headers = forwarded_headers(listener);
        if !headers.is_empty() {
            say("headers", headers.join(", "));
        }
        if !listener.logged_headers.is_empty() {
            say("logged headers", listener.logged_headers.join(", "));
        }
        settings
    }
}

/// Names of the headers about the client that are written, X-Forwarded-For aside unless it is taken away.
fn forwarded_headers(listener: &Listener) -> Vec<String> {
    let forwarded = &listener.forwarded;
    let switches = [
        (forwarded.proto, "X-Forwarded-Proto"),
        (forwarded.slb_id, "SLB-ID"),
        (forwarded.port, "X-Forwarded-Port"),
        (forwarded.host, "X-Forwarded-Host"),
        (forwarded.client_port, "X-Forwarded-Client-srcport"),
    ];
    let removed = forwarded.x_forwarded_for == XForwardedFor::Remove;
    let removed = removed.then(|| "X-Forwarded-For removed".to_owned());
    let named = [
        &forwarded.certificate_subject,
        &forwarded.certificate_issuer,
        &forwarded.certificate_fingerprint,
        &forwarded.certificate_verify,
    ];
    let switched = switches.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name.to_owned());
    removed.into_iter().chain(switched).chain(named.into_iter().flatten().cloned()).collect()
}

fn rule_view(listener: &Listener, rule: &Rule) -> RuleView {
    let extensions = rule.actions.extensions.iter().map(|extension| extension_words(&extension.action));
    let last = rule.actions.last.iter().map(|last| final_words(&last.action));
    RuleView {
        listener: listener.name.to_string(),
        name: rule.name.to_string(),
        direction: format!("{:?}", rule.direction),
        priority: rule.priority,
        conditions: rule.conditions.iter().map(condition_words).collect(),
        actions: extensions.chain(last).collect(),
    }
}

/// As a file has it.
fn pattern_words(subject: &Condition, pattern: &Pattern) -> String {
    match pattern {
        Pattern::Literal(text) | Pattern::Wildcard(text) => text.clone(),
        Pattern::Regex { pattern, ignore_case: true } if !matches!(subject, Condition::Host(_)) => {
            format!("~*{pattern}")
        }
        Pattern::Regex { pattern, .. } => format!("~{pattern}"),
    }
}

fn condition_words(condition: &Condition) -> String {
    let any = |values: &[Pattern]| -> String {
        values.iter().map(|value| pattern_words(condition, value)).collect::<Vec<_>>().join(" or ")
    };
    let pairs = |pairs: &[Pair]| -> String {
        let word = |pair: &Pair| {
            format!("{}={}", pattern_words(condition, &pair.key), pattern_words(condition, &pair.value))
        };
        pairs.iter().map(word).collect::<Vec<_>>().join(" or ")
    };
    let field = |field: &FieldCondition| format!("{} is {}", field.key, any(&field.values));
    fn each<T: fmt::Display>(values: &[T]) -> String {
        values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
    }
    match condition {
        Condition::Host(values) => format!("host is {}", any(values)),
        Condition::Path(values) => format!("path is {}", any(values)),
        Condition::Header(of) => format!("header {}", field(of)),
        Condition::QueryString(of) => format!("query has {}", pairs(of)),
        Condition::Method(values) => format!("method is {}", each(values)),
        Condition::Cookie(of) => format!("cookie is {}", pairs(of)),
        Condition::SourceIp(values) => format!("client is in {}", each(values)),
        Condition::ResponseHeader(of) => format!("response header {}", field(of)),
        Condition::ResponseStatusCode(values) => {
            let word = |status: &StatusPattern| match status {
                StatusPattern::Code(code) => code.to_string(),
                StatusPattern::Class(class) => format!("{class}xx"),
            };
            format!("status is {}", values.iter().map(word).collect::<Vec<_>>().join(" or "))
        }
    }
}

/// What becomes of path and query, where they do not stay.
fn url_words(path: &Template, query: &Template) -> Vec<String> {
    let path = (*path != Template::path()).then(|| format!("path {path}"));
    let query = (*query != Template::query()).then(|| format!("query {query}"));
    path.into_iter().chain(query).collect()
}

fn extension_words<G: fmt::Display>(extension: &Extension<G>) -> String {
    match extension {
        Extension::Rewrite(Rewrite { host, path, query }) => {
            let host = host.iter().map(|host| format!("host {host}"));
            format!("rewrite to {}", host.chain(url_words(path, query)).collect::<Vec<_>>().join(", "))
        }
        Extension::InsertHeader(insert) => {
            let value = match &insert.value {
                HeaderValue::Text(text) => format!("{text:?}"),
                HeaderValue::Reference(name) => format!("header {name}"),
                HeaderValue::System(value) => format!("{value:?}"),
            };
            format!("{} header {}: {value}", if insert.cover { "set" } else { "add" }, insert.key)
        }
        Extension::RemoveHeader { key } => format!("remove header {key}"),
        Extension::TrafficLimit(TrafficLimit { qps, per_ip_qps }) => {
            let all = qps.map(|qps| format!("{qps} requests/s"));
            let each = per_ip_qps.map(|qps| format!("{qps} requests/s per client"));
            format!("limit to {}", all.into_iter().chain(each).collect::<Vec<_>>().join(", "))
        }
        Extension::TrafficMirror { group } => format!("mirror to {group}"),
        Extension::Cors(cors) => match &cors.origins {
            Origins::Any => "allow scripts of all origins".to_owned(),
            Origins::Listed(origins) => format!("allow scripts of {}", origins.join(", ")),
        },
    }
}

fn final_words<G: fmt::Display>(action: &Final<G>) -> String {
    match action {
        Final::Forward(forward) => {
            let shares: Vec<String> = match forward.groups.as_slice() {
                [one] => vec![one.group.to_string()],
                several => {
                    several.iter().map(|share| format!("{} (weight {})", share.group, share.weight)).collect()
                }
            };
            let sticky = forward.sticky_secs.map(|secs| format!(", sticky for {secs} s"));
            format!("forward to {}{}", shares.join(", "), sticky.unwrap_or_default())
        }
        Final::Redirect(Redirect { status, https, host, port, path, query }) => {
            let scheme = https.map(|https| if https { "HTTPS" } else { "HTTP" }.to_owned());
            let host = host.iter().map(|host| format!("host {host}"));
            let port = port.iter().map(|port| format!("port {port}"));
            let parts = scheme.into_iter().chain(host).chain(port).chain(url_words(path, query));
            format!("redirect ({status}) to {}", parts.collect::<Vec<_>>().join(", "))
        }
        Final::FixedResponse(fixed) => {
            format!("answer {}, {} bytes of {}", fixed.status, fixed.content.len(), fixed.content_type)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_resources;
    use crate::model::ListenerName;

    #[test]
    fn says_what_rules_ask_and_do() {
        let text = include_str!("../../config/tests/every_setting.yaml");
        let resources = parse_resources(text, "r.yaml").unwrap_or_else(|errors| panic!("{errors}")).value;
        let listener = &resources.listeners[&ListenerName::new("http")];
        let words: Vec<(String, Vec<String>, Vec<String>)> = listener
            .rules
            .iter()
            .map(|rule| rule_view(listener, rule))
            .map(|rule| {
                (format!("{} {} {}", rule.direction, rule.priority, rule.name), rule.conditions, rule.actions)
            })
            .collect();
        let expected: &[(&str, &[&str], &[&str])] = &[
            (
                "Request 10 api",
                &[
                    "host is api.example.org or *.api.example.org or ~^api[0-9]+[.]",
                    "path is /v1/* or ~^/v[0-9]+/(.*)$ or ~*[.]JSON$",
                    "method is GET or POST",
                    "header x-tenant is red or b*",
                    "query has debug=*",
                    "cookie is beta=1",
                    "client is in 192.0.2.0/24 or 198.51.100.7/32",
                ],
                &[
                    "rewrite to host api.internal, path /api${path}",
                    "set header x-from: \"edge\"",
                    "limit to 1000 requests/s, 50 requests/s per client",
                    "mirror to web",
                    "forward to web (weight 90), remote (weight 10), sticky for 1000 s",
                ],
            ),
            (
                "Request 20 to-https",
                &["path is ~^/shop/([a-z]+)/([0-9]+)$"],
                &["redirect (301) to HTTPS, port 443, path /s/${1}/${2}"],
            ),
            ("Request 30 closed", &["path is /admin"], &["answer 404, 13 bytes of text/plain"]),
            (
                "Request 40 scripts",
                &["path is /data/*"],
                &[
                    "allow scripts of https://www.example.org, https://*.example.com",
                    "set header x-client: ClientSrcIp",
                    "set header x-agent: header user-agent",
                    "remove header x-debug",
                    "forward to web",
                ],
            ),
            (
                "Response 10 hide",
                &["status is 404 or 5xx", "response header server is *"],
                &["remove header server"],
            ),
        ];
        let expected: Vec<(String, Vec<String>, Vec<String>)> = expected
            .iter()
            .map(|(name, conditions, actions)| {
                let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
                ((*name).to_owned(), owned(conditions), owned(actions))
            })
            .collect();
        assert_eq!(words, expected);
        assert_eq!(
            forwarded_headers(listener),
            [
                "X-Forwarded-Proto",
                "SLB-ID",
                "X-Forwarded-Port",
                "X-Forwarded-Host",
                "X-Forwarded-Client-srcport"
            ]
        );
    }
}
