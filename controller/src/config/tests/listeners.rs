//! Listeners, access control lists and security policies.

use super::*;
use crate::model::{
    AclKind, CertificateName, ForwardedHeaders, Listener, ListenerName, ListenerProtocol, SecurityPolicyName,
    XForwardedFor,
};
use std::num::NonZeroU32;
use std::time::Duration;

/// A listener of `protocol` with `settings`, as YAML, and those of other top-level sections.
fn with(protocol: &str, settings: &str, sections: &str) -> Result<Parsed<Resources>, ConfigErrors> {
    let needed = match protocol {
        "HTTPS" | "QUIC" if !settings.contains("certificates: [") => ", certificates: [www]",
        _ => "",
    };
    let group = match protocol {
        "TCP" => group_yaml("Ip", "protocol: TCP"),
        _ => group_yaml("Ip", "protocol: HTTP"),
    };
    let listener = format!(
        "{{name: l1, load_balancer: alb1, protocol: {protocol}, port: 443, server_group: g1{needed}{settings}}}"
    );
    parse_resources(&(network_text(&[&group], &[&listener]) + sections), "r.yaml")
}

#[track_caller]
fn listener(protocol: &str, settings: &str) -> Listener {
    match with(protocol, settings, SECTIONS) {
        Ok(parsed) => parsed.value.listeners[&ListenerName::new("l1")].clone(),
        Err(errors) => panic!("{settings} should be accepted:\n{errors}"),
    }
}

#[track_caller]
fn refused(protocol: &str, settings: &str) -> Vec<String> {
    let errors = with(protocol, settings, SECTIONS).expect_err("it should be refused");
    sentences(errors.findings())
}

pub(super) const SECTIONS: &str = "acls:
  - {name: office, entries: [{cidr: 192.0.2.0/24, description: first floor}]}
  - {name: home}
  - {name: third}
  - {name: fourth}
security_policies:
  - {name: mine, tls_versions: [TLSv1.3, TLSv1.2], ciphers: [TLS_AES_128_GCM_SHA256, ECDHE-RSA-AES128-GCM-SHA256]}
";

// Holds LR-1, LR-10, LR-15, LR-20, LR-23
#[test]
fn settings_have_the_defaults_of_the_api_but_for_the_security_policy() {
    for (protocol, is_l7) in [("HTTP", true), ("HTTPS", true), ("QUIC", true), ("TCP", false)] {
        let listener = listener(protocol, "");
        assert_eq!(listener.protocol.to_string(), protocol);
        assert_eq!(listener.protocol.is_l4(), !is_l7);
        assert_eq!((listener.description, listener.enabled, listener.gzip), (None, true, true));
        assert_eq!(listener.timeouts.idle, Duration::from_secs(15));
        assert_eq!(listener.timeouts.request, Duration::from_secs(60));
        assert_eq!(listener.forwarded, ForwardedHeaders::default());
        assert_eq!(listener.forwarded.x_forwarded_for, XForwardedFor::Append);
        assert_eq!((listener.acl, listener.quic_upgrade), (None, None));
        assert_eq!(listener.loops.headers(), ["Causeway-Trace"]);
        assert_eq!(listener.requests_per_connection, None);
        assert_eq!((listener.logged_headers.len(), listener.rules.len()), (0, 0));
        assert_eq!(listener.tls.is_some(), matches!(protocol, "HTTPS" | "QUIC"));
        if let Some(tls) = listener.tls {
            assert_eq!(tls.certificates, [CertificateName::new("www")]);
            assert_eq!(tls.policy.as_str(), "tls_cipher_policy_1_2_strict_with_1_3");
            assert_eq!((tls.client_authorities, tls.http2), (None, true));
        }
    }
}

// Holds LR-4, LR-5, LR-10, LR-11, LR-12, LR-13, LR-52, LR-54
#[test]
fn settings_are_taken_as_they_are_written() {
    let listener = listener(
        "HTTP",
        ", description: \"公网/a-1.b_2\", enabled: false, idle_timeout: 3600, request_timeout: 1, gzip: false, requests_per_connection: 7, \
         logged_headers: [X-Request-Id, x_b], loop_detection: {header: X-Passed, alicloud_alb_trace: true}, acl: {type: Black, lists: [office, home, third]}, tracing: {enabled: false}",
    );
    assert_eq!(listener.description.as_deref(), Some("公网/a-1.b_2"));
    assert_eq!((listener.enabled, listener.gzip), (false, false));
    assert_eq!(listener.timeouts.idle, Duration::from_secs(3600));
    assert_eq!(listener.timeouts.request, Duration::from_secs(1));
    assert_eq!(listener.logged_headers, ["x-request-id", "x_b"]);
    assert_eq!(listener.loops.headers(), ["X-Passed", "ALICLOUD-ALB-TRACE"]);
    assert_eq!(listener.requests_per_connection.map(NonZeroU32::get), Some(7));
    let acl = listener.acl.unwrap();
    assert_eq!(acl.kind, AclKind::Black);
    assert_eq!(acl.acls.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["office", "home", "third"]);
}

// Holds LR-1, LR-2, LR-4, LR-10
#[test]
fn each_setting_is_held_to_its_range() {
    let header = "a header's name has 1 to 40 characters here: letters, digits, `-` and `_`; write the name of a \
                  request header";
    let description =
        "2 to 256 characters: letters, digits, `-`, `/`, `.` and `_`; reword it, or leave it out";
    let long = "x".repeat(257);
    let names = "a, b, c, d, e, f, g, h, i, j, k";
    for (settings, expected) in [
        (
            ", idle_timeout: 0",
            "[IllegalParam.IdleTimeout] listener \"l1\": idle_timeout 0: outside 1 to 3600; write a number from 1 to 3600",
        ),
        (
            ", requests_per_connection: 0",
            "[IllegalParam.RequestsPerConnection] listener \"l1\": requests_per_connection 0: outside 1 to 1000000000; write a \
             number from 1 to 1000000000",
        ),
        (
            ", request_timeout: 3601",
            "[IllegalParam.RequestTimeout] listener \"l1\": request_timeout 3601: outside 1 to 3600; write a number from 1 to 3600",
        ),
        (
            ", description: x",
            &format!("[IllegalParam.ListenerDescription] listener \"l1\": description \"x\": {description}"),
        ),
        (
            ", description: a b",
            &format!(
                "[IllegalParam.ListenerDescription] listener \"l1\": description \"a b\": {description}"
            ),
        ),
        (
            &format!(", description: {long}"),
            &format!(
                "[IllegalParam.ListenerDescription] listener \"l1\": description \"{long}\": {description}"
            ),
        ),
        (
            ", logged_headers: [\"a b\"]",
            &format!(
                "[IllegalParam.AccessLogRecordCustomizedHeadersEnabled] listener \"l1\": header \"a b\": {header}"
            ),
        ),
        (
            ", logged_headers: [a, A]",
            "[DuplicatedParam.AccessLogRecordCustomizedHeadersEnabled] listener \"l1\": logged_headers A: it is listed twice; name it once",
        ),
        (
            &format!(", logged_headers: [{names}]"),
            "[IllegalParam.AccessLogRecordCustomizedHeadersEnabled] listener \"l1\": 11 headers: the access log records at most 10 of a listener; remove some",
        ),
        (
            ", acl: {lists: [office]}",
            "[MissingParam.AclType] listener \"l1\": `type` is missing; write White to serve only what the lists hold, or Black to refuse it",
        ),
        (
            ", acl: {type: Grey, lists: [office]}",
            "[IllegalParam.AclType] listener \"l1\": type Grey: not one of White, Black; write White or Black",
        ),
        (
            ", acl: {type: White}",
            "[MissingParam.AclRelations] listener \"l1\": `lists` is missing; name 1 to 3 of `acls`",
        ),
        (
            ", acl: {type: White, lists: []}",
            "[IllegalParam.AclRelations] listener \"l1\": 0 lists: a listener goes by 1 to 3 lists; name some of `acls`, or remove `acl`",
        ),
        (
            ", acl: {type: White, lists: [office, home, third, fourth]}",
            "[IllegalParam.AclRelations] listener \"l1\": 4 lists: a listener goes by 1 to 3 lists; name some of `acls`, or remove `acl`",
        ),
        (
            ", acl: {type: White, lists: [home, home]}",
            "[DuplicatedParam.AclRelations] listener \"l1\": lists home: it is listed twice; name it once",
        ),
        (
            ", acl: {type: White, lists: [hom]}",
            "[ResourceNotFound.Acl] listener \"l1\": ACL \"hom\": no ACL of that name is defined; did you mean \"home\"? defined ACLs: \"fourth\", \"home\", \"office\", \"third\"",
        ),
        (
            ", forwarded_headers: {x_forwarded_for: replace}",
            "[IllegalParam.XForwardedForProcessingMode] listener \"l1\": x_forwarded_for replace: not one of append, remove, off; write append or remove or off",
        ),
    ] {
        assert_eq!(refused("HTTP", settings), [expected], "{settings}");
    }
    assert_eq!(
        sentences(with("UDP", "", SECTIONS).unwrap_err().findings()),
        [
            "[IllegalParam.ListenerProtocol] listener \"l1\": protocol UDP: UDP listeners are not supported yet; write HTTP or HTTPS or QUIC or TCP"
        ]
    );
    assert_eq!(
        errors(&[("port: 80, server_group: web", "port: 0, server_group: web")]),
        [
            "[IllegalParam.ListenerPort] listener \"http\": port 0: outside 1 to 65535; write a number from 1 to 65535"
        ]
    );
    assert_eq!(
        errors(&[("port: 80, server_group: web", "port: 65536, server_group: web")]),
        [
            "[IllegalParam.ListenerPort] listener \"http\": port 65536: outside 1 to 65535; write a number from 1 to 65535"
        ]
    );
}

// Holds LR-10, LR-15
#[test]
fn settings_of_other_protocols_are_refused() {
    let pem = "\"x\"";
    for (setting, key, field, whose, refusing) in [
        ("idle_timeout: 20", "idle_timeout", "IdleTimeout", "HTTP, HTTPS and QUIC listeners", &["TCP"][..]),
        (
            "request_timeout: 20",
            "request_timeout",
            "RequestTimeout",
            "HTTP, HTTPS and QUIC listeners",
            &["TCP"],
        ),
        ("gzip: true", "gzip", "GzipEnabled", "HTTP, HTTPS and QUIC listeners", &["TCP"]),
        (
            "forwarded_headers: {host: true}",
            "forwarded_headers",
            "XForwardedForConfig",
            "HTTP, HTTPS and QUIC listeners",
            &["TCP"],
        ),
        (
            "trusted_proxies: [10.0.0.0/8]",
            "trusted_proxies",
            "XForwardedForClientSourceIpsTrusted",
            "HTTP, HTTPS and QUIC listeners",
            &["TCP"],
        ),
        (
            "logged_headers: [a]",
            "logged_headers",
            "AccessLogRecordCustomizedHeadersEnabled",
            "HTTP, HTTPS and QUIC listeners",
            &["TCP"],
        ),
        ("acl: {type: White, lists: [home]}", "acl", "AclConfig", "HTTP, HTTPS and QUIC listeners", &["TCP"]),
        ("loop_detection: {}", "loop_detection", "LoopDetection", "HTTP, HTTPS and QUIC listeners", &["TCP"]),
        (
            "rules: [{name: r1, priority: 1, conditions: [{path: [/a]}], actions: [{forward: g1}]}]",
            "rules",
            "Rules",
            "HTTP, HTTPS and QUIC listeners",
            &["TCP"],
        ),
        ("certificates: [www]", "certificates", "Certificates", "HTTPS and QUIC listeners", &["HTTP", "TCP"]),
        ("http2: true", "http2", "Http2Enabled", "HTTPS listeners", &["HTTP", "QUIC", "TCP"]),
        (
            "security_policy: mine",
            "security_policy",
            "SecurityPolicyId",
            "HTTPS listeners",
            &["HTTP", "QUIC", "TCP"],
        ),
        ("ca_enabled: false", "ca_enabled", "CaEnabled", "HTTPS listeners", &["HTTP", "QUIC", "TCP"]),
        (
            &format!("ca_certificates: {pem}"),
            "ca_certificates",
            "CaCertificates",
            "HTTPS listeners",
            &["HTTP", "QUIC", "TCP"],
        ),
        ("quic_upgrade: l1", "quic_upgrade", "QuicListenerId", "HTTPS listeners", &["HTTP", "QUIC", "TCP"]),
    ] {
        let expected =
            format!("[IllegalParam.{field}] listener \"l1\": {key}: a setting of {whose} only; remove it");
        for protocol in ["HTTP", "HTTPS", "QUIC", "TCP"] {
            let found = with(protocol, &format!(", {setting}"), SECTIONS)
                .map_or_else(|errors| sentences(errors.findings()), |_| vec![]);
            assert_eq!(
                found.contains(&expected),
                refusing.contains(&protocol),
                "{protocol}, {setting}: {found:?}"
            );
        }
    }
}

// Holds LR-10
#[test]
fn tracing_is_refused_until_it_is_there() {
    for settings in ["{enabled: true}", "{}", "{type: Zipkin, sample: 10000}"] {
        let denied = "[OperationDenied.AccessLogTracing] listener \"l1\": tracing: requests cannot be traced yet; the \
                      access log has the timings of each; remove it, or write `enabled: false`";
        assert_eq!(refused("HTTP", &format!(", tracing: {settings}")), [denied], "{settings}");
    }
    assert_eq!(
        refused("HTTP", ", tracing: {enabled: false, type: Jaeger, sample: 10001}"),
        [
            "[IllegalParam.TracingType] listener \"l1\": type Jaeger: not one of Zipkin, OpenTelemetry; write Zipkin or OpenTelemetry",
            "[IllegalParam.TracingSample] listener \"l1\": sample 10001: outside 1 to 10000; write a number from 1 to 10000",
        ]
    );
}

// Holds LR-112
#[test]
fn the_header_that_loops_are_known_by_has_a_name_of_its_own() {
    let remedy = "choose another name, or leave it out for Causeway-Trace";
    let length = "a header's name has 1 to 40 characters here: letters, digits, `-` and `_`";
    for (name, rule) in [
        ("a:b", length),
        (&"x".repeat(41), length),
        ("Host", "a header of this name says something else"),
        ("x-forwarded-for", "a header of this name says something else"),
        ("X-Forwarded-Clientcert-Issuerdn", "a header of this name says something else"),
    ] {
        assert_eq!(
            refused("HTTP", &format!(", loop_detection: {{header: {name}}}")),
            [format!(
                "[IllegalParam.LoopDetectionHeader] listener \"l1\": header {name:?}: {rule}; {remedy}"
            )]
        );
    }
    // An alias that is the header's name, whichever is written first.
    let alias = ", forwarded_headers: {certificate_verify: x-passed}, loop_detection: {header: X-Passed}";
    assert_eq!(refused("HTTPS", alias).len(), 1);
    // ALB's header may be the only one.
    let both = ", loop_detection: {header: alicloud-alb-trace, alicloud_alb_trace: true}";
    assert_eq!(listener("HTTP", both).loops.headers(), ["alicloud-alb-trace"]);
}

// Holds LR-113
#[test]
fn no_rule_touches_a_header_that_loops_are_known_by() {
    let with = |header: &str, action: &str| {
        let rule = format!(
            "{{name: r1, priority: 1, conditions: [{{path: [/a]}}], actions: [{action}, {{forward: g1}}]}}"
        );
        refused("HTTP", &format!(", loop_detection: {header}, rules: [{rule}]"))
    };
    for name in ["x-passed", "X-PASSED", "causeway-trace", "alicloud-alb-trace"] {
        for action in [format!("insert_header: {{key: {name}, value: b}}"), format!("remove_header: {name}")]
        {
            let found = with("{header: X-Passed}", &format!("{{{action}}}"));
            assert!(found.len() == 1 && found[0].contains("loops are detected by it"), "{action}: {found:?}");
        }
    }
    // Where it is not the one configured it is a header as others are.
    let rule = "{name: r1, priority: 1, conditions: [{path: [/a]}], actions: [{remove_header: x-passed}, {forward: g1}]}";
    assert_eq!(listener("HTTP", &format!(", rules: [{rule}]")).rules.len(), 1);
}

// Holds LR-40, LR-41, LR-42
#[test]
fn headers_about_the_client_are_switched_one_by_one() {
    let forwarded =
        |settings: &str| listener("HTTPS", &format!(", forwarded_headers: {{{settings}}}")).forwarded;
    let usual = ForwardedHeaders::default;
    let named = |name: &str| Some(name.to_owned());
    for (settings, expected) in [
        ("x_forwarded_for: append", usual()),
        ("x_forwarded_for: remove", ForwardedHeaders { x_forwarded_for: XForwardedFor::Remove, ..usual() }),
        ("x_forwarded_for: off", ForwardedHeaders { x_forwarded_for: XForwardedFor::Pass, ..usual() }),
        ("proto: true", ForwardedHeaders { proto: true, ..usual() }),
        ("slb_id: true", ForwardedHeaders { slb_id: true, ..usual() }),
        ("port: true", ForwardedHeaders { port: true, ..usual() }),
        ("host: true", ForwardedHeaders { host: true, ..usual() }),
        ("client_port: true", ForwardedHeaders { client_port: true, ..usual() }),
        ("proto: false, host: false, certificate_subject: false", usual()),
        (
            "certificate_subject: true",
            ForwardedHeaders { certificate_subject: named("X-Forwarded-Clientcert-subjectdn"), ..usual() },
        ),
        (
            "certificate_issuer: true",
            ForwardedHeaders { certificate_issuer: named("X-Forwarded-Clientcert-issuerdn"), ..usual() },
        ),
        (
            "certificate_fingerprint: true",
            ForwardedHeaders {
                certificate_fingerprint: named("X-Forwarded-Clientcert-fingerprint"),
                ..usual()
            },
        ),
        (
            "certificate_verify: true",
            ForwardedHeaders { certificate_verify: named("X-Forwarded-Clientcert-clientverify"), ..usual() },
        ),
        ("certificate_verify: x-ok_1", ForwardedHeaders { certificate_verify: named("x-ok_1"), ..usual() }),
    ] {
        assert_eq!(forwarded(settings), expected, "{settings}");
    }
}

// Holds LR-41, LR-42
#[test]
fn headers_about_the_client_fit_the_protocol_and_have_names_of_their_own() {
    let section =
        |protocol: &str, settings: &str| refused(protocol, &format!(", forwarded_headers: {{{settings}}}"));
    let remedy = "choose another name, or write `true` for the usual one";
    let alias = "XForwardedForClientCertSubjectDNAlias";
    for (name, rule) in [
        ("\"\"", "a header's name has 1 to 40 characters here: letters, digits, `-` and `_`"),
        ("a:b", "a header's name has 1 to 40 characters here: letters, digits, `-` and `_`"),
        (&"x".repeat(41), "a header's name has 1 to 40 characters here: letters, digits, `-` and `_`"),
        ("X-Subject", "an alias has lower-case letters, digits, `-` and `_`"),
        ("host", "a header of this name says something else"),
        ("causeway-trace", "a header of this name says something else"),
    ] {
        let value = if name == "\"\"" { "" } else { name };
        assert_eq!(
            section("HTTPS", &format!("certificate_subject: {name}")),
            [format!(
                "[IllegalParam.{alias}] listener \"l1\": certificate_subject \"{value}\": {rule}; {remedy}"
            )]
        );
    }
    assert_eq!(
        section("HTTPS", "certificate_subject: x-c, certificate_verify: x-c"),
        [format!(
            "[IllegalParam.XForwardedForClientCertClientVerifyAlias] listener \"l1\": certificate_verify \"x-c\": `certificate_subject` is written under this name; {remedy}"
        )]
    );
    assert_eq!(
        section("QUIC", "client_port: true"),
        [
            "[IllegalParam.XForwardedForClientSrcPortEnabled] listener \"l1\": client_port: a setting of HTTP and HTTPS listeners only; remove it"
        ]
    );
    for (key, field) in [
        ("certificate_subject", "XForwardedForClientCertSubjectDNAlias"),
        ("certificate_issuer", "XForwardedForClientCertIssuerDNAlias"),
        ("certificate_fingerprint", "XForwardedForClientCertFingerprintAlias"),
        ("certificate_verify", "XForwardedForClientCertClientVerifyAlias"),
    ] {
        for protocol in ["HTTP", "QUIC"] {
            assert_eq!(
                section(protocol, &format!("{key}: true")),
                [format!(
                    "[IllegalParam.{field}] listener \"l1\": {key}: a setting of HTTPS listeners only; remove it"
                )]
            );
        }
    }
}

// Holds LR-10, LR-24
#[test]
fn listeners_with_tls_have_certificates() {
    let certificates = |settings: &str| listener("HTTPS", settings).tls.unwrap().certificates;
    assert_eq!(
        certificates(", certificates: [www, \"a b.c-d_e\"]"),
        ["www", "a b.c-d_e"].map(CertificateName::new)
    );
    let remedy = "name certificates that `causeway certificate list` shows, the default one first";
    for (list, expected) in [
        ("[ ]", format!("[IllegalParam.Certificates] listener \"l1\": 0 certificates: a listener has 1 to 301; {remedy}")),
        ("[\"../key\"]", format!("[IllegalParam.Certificates] listener \"l1\": certificate \"../key\": a name has 2 to 128 characters (200 bytes at most): letters, digits, `.`, `_`, `-` and space, the first a letter or digit; {remedy}")),
        ("[www, www]", "[DuplicatedParam.Certificates] listener \"l1\": certificates www: it is listed twice; name it once".to_owned()),
    ] {
        for protocol in ["HTTPS", "QUIC"] {
            assert_eq!(refused(protocol, &format!(", certificates: {list}")), [expected.as_str()], "{list}");
        }
    }
    let text = network_text(
        &[&group_yaml("Ip", "")],
        &["{name: l1, load_balancer: alb1, protocol: HTTPS, port: 443, server_group: g1}"],
    );
    assert_eq!(
        sentences(parse_resources(&text, "r.yaml").unwrap_err().findings()),
        [format!("[MissingParam.Certificates] listener \"l1\": `certificates` is missing; {remedy}")]
    );
}

// Holds LR-20, LR-22, LR-23
#[test]
fn every_policy_of_the_system_and_of_the_file_can_be_named() {
    for policy in [
        "tls_cipher_policy_1_0",
        "tls_cipher_policy_1_1",
        "tls_cipher_policy_1_2",
        "tls_cipher_policy_1_2_strict",
        "tls_cipher_policy_1_2_strict_with_1_3",
        "tls_cipher_policy_1_0_to_1_3",
        "mine",
    ] {
        let tls = listener("HTTPS", &format!(", security_policy: {policy}")).tls.unwrap();
        assert_eq!(tls.policy, SecurityPolicyName::new(policy));
    }
    assert_eq!(
        refused("HTTPS", ", security_policy: tls_cipher_policy_1_3"),
        [
            "[ResourceNotFound.SecurityPolicy] listener \"l1\": security_policy \"tls_cipher_policy_1_3\": no security policy of that \
             name is defined, and the system has none; did you mean \"tls_cipher_policy_1_0\"? there are \"mine\", \
             \"tls_cipher_policy_1_0\", \"tls_cipher_policy_1_1\", \"tls_cipher_policy_1_2\", \"tls_cipher_policy_1_2_strict\", \
             \"tls_cipher_policy_1_2_strict_with_1_3\", \"tls_cipher_policy_1_0_to_1_3\""
        ]
    );
}

/// `authority.pem` as the value of a key in a flow mapping.
fn authority() -> String {
    format!("{:?}", include_str!("authority.pem"))
}

// Holds LR-10, LR-26
#[test]
fn clients_need_certificates_where_an_authority_is_written() {
    let authorities = |settings: &str| listener("HTTPS", settings).tls.unwrap().client_authorities;
    let pem = authority();
    assert_eq!(
        authorities(&format!(", ca_certificates: {pem}")).as_deref(),
        Some(include_str!("authority.pem"))
    );
    assert!(authorities(&format!(", ca_certificates: {pem}, ca_enabled: true")).is_some());
    assert_eq!(authorities(&format!(", ca_certificates: {pem}, ca_enabled: false")), None);
    assert_eq!(authorities(", ca_enabled: false"), None);
    let remedy = "write the authority's certificate as PEM: `ca_certificates: |` and the text below";
    assert_eq!(
        refused("HTTPS", ", ca_enabled: true"),
        [format!(
            "[MissingParam.CaCertificates] listener \"l1\": ca_enabled true: `ca_certificates` is missing; {remedy}"
        )]
    );
    assert_eq!(
        refused("HTTPS", ", ca_certificates: none"),
        [format!(
            "[IllegalParam.CaCertificates] listener \"l1\": ca_certificates: holds no certificate; {remedy}"
        )]
    );
}

/// Errors of these listeners, each `name, balancer, protocol, port` and settings, before a group "web".
pub(super) fn among(listeners: &[&str], sections: &str) -> Vec<String> {
    let listeners: Vec<String> = listeners
        .iter()
        .map(|text| {
            let [name, balancer, protocol, port, rest] =
                <[&str; 5]>::try_from(text.splitn(5, ' ').collect::<Vec<_>>()).expect("five parts");
            let certificates =
                if matches!(protocol, "HTTPS" | "QUIC") { "certificates: [www], " } else { "" };
            let group = if protocol == "TCP" { "tcp" } else { "g1" };
            format!(
                "{{name: {name}, load_balancer: {balancer}, protocol: {protocol}, port: {port}, {certificates}server_group: {group}{rest}}}"
            )
        })
        .collect();
    let listeners: Vec<&str> = listeners.iter().map(String::as_str).collect();
    let tcp = "{name: tcp, type: Ip, vpc: vpc1, protocol: TCP, health_check: {enabled: true}}";
    let text = network_text(&[&group_yaml("Ip", ""), tcp], &listeners) + sections;
    parse_resources(&text, "r.yaml").map_or_else(|errors| sentences(errors.findings()), |_| vec![])
}

// Holds LR-3
#[test]
fn a_port_of_a_transport_belongs_to_one_listener() {
    assert_eq!(among(&["l1 alb1 HTTPS 443 ", "l2 alb1 QUIC 443 ", "l3 alb4 HTTP 443 "], ""), [""; 0]);
    for (first, second, is_taken) in [
        ("HTTP", "HTTPS", true),
        ("HTTP", "TCP", true),
        ("HTTPS", "TCP", true),
        ("QUIC", "QUIC", true),
        ("TCP", "QUIC", false),
        ("HTTP", "QUIC", false),
    ] {
        let found = among(&[&format!("l1 alb1 {first} 443 "), &format!("l2 alb1 {second} 443 ")], "");
        let expected = "[ResourceAlreadyExist.Listener] listener \"l2\": port 443: listener \"l1\" has this port of \
                        load balancer \"alb1\"; choose another port";
        let expected: &[&str] = if is_taken { &[expected] } else { &[] };
        assert_eq!(found, expected, "{first} {second}");
    }
}

// Holds LR-10, LR-29
#[test]
fn a_quic_listener_is_advertised_by_one_listener_of_its_load_balancer() {
    let quic = "q1 alb1 QUIC 443 ";
    assert_eq!(among(&[quic, "l1 alb1 HTTPS 443 , quic_upgrade: q1"], ""), [""; 0]);
    for (listeners, expected) in [
        (
            [quic, "l1 alb1 HTTPS 443 , quic_upgrade: q2"],
            "[ResourceNotFound.Listener] listener \"l1\": listener \"q2\": no listener of that name is defined; did you mean \"q1\"? defined listeners: \"l1\", \"q1\"",
        ),
        (
            ["l2 alb1 HTTP 80 ", "l1 alb1 HTTPS 443 , quic_upgrade: l2"],
            "[Mismatch.ListenerProtocol] listener \"l1\": quic_upgrade \"l2\": its protocol is HTTP; name a listener with `protocol: QUIC`",
        ),
        (
            ["q1 alb4 QUIC 443 ", "l1 alb1 HTTPS 443 , quic_upgrade: q1"],
            "[Mismatch.LoadBalancerId] listener \"l1\": quic_upgrade \"q1\": it belongs to load balancer \"alb4\"; name a QUIC listener of the same load balancer",
        ),
    ] {
        assert_eq!(among(&listeners, ""), [expected]);
    }
    assert_eq!(
        among(&[quic, "l1 alb1 HTTPS 443 , quic_upgrade: q1", "l2 alb1 HTTPS 444 , quic_upgrade: q1"], ""),
        [
            "[OperationDenied.QuicListenerAlreadyLinked] listener \"l2\": quic_upgrade \"q1\": listener \"l1\" advertises it already; use a QUIC listener for each"
        ]
    );
}

// Holds LR-22, LR-26
#[test]
fn edition_basic_has_neither_mutual_tls_nor_policies_of_the_file() {
    let network = NETWORK.replace("name: alb4\n", "name: alb4\n    edition: Basic\n");
    let listener = format!(
        "listeners:\n  - {{name: l1, load_balancer: alb4, protocol: HTTPS, port: 443, server_group: g1, certificates: [www], \
         security_policy: mine, ca_certificates: {}}}\n",
        authority()
    );
    let text = format!("{network}server_groups:\n  - {}\n{listener}{SECTIONS}", group_yaml("Ip", ""));
    assert_eq!(
        sentences(parse_resources(&text, "r.yaml").unwrap_err().findings()),
        [
            "[OperationDenied.SecurityPolicyWithBasicEdition] listener \"l1\": security_policy \"mine\": load balancer \"alb4\" is of \
             edition Basic; name one of the system's, or write `edition: Standard`",
            "[OperationDenied.MutualTlsWithBasicEdition] listener \"l1\": ca_certificates: load balancer \"alb4\" is of edition Basic; \
             remove them, or write `edition: Standard`",
        ]
    );
}

// Holds SG-23
#[test]
fn grpc_groups_need_http2() {
    let grpc = |settings: &str| {
        let group =
            "{name: g1, type: Ip, vpc: vpc1, protocol: gRPC, health_check: {enabled: true, protocol: gRPC}}";
        let listener = format!(
            "{{name: l1, load_balancer: alb1, protocol: HTTPS, port: 443, certificates: [www], server_group: g1{settings}}}"
        );
        network_with(&[group], &[&listener]).map_or_else(|errors| sentences(errors.findings()), |_| vec![])
    };
    assert_eq!(grpc(""), [""; 0]);
    assert_eq!(
        grpc(", http2: false"),
        [
            "[OperationDenied.Http2RequiredByServerGroup] listener \"l1\": server group \"g1\": its protocol is gRPC, which needs \
          HTTP/2, and the listener has it off; turn HTTP/2 on, or name a group of another protocol"
        ]
    );
}

// Holds LR-2
#[test]
fn protocols_are_known_in_any_case() {
    assert_eq!(listener("https", ", certificates: [www]").protocol, ListenerProtocol::Https);
}
