//! Health checks of groups, and templates of them.

use super::*;
use crate::model::{
    GrpcMethod, HealthCheck, HealthCheckMethod, HealthCheckProtocol, HealthCheckTemplateName, HttpVersion,
    StatusClass,
};
use std::num::NonZeroU16;
use std::time::Duration;

fn group_text(protocol: &str, check: &str) -> String {
    format!(
        "{{name: g1, type: Ip, vpc: vpc1, protocol: {protocol}, health_check: {{enabled: true, {check}}}}}"
    )
}

/// The check of a group of `protocol` with these settings.
#[track_caller]
fn check_in(protocol: &str, check: &str) -> HealthCheck {
    let parsed =
        network_with(&[&group_text(protocol, check)], &[]).unwrap_or_else(|errors| panic!("{errors}"));
    parsed.value.server_groups[&ServerGroupName::new("g1")].health_check.clone().expect("it is on")
}

#[track_caller]
fn check(settings: &str) -> HealthCheck {
    check_in("HTTP", settings)
}

#[track_caller]
fn refused(settings: &str, field: &str, value: &str) {
    let errors = network_with(&[&group_text("HTTP", settings)], &[]);
    assert_eq!(
        told(&errors.expect_err(settings)),
        [format!("IllegalParam.{field} | server group \"g1\", health check | {value}")]
    );
}

// Holds SG-180
#[test]
fn bounds_every_number() {
    let read = |key: &str, check: &HealthCheck| match key {
        "connect_port" => check.connect_port.map_or(0, NonZeroU16::get).into(),
        "interval" => check.interval.as_secs(),
        "timeout" => check.timeout.as_secs(),
        "healthy_threshold" => check.healthy_threshold.into(),
        _ => check.unhealthy_threshold.into(),
    };
    for (key, field, low, high, default) in [
        ("connect_port", "HealthCheckConnectPort", 0, 65535, 0),
        ("interval", "HealthCheckInterval", 1, 50, 2),
        ("timeout", "HealthCheckTimeout", 1, 300, 5),
        ("healthy_threshold", "HealthyThreshold", 2, 10, 3),
        ("unhealthy_threshold", "UnhealthyThreshold", 2, 10, 3),
    ] {
        for wrong in [low - 1, high + 1] {
            refused(&format!("{key}: {wrong}"), field, &format!("{key} {wrong}"));
        }
        for right in [low, high] {
            assert_eq!(read(key, &check(&format!("{key}: {right}"))), u64::try_from(right).unwrap(), "{key}");
        }
        assert_eq!(read(key, &check("")), default, "{key}");
    }
}

// Holds SG-180, SG-182, SG-184
#[test]
fn fills_in_the_defaults_of_each_protocol() {
    let http = |tls| HealthCheckProtocol::Http {
        tls,
        method: HealthCheckMethod::Head,
        path: "/".to_owned(),
        host: None,
        version: HttpVersion::Http11,
        codes: vec![StatusClass(2)],
    };
    let grpc = |tls| HealthCheckProtocol::Grpc {
        tls,
        method: GrpcMethod::Post,
        path: "/grpc.health.v1.Health/Check".to_owned(),
        host: None,
        codes: vec![0..=0],
    };
    assert_eq!(check("").protocol, http(false));
    assert_eq!(check("protocol: http").protocol, http(false));
    assert_eq!(check("protocol: HTTPS").protocol, http(true));
    assert_eq!(check("protocol: TCP").protocol, HealthCheckProtocol::Tcp);
    assert_eq!(check("protocol: gRPC").protocol, grpc(false));
    assert_eq!(check_in("gRPC", "protocol: GRPC").protocol, grpc(false));
    assert_eq!(check_in("HTTPS", "protocol: gRPC").protocol, grpc(true));
    assert_eq!(check_in("TCP", "").protocol, HealthCheckProtocol::Tcp, "what TCP servers surely speak");
    refused("protocol: UDP", "HealthCheckProtocol", "protocol UDP");
}

// Holds SG-180
#[test]
fn takes_the_methods_of_the_protocol() {
    let methods = ["HEAD", "GET", "POST"];
    for (protocol, fitting) in
        [("HTTP", ["HEAD", "GET"]), ("HTTPS", ["HEAD", "GET"]), ("gRPC", ["POST", "GET"])]
    {
        for method in methods {
            let settings = format!("protocol: {protocol}, method: {method}");
            if fitting.contains(&method) {
                let found = match check(&settings).protocol {
                    HealthCheckProtocol::Http { method, .. } => format!("{method:?}"),
                    HealthCheckProtocol::Grpc { method, .. } => format!("{method:?}"),
                    HealthCheckProtocol::Tcp => String::new(),
                };
                assert_eq!(found.to_uppercase(), method);
            } else {
                refused(&settings, "HealthCheckMethod", &format!("method {method}"));
            }
        }
    }
    for method in methods {
        assert_eq!(check(&format!("protocol: TCP, method: {method}")).protocol, HealthCheckProtocol::Tcp);
    }
    refused("method: PUT", "HealthCheckMethod", "method PUT");
}

// Holds SG-180
#[test]
fn holds_paths_hosts_and_versions_to_their_rules() {
    let http = |settings: &str| match check(settings).protocol {
        HealthCheckProtocol::Http { path, host, version, .. } => (path, host, version),
        other => panic!("{other:?}"),
    };
    let longest = format!("/{}", "a".repeat(79));
    for path in ["/", &longest, "/aZ9-/.%?#&=_;~!()*[]@$^:',+"] {
        assert_eq!(http(&format!("path: {path:?}")).0, path);
    }
    let longer = format!("/{}", "a".repeat(80));
    for path in ["", "healthz", "/a b", "/<", "/é", "/{", &longer] {
        refused(&format!("path: {path:?}"), "HealthCheckPath", &format!("path {path:?}"));
    }
    let longest = format!("{}.com", "a".repeat(76));
    for host in ["www.example.com", "a-1.b", "1.2.c", &longest] {
        assert_eq!(http(&format!("host: {host:?}")).1.as_deref(), Some(host));
    }
    assert_eq!(http("host: $SERVER_IP").1, None);
    let longer = format!("{}.com", "a".repeat(77));
    for host in
        ["", "localhost", "UP.example", ".a.b", "a.b.", "a..b", "-a.b", "a-.b", "a.b1", "10.0.0.1", &longer]
    {
        refused(&format!("host: {host:?}"), "HealthCheckHost", &format!("host {host:?}"));
    }
    assert_eq!(http("http_version: HTTP1.0").2, HttpVersion::Http10);
    assert_eq!(http("http_version: HTTP1.1").2, HttpVersion::Http11);
    refused("http_version: HTTP2", "HealthCheckHttpVersion", "http_version HTTP2");
}

// Holds SG-180
#[test]
fn takes_the_codes_of_the_protocol() {
    let codes = |settings: &str| match check(settings).protocol {
        HealthCheckProtocol::Http { codes, .. } => {
            format!("{:?}", codes.iter().map(|c| c.0).collect::<Vec<_>>())
        }
        HealthCheckProtocol::Grpc { codes, .. } => format!("{codes:?}"),
        HealthCheckProtocol::Tcp => String::new(),
    };
    for protocol in ["HTTP", "HTTPS"] {
        let with = |list: &str| format!("protocol: {protocol}, codes: [{list}]");
        assert_eq!(codes(&with("http_5xx, http_2xx, http_3xx, http_4xx, http_2xx")), "[2, 3, 4, 5]");
        for wrong in ["http_1xx", "http_6xx", "200", "0-5", "HTTP_2XX"] {
            refused(&with(wrong), "HealthCheckCodes", &format!("code {wrong}"));
        }
        refused(&with(""), "HealthCheckCodes", "codes");
    }
    let with = |list: &str| format!("protocol: gRPC, codes: [{list}]");
    assert_eq!(codes(&with("0, 99, 0-99, \"12\"")), "[0..=0, 99..=99, 0..=99, 12..=12]");
    for wrong in ["100", "0-100", "5-4", "http_2xx", "1-", "-1", "1.5"] {
        refused(&with(wrong), "HealthCheckCodes", &format!("code {wrong}"));
    }
    refused(&with("\"+1\""), "HealthCheckCodes", "code +1");
    let many = |count: u32| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    assert!(codes(&with(&many(20))).contains("19..=19"));
    refused(&with(&many(21)), "HealthCheckCodes", "21 codes");
    for fine in ["http_2xx", "0-5", "http_4xx, 7"] {
        assert_eq!(check(&format!("protocol: TCP, codes: [{fine}]")).protocol, HealthCheckProtocol::Tcp);
    }
    refused("protocol: TCP, codes: [100]", "HealthCheckCodes", "code 100");
}

// Holds SG-180
#[test]
fn settings_of_other_protocols_must_be_right_and_are_ignored() {
    assert_eq!(
        check("protocol: TCP, path: /x, host: a.b, http_version: HTTP1.0").protocol,
        HealthCheckProtocol::Tcp
    );
    refused("protocol: TCP, path: x", "HealthCheckPath", "path \"x\"");
    refused("protocol: gRPC, http_version: HTTP3", "HealthCheckHttpVersion", "http_version HTTP3");
    let errors =
        network_with(&["{name: g1, type: Ip, vpc: vpc1, health_check: {enabled: false, interval: 0}}"], &[]);
    assert_eq!(
        told(&errors.unwrap_err()),
        ["IllegalParam.HealthCheckInterval | server group \"g1\", health check | interval 0"],
        "a check that is off may be turned on"
    );
}

// Holds SG-188, SG-190
#[test]
fn warns_where_failures_go_unnoticed_or_are_noticed_late() {
    let warnings = |check: &str| {
        let group = format!("{{name: g1, type: Ip, vpc: vpc1, health_check: {{{check}}}}}");
        let parsed = network_with(&[&group], &[]).unwrap();
        sentences(parsed.warnings.findings())
            .into_iter()
            .filter(|line| line.contains("\"g1\""))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        warnings("enabled: false"),
        [
            "server group \"g1\", health check: health checks are off: a server that fails keeps its share of the \
          traffic; write `enabled: true`"
        ]
    );
    assert_eq!(
        warnings("enabled: true, interval: 2, timeout: 10"),
        [
            "server group \"g1\", health check: up to 32 s until a silent server is noticed: longer than 30 s; \
          lower `interval`, `timeout` or `unhealthy_threshold`"
        ]
    );
    assert_eq!(warnings("enabled: true, interval: 3, timeout: 9"), [""; 0], "30 s are short enough");
    assert_eq!(check("interval: 3, timeout: 9").detects_within(), Duration::from_secs(30));
    assert_eq!(
        group_warnings("Fc", "health_check: {enabled: false}, servers: [{function: resize}]"),
        [""; 0]
    );
}

#[test]
fn warns_of_plain_http_where_something_else_is_spoken() {
    for protocol in ["HTTPS", "gRPC"] {
        let warnings = |check: &str| {
            let parsed = network_with(&[&group_text(protocol, check)], &[]).unwrap();
            sentences(parsed.warnings.findings())
                .into_iter()
                .filter(|line| line.contains("protocol HTTP"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            warnings(""),
            [format!(
                "server group \"g1\", health check: protocol HTTP: servers of this group speak {protocol} on the port \
                 that is probed; write `protocol: {protocol}`, or name another port with `connect_port`"
            )]
        );
        assert_eq!(warnings("connect_port: 8080"), [""; 0]);
        assert_eq!(warnings(&format!("protocol: {protocol}")), [""; 0]);
    }
}

fn templates(entries: &[&str]) -> Result<Parsed<Resources>, ConfigErrors> {
    let list: String = entries.iter().map(|entry| format!("  - {entry}\n")).collect();
    parse_resources(&format!("health_check_templates:\n{list}"), "r.yaml")
}

// Holds SG-194
#[test]
fn templates_stand_alone() {
    let parsed =
        templates(&["{name: deep, protocol: HTTPS, path: /deep, interval: 10}", "{name: plain}"]).unwrap();
    let template =
        |name: &str| parsed.value.health_check_templates[&HealthCheckTemplateName::new(name)].clone();
    assert_eq!(template("plain").check, check(""));
    assert_eq!(template("deep").check, check("protocol: HTTPS, path: /deep, interval: 10"));
    let twice = templates(&["{name: deep}", "{name: deep}"]).unwrap_err();
    assert_eq!(
        told(&twice),
        ["DuplicatedParam.HealthCheckTemplateName | health check template \"deep\" | name \"deep\""]
    );
    assert_eq!(
        told(&templates(&["{name: x, interval: 51}", "{interval: 2}"]).unwrap_err()),
        [
            "IllegalParam.HealthCheckTemplateName | health check template \"x\" | name \"x\"",
            "IllegalParam.HealthCheckInterval | health check template \"x\" | interval 51",
            "MissingParam.HealthCheckTemplateName | health check template #2 | ",
        ]
    );
}

// Holds SG-194
#[test]
fn templates_take_hosts_that_groups_do_not() {
    for host in ["localhost", "UP.Example", "10.0.0.1", "a.b1", "$SERVER_IP"] {
        templates(&[&format!("{{name: deep, host: {host}}}")]).unwrap();
    }
    let longer = "a".repeat(81);
    for host in ["", "a b", "a_b", "ä.b", &longer] {
        assert_eq!(
            told(&templates(&[&format!("{{name: deep, host: {host:?}}}")]).unwrap_err()),
            [format!("IllegalParam.HealthCheckHost | health check template \"deep\" | host {host:?}")]
        );
    }
}
