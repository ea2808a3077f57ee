//! Settings of server groups, each by itself.

use super::*;
use crate::model::{
    ConnectionDrain, GroupProtocol, HashFactor, Scheduler, ServerGroupType, SlowStart, TlsVerification,
};
use std::time::Duration;

// Holds SG-2
#[test]
fn takes_the_three_types_and_instance_by_default() {
    for (name, group_type) in [("Instance", ServerGroupType::Instance), ("Ip", ServerGroupType::Ip)] {
        assert_eq!(group(name, "").group_type, group_type);
    }
    assert_eq!(group("Fc", "").group_type, ServerGroupType::Fc);
    let unnamed = network_with(&["{name: g1, vpc: vpc1, health_check: {enabled: true}}"], &[]).unwrap();
    let default = &unnamed.value.server_groups[&ServerGroupName::new("g1")];
    assert_eq!(default.group_type, ServerGroupType::Instance);
    for wrong in ["ip", "Server", "Alb"] {
        let errors = group_errors(wrong, "");
        assert_eq!(errors, [format!("IllegalParam.ServerGroupType | server group \"g1\" | type {wrong}")]);
    }
}

/// Errors where a group is named `name`.
fn name_errors(name: &str) -> Vec<String> {
    let quoted = serde_json::to_string(name).unwrap();
    let group = format!("{{name: {quoted}, type: Ip, vpc: vpc1, health_check: {{enabled: true}}}}");
    network_with(&[&group], &[]).map_or_else(|errors| told(&errors), |_| vec![])
}

// Holds SG-4
#[test]
fn holds_names_to_their_rule() {
    let long = "x".repeat(128);
    for name in ["ab", "9 lives", "组 1", "a.b_c-d e", &long] {
        assert_eq!(name_errors(name), [""; 0], "{name}");
    }
    let longer = "x".repeat(129);
    for name in ["a", ".ab", "-ab", "_ab", " ab", "a/b", "a\u{7}b", &longer] {
        let errors = name_errors(name);
        assert_eq!(errors.len(), 1, "{name}");
        assert!(errors[0].starts_with("IllegalParam.ServerGroupName | server group"), "{errors:?}");
    }
    let nameless = network_with(&["{type: Ip, vpc: vpc1, health_check: {enabled: true}}"], &[]);
    assert_eq!(told(&nameless.unwrap_err()), ["MissingParam.ServerGroupName | server group #1 | "]);
}

// Holds SG-5
#[test]
fn needs_a_known_vpc_but_for_functions() {
    for group_type in ["Ip", "Instance"] {
        let group = format!("{{name: g1, type: {group_type}, health_check: {{enabled: true}}}}");
        assert_eq!(
            told(&network_with(&[&group], &[]).unwrap_err()),
            ["MissingParam.VpcId | server group \"g1\" | "]
        );
        let group = format!("{{name: g1, type: {group_type}, vpc: vpc7, health_check: {{enabled: true}}}}");
        assert_eq!(
            told(&network_with(&[&group], &[]).unwrap_err()),
            ["ResourceNotFound.Vpc | server group \"g1\" | VPC \"vpc7\""]
        );
    }
    assert_eq!(group("Fc", "vpc: anything").vpc, None);
}

// Holds SG-8, SG-9, SG-72
#[test]
fn needs_to_be_told_whether_servers_are_checked_but_for_functions() {
    for group_type in ["Ip", "Instance"] {
        let group = |rest: &str| format!("{{name: g1, type: {group_type}, vpc: vpc1{rest}}}");
        assert_eq!(
            told(&network_with(&[&group("")], &[]).unwrap_err()),
            ["MissingParam.HealthCheckConfig | server group \"g1\" | "]
        );
        assert_eq!(
            told(&network_with(&[&group(", health_check: {interval: 2}")], &[]).unwrap_err()),
            ["MissingParam.HealthCheckEnabled | server group \"g1\", health check | "]
        );
        let off = network_with(&[&group(", health_check: {enabled: false}")], &[]).unwrap();
        assert_eq!(off.value.server_groups[&ServerGroupName::new("g1")].health_check, None);
    }
    assert_eq!(group("Fc", "").health_check, None);
    assert_eq!(group("Fc", "health_check: {interval: 2}").health_check, None);
    assert!(group("Fc", "health_check: {enabled: true}").health_check.is_some());
}

// Holds SG-10, SG-12, SG-65
#[test]
fn keeps_labels_that_mean_nothing_to_it() {
    let group =
        group("Ip", "service_name: ingress, resource_group: rg-1, ip_version_affinity_mode: whatever");
    assert_eq!(group.service_name.as_deref(), Some("ingress"));
    assert_eq!(group.resource_group.as_deref(), Some("rg-1"));
    assert_eq!(group.ip_version_affinity_mode.as_deref(), Some("whatever"));
    assert_eq!(
        group_errors("Ip", "service_name: \"\""),
        ["IllegalParam.ServiceName | server group \"g1\" | service_name of 0 characters"]
    );
}

// Holds SG-11
#[test]
fn bounds_tags() {
    let long = "t".repeat(128);
    let tags = |text: &str| format!("tags: {{{text}}}");
    let good = group("Ip", &tags(&format!("env: prod, {long}: {long}, empty: \"\", number: 7")));
    assert_eq!(good.tags.len(), 4);
    assert_eq!((good.tags["env"].as_str(), good.tags["number"].as_str()), ("prod", "7"));
    let error = |part: &str| format!("IllegalParam.Tag | server group \"g1\" | tag {part}");
    for (wrong, part) in [
        (format!("{long}t: x"), format!("key \"{long}t\"")),
        (format!("x: {long}t"), format!("value \"{long}t\"")),
        ("aliyun-x: y".to_owned(), "key \"aliyun-x\"".to_owned()),
        ("\"acs:x\": y".to_owned(), "key \"acs:x\"".to_owned()),
        ("x: aliyun".to_owned(), "value \"aliyun\"".to_owned()),
        ("x: \"acs:y\"".to_owned(), "value \"acs:y\"".to_owned()),
        ("x: \"see http://y\"".to_owned(), "value \"see http://y\"".to_owned()),
        ("x: \"see https://y\"".to_owned(), "value \"see https://y\"".to_owned()),
        ("\"\": y".to_owned(), "key \"\"".to_owned()),
    ] {
        assert_eq!(group_errors("Ip", &tags(&wrong)), [error(&part)]);
    }
    let many = |count| tags(&(0..count).map(|n| format!("t{n}: x")).collect::<Vec<_>>().join(", "));
    assert_eq!(group("Ip", &many(20)).tags.len(), 20);
    assert_eq!(group_errors("Ip", &many(21)), ["IllegalParam.Tag | server group \"g1\" | 21 tags"]);
}

// Holds SG-20
#[test]
fn takes_protocols_in_any_case() {
    for (word, protocol) in [
        ("HTTP", GroupProtocol::Http),
        ("https", GroupProtocol::Https),
        ("gRPC", GroupProtocol::Grpc),
        ("GRPC", GroupProtocol::Grpc),
        ("grpc", GroupProtocol::Grpc),
        ("TCP", GroupProtocol::Tcp),
    ] {
        assert_eq!(group("Ip", &format!("protocol: {word}")).protocol, protocol);
    }
    assert_eq!(group("Ip", "").protocol, GroupProtocol::Http);
    assert_eq!(GroupProtocol::Grpc.to_string(), "gRPC");
    for wrong in ["QUIC", "UDP"] {
        assert_eq!(
            group_errors("Ip", &format!("protocol: {wrong}")),
            [format!("IllegalParam.Protocol | server group \"g1\" | protocol {wrong}")]
        );
    }
}

// Holds SG-80, SG-84, SG-85
#[test]
fn takes_the_three_schedulers_and_a_parameter_to_hash() {
    assert_eq!(group("Ip", "").scheduler, Scheduler::Wrr);
    assert_eq!(group("Ip", "scheduler: Wlc").scheduler, Scheduler::Wlc);
    assert_eq!(group("Ip", "scheduler: Sch").scheduler, Scheduler::Sch(HashFactor::SourceIp));
    let by = |name: &str| format!("scheduler: Sch, uch: {{type: QueryString, value: {name:?}}}");
    let long = "p".repeat(100);
    for name in ["user", "Ä", &long] {
        let factor = HashFactor::UrlParameter(name.to_owned());
        assert_eq!(group("Ip", &by(name)).scheduler, Scheduler::Sch(factor));
    }
    let of_uch =
        |value: &str| [format!("IllegalParam.UchConfig | server group \"g1\", uch | value {value:?}")];
    let longer = "p".repeat(101);
    for wrong in ["", "a b", "a#", "a[", "a]", "{a", "a}", "a\\", "a|", "<a", "a>", "a&b", &longer] {
        assert_eq!(group_errors("Ip", &by(wrong)), of_uch(wrong));
    }
    assert_eq!(
        group_errors("Ip", "scheduler: Sch, uch: {type: Header, value: user}"),
        ["IllegalParam.UchConfig | server group \"g1\", uch | type Header"]
    );
    assert_eq!(
        group_errors("Ip", "scheduler: Sch, uch: {type: QueryString}"),
        ["MissingParam.UchConfig | server group \"g1\", uch | "]
    );
    for scheduler in ["Wrr", "Wlc"] {
        assert_eq!(
            group_errors("Ip", &format!("scheduler: {scheduler}, uch: {{type: QueryString, value: user}}")),
            ["IllegalParam.UchConfig | server group \"g1\" | uch"]
        );
    }
    for wrong in ["wrr", "Maglev"] {
        assert_eq!(
            group_errors("Ip", &format!("scheduler: {wrong}")),
            [format!("IllegalParam.Scheduler | server group \"g1\" | scheduler {wrong}")]
        );
    }
}

// Holds SG-100, SG-170
#[test]
fn keeps_connections_and_crosses_zones_by_default() {
    let default = group("Ip", "");
    assert!(default.upstream_keepalive && default.cross_zone);
    let off = group("Ip", "upstream_keepalive: false, cross_zone_enabled: false");
    assert!(!off.upstream_keepalive && !off.cross_zone);
}

// Holds SG-130
#[test]
fn bounds_slow_start() {
    let duration = |settings: &str| group("Ip", settings).slow_start.map(|SlowStart { duration }| duration);
    assert_eq!(duration(""), None);
    assert_eq!(duration("slow_start: {enabled: false, duration: 40}"), None);
    assert_eq!(duration("slow_start: {enabled: true}"), Some(Duration::from_secs(30)));
    assert_eq!(duration("slow_start: {}"), Some(Duration::from_secs(30)));
    for seconds in [30, 900] {
        let settings = format!("slow_start: {{duration: {seconds}}}");
        assert_eq!(duration(&settings), Some(Duration::from_secs(seconds)));
    }
    for seconds in [29, 901] {
        assert_eq!(
            group_errors("Ip", &format!("slow_start: {{duration: {seconds}}}")),
            [format!(
                "IllegalParam.SlowStartDuration | server group \"g1\", slow start | duration {seconds}"
            )]
        );
    }
}

// Holds SG-150, SG-151
#[test]
fn bounds_draining() {
    let timeout =
        |settings: &str| group("Ip", settings).connection_drain.map(|ConnectionDrain { timeout }| timeout);
    assert_eq!(timeout(""), None);
    assert_eq!(timeout("connection_drain: {enabled: false, timeout: 40}"), None);
    assert_eq!(timeout("connection_drain: {enabled: true}"), Some(Duration::from_secs(300)));
    for seconds in [0, 900] {
        let settings = format!("connection_drain: {{timeout: {seconds}}}");
        assert_eq!(timeout(&settings), Some(Duration::from_secs(seconds)));
    }
    for seconds in [-1, 901] {
        assert_eq!(
            group_errors("Ip", &format!("connection_drain: {{timeout: {seconds}}}")),
            [format!(
                "IllegalParam.ConnectionDrainTimeout | server group \"g1\", connection drain | timeout {seconds}"
            )]
        );
    }
}

// Holds SG-21, SG-60, SG-110, SG-132, SG-152, SG-172
#[test]
fn refuses_each_setting_of_servers_in_a_group_of_a_function() {
    for (field, key, setting) in [
        ("Protocol", "protocol", "protocol: HTTP"),
        ("Scheduler", "scheduler", "scheduler: Wrr"),
        ("StickySessionConfig", "sticky_session", "sticky_session: {enabled: true}"),
        ("SlowStartConfig", "slow_start", "slow_start: {enabled: true}"),
        ("ConnectionDrainConfig", "connection_drain", "connection_drain: {enabled: true}"),
        ("CrossZoneEnabled", "cross_zone_enabled", "cross_zone_enabled: true"),
        ("UpstreamKeepaliveEnabled", "upstream_keepalive", "upstream_keepalive: true"),
        ("Ipv6Enabled", "ipv6_enabled", "ipv6_enabled: false"),
    ] {
        assert_eq!(
            group_errors("Fc", setting),
            [format!("IllegalParam.{field} | server group \"g1\" | {key}")]
        );
    }
    let all = "protocol: HTTP, scheduler: Wrr, slow_start: {}, connection_drain: {}, ipv6_enabled: true";
    assert_eq!(group_errors("Fc", all).len(), 5, "each of them is named");
}

const CERTIFICATE: &str = include_str!("authority.pem");

// Holds SG-27
#[test]
fn verifies_certificates_of_servers_only_where_told_to() {
    let certificate = CERTIFICATE.replace('\n', "\\n");
    assert_eq!(group("Ip", "protocol: HTTPS").tls_verification, None);
    let verification = |rest: &str| format!("protocol: HTTPS, tls_verification: {{{rest}}}");
    assert_eq!(
        group("Ip", &verification(&format!("ca_certificates: \"{certificate}\", server_name: up.test")))
            .tls_verification,
        Some(TlsVerification {
            ca_certificates: CERTIFICATE.to_owned(),
            server_name: Some("up.test".to_owned()),
        })
    );
    let subject = "server group \"g1\", TLS verification";
    assert_eq!(
        group_errors("Ip", &verification("server_name: up.test")),
        [format!("MissingParam.CaCertificates | {subject} | ")]
    );
    let key = certificate.replace("CERTIFICATE", "PRIVATE KEY");
    // Well formed as PEM, and nothing in it; the same behind a good one.
    let empty = "-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----\\n";
    let both = format!("{certificate}{empty}");
    for wrong in ["", "no PEM", "-----BEGIN CERTIFICATE-----\\nMAA=\\n", &key, empty, &both] {
        assert_eq!(
            group_errors("Ip", &verification(&format!("ca_certificates: \"{wrong}\""))),
            [format!("IllegalParam.CaCertificates | {subject} | ca_certificates")],
            "{wrong}"
        );
    }
    // The last two are host names by the letter, and none that a certificate can be verified for.
    for wrong in ["a b", "-a.test", "web.1", "10.0.0"] {
        let name = format!("ca_certificates: \"{certificate}\", server_name: \"{wrong}\"");
        assert_eq!(
            group_errors("Ip", &verification(&name)),
            [format!("IllegalParam.ServerName | {subject} | server_name {wrong:?}")]
        );
    }
}
