//! Rules of server groups, servers and health checks.

use super::*;
use crate::model::{HealthCheckProtocol, ServerGroupName, StatusClass};
use std::time::Duration;

/// Errors where the remote server of group "web" is written as `server`.
#[track_caller]
fn remote(server: &str) -> Vec<String> {
    let text =
        edit(RESOURCES, &[("{address: 192.168.1.20, port: 80, weight: 100, remote_ip: true}", server)]);
    match parse_resources(&text, "r.yaml") {
        Ok(_) => vec![],
        Err(errors) => sentences(errors.findings()),
    }
}

// Holds SG-51, SG-56, XR-73, XR-84
#[test]
fn refuses_a_remote_server_without_remote_ip() {
    assert_eq!(
        remote("{address: 192.168.1.20, port: 80}"),
        [
            "[IllegalParam.ServerIp] server group \"web\", server 192.168.1.20:80: address 192.168.1.20: lies outside VPC \"vpc1\" \
          (172.16.0.0/12); write `remote_ip: true` for a server in another network"
        ]
    );
    assert_eq!(remote("{address: 172.31.0.5, port: 80}"), [""; 0], "inside the VPC (XR-84)");
    assert_eq!(remote("{address: 172.16.7.5, port: 80, remote_ip: true}"), [""; 0], "SG-56");
}

// Holds SG-41, XR-3
#[test]
fn refuses_a_public_address() {
    assert_eq!(
        remote("{address: 8.8.8.8, port: 80}"),
        [
            "[IllegalParam.ServerIp] server group \"web\", server 8.8.8.8:80: address 8.8.8.8: not a private address; servers are reached by \
          private addresses only; use the server's address in \
          10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12 or 192.168.0.0/16"
        ]
    );
}

// Holds SG-52
#[test]
fn holds_remote_servers_to_the_four_ranges() {
    for inside in [
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.0.0",
        "192.168.255.255",
    ] {
        assert_eq!(remote(&format!("{{address: {inside}, port: 80, remote_ip: true}}")), [""; 0], "{inside}");
    }
    for outside in [
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "169.254.1.1",
        "127.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
    ] {
        assert_eq!(
            remote(&format!("{{address: {outside}, port: 80, remote_ip: true}}")),
            [format!(
                "[IllegalParam.ServerIp] server group \"web\", server {outside}:80: address {outside}: a remote server's address lies in \
                 10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12 or 192.168.0.0/16; use the server's private address"
            )]
        );
    }
}

// Holds SG-53, XR-101
#[test]
fn warns_of_a_remote_server_without_a_route() {
    let route = "    routes:\n      - {destination: 192.168.0.0/16, transit_router: tr-chengdu}\n";
    let rule = "address 192.168.1.20: VPC \"vpc1\" has no route to it; add a route for it to VPC \"vpc1\"";
    assert_eq!(
        warnings(&[(route, "")]),
        [
            format!("server group \"web\", server 192.168.1.20:80: {rule}"),
            format!("server group \"tcp-web\", server 192.168.1.20:9001: {rule}"),
        ]
    );
}

// Holds SG-33, SG-34
#[test]
fn bounds_ports_and_weights() {
    assert_eq!(
        remote("{address: 172.16.1.21, port: 0, weight: 101}"),
        [
            "[IllegalParam.Port] server group \"web\", server 172.16.1.21:0: port 0: outside 1 to 65535; write a number from 1 to 65535",
            "[IllegalParam.Weight] server group \"web\", server 172.16.1.21:0: weight 101: outside 0 to 100; write a number from 0 to 100",
        ]
    );
    assert_eq!(
        remote("{address: 172.16.1.21, port: 65536, weight: -1}"),
        [
            "[IllegalParam.Port] server group \"web\", server 172.16.1.21:65536: port 65536: outside 1 to 65535; \
             write a number from 1 to 65535",
            "[IllegalParam.Weight] server group \"web\", server 172.16.1.21:65536: weight -1: outside 0 to 100; \
             write a number from 0 to 100",
        ]
    );
    assert_eq!(remote("{address: 172.16.1.21, port: 65535, weight: 0}"), [""; 0]);
}

// Holds SG-38
#[test]
fn refuses_the_same_server_twice_in_a_group() {
    assert_eq!(
        remote("{address: 172.16.1.20, port: 80, weight: 1}"),
        [
            "[DuplicatedParam.Server] server group \"web\", server 172.16.1.20:80: the group has this address and port already, on line 52; \
          remove one of them; use `weight` to change a server's share"
        ]
    );
    assert_eq!(remote("{address: 172.16.1.20, port: 81}"), [""; 0], "another port is another server (SG-38)");
}

// Holds SG-42, XR-63
#[test]
fn refuses_a_server_that_is_the_balancer_itself() {
    assert_eq!(
        remote("{address: 172.16.1.11, port: 80}"),
        [
            "[OperationDenied.ForwardingLoop] server group \"web\", server 172.16.1.11:80: address 172.16.1.11: it is a local address of load balancer \
          \"alb1\" in zone chengdu-a: requests would run in a circle; write the address of a server"
        ]
    );
}

// Holds SG-35
#[test]
fn bounds_descriptions() {
    assert_eq!(
        remote("{address: 172.16.1.21, port: 80, description: \"http://x\"}"),
        [
            "[IllegalParam.Description] server group \"web\", server 172.16.1.21:80: description: 2 to 256 characters, not beginning with \
          http:// or https://; shorten or reword it"
        ]
    );
}

#[test]
fn refuses_types_protocols_and_schedulers_that_are_not_there_yet() {
    assert_eq!(
        errors(&[
            (
                "type: Ip\n    vpc: vpc1\n    protocol: HTTP\n",
                "type: Fc\n    vpc: vpc1\n    protocol: gRPC\n"
            ),
            ("scheduler: Wrr", "scheduler: wlc"),
        ]),
        [
            "[IllegalParam.ServerGroupType] server group \"web\": type Fc: function groups are not supported yet; write Ip",
            "[IllegalParam.Protocol] server group \"web\": protocol gRPC: gRPC to servers is not supported yet; write HTTP or TCP",
            "[IllegalParam.Scheduler] server group \"web\": scheduler wlc: weighted least connections is not supported yet; write Wrr",
        ]
    );
}

/// Errors where the health check of group "tcp-web" is written as `section`.
#[track_caller]
fn health_check(section: &str) -> Vec<String> {
    errors(&[("health_check: {protocol: TCP}", &format!("health_check: {section}"))])
}

// Holds SG-180
#[test]
fn bounds_every_number_of_a_health_check() {
    for (key, name, low, high) in [
        ("connect_port", "HealthCheckConnectPort", 0, 65535),
        ("interval", "HealthCheckInterval", 1, 50),
        ("timeout", "HealthCheckTimeout", 1, 300),
        ("healthy_threshold", "HealthyThreshold", 2, 10),
        ("unhealthy_threshold", "UnhealthyThreshold", 2, 10),
    ] {
        for wrong in [low - 1, high + 1] {
            assert_eq!(
                health_check(&format!("{{{key}: {wrong}}}")),
                [format!(
                    "[IllegalParam.{name}] server group \"tcp-web\", health check: {key} {wrong}: outside {low} to {high}; \
                     write a number from {low} to {high}"
                )]
            );
        }
        for right in [low, high] {
            let section = format!("health_check: {{{key}: {right}}}");
            warnings(&[("health_check: {protocol: TCP}", &section)]);
        }
    }
}

// Holds SG-180
#[test]
fn holds_health_check_paths_and_hosts_to_their_rules() {
    let path_error = |path: &str| {
        format!(
            "[IllegalParam.HealthCheckPath] server group \"tcp-web\", health check: path {path:?}: 1 to 80 characters beginning with `/`: letters, \
             digits and -/.%?#&=_;~!()*[]@$^:',+; write a path such as /healthz"
        )
    };
    let long = format!("/{}", "a".repeat(80));
    for path in ["healthz", "/a b", "/<", "/é", &long] {
        assert_eq!(health_check(&format!("{{path: {path:?}}}")), [path_error(path)]);
    }
    for host in ["localhost", "UP.example", ".a.b", "a.b.", "a..b", "-a.b", "a-.b", "a.b1", "10.0.0.1"] {
        let errors = health_check(&format!("{{host: {host:?}}}"));
        assert_eq!(errors.len(), 1, "{host}");
        assert!(errors[0].contains(&format!("host {host:?}: 1 to 80 characters")), "{errors:?}");
    }
    warnings(&[(
        "health_check: {protocol: TCP}",
        "health_check: {host: www-1.example.com, path: \"/a?b=c#d\"}",
    )]);
}

// Holds SG-180
#[test]
fn refuses_codes_and_methods_outside_their_lists() {
    assert_eq!(
        health_check("{codes: [http_6xx, 200], method: POST, http_version: HTTP2, protocol: HTTPS}"),
        [
            "[IllegalParam.Code] server group \"tcp-web\", health check: code http_6xx: not one of http_2xx, http_3xx, http_4xx, http_5xx; \
             did you mean http_2xx?",
            "[IllegalParam.HealthCheckCodes] server group \"tcp-web\", health check: codes 200: expected text, found a number; \
             write a word, or quote it: \"...\"",
            "[IllegalParam.HealthCheckMethod] server group \"tcp-web\", health check: method POST: POST belongs to gRPC health checks, which are not \
             supported yet; write HEAD or GET",
            "[IllegalParam.HealthCheckHttpVersion] server group \"tcp-web\", health check: http_version HTTP2: not one of HTTP1.1, HTTP1.0; \
             write HTTP1.1 or HTTP1.0",
            "[IllegalParam.HealthCheckProtocol] server group \"tcp-web\", health check: protocol HTTPS: HTTPS health checks are not supported yet; \
             write HTTP or TCP",
        ]
    );
    assert_eq!(
        health_check("{codes: []}"),
        [
            "[IllegalParam.HealthCheckCodes] server group \"tcp-web\", health check: codes: no status could ever pass; \
          write `codes: [http_2xx]`, or leave `codes` out"
        ]
    );
}

// Holds SG-34, SG-100, SG-130, SG-150, SG-180
#[test]
fn fills_in_the_defaults_of_a_group() {
    let resources = parse_resources(RESOURCES, "r.yaml").unwrap().value;
    let web = &resources.server_groups[&ServerGroupName::new("web")];
    let check = web.health_check.as_ref().unwrap();
    assert_eq!(check.timeout, Duration::from_secs(5));
    assert_eq!((check.healthy_threshold, check.unhealthy_threshold, check.connect_port), (3, 3, None));
    assert!(matches!(&check.protocol, HealthCheckProtocol::Http { codes, .. } if codes == &[StatusClass(2)]));
    assert!(web.upstream_keepalive);
    assert_eq!((web.slow_start, web.connection_drain), (None, None));

    let tcp = &resources.server_groups[&ServerGroupName::new("tcp-web")];
    assert_eq!(tcp.slow_start.unwrap().duration, Duration::from_secs(40));
    assert_eq!(tcp.connection_drain.unwrap().timeout, Duration::from_secs(30));
    assert_eq!(tcp.servers[0].weight.get(), 100);
}

#[test]
fn checks_the_server_protocol_of_the_group_by_default() {
    let text = edit(RESOURCES, &[("health_check: {protocol: TCP}", "health_check: {enabled: true}")]);
    let resources = parse_resources(&text, "r.yaml").unwrap().value;
    let check = resources.server_groups[&ServerGroupName::new("tcp-web")].health_check.clone().unwrap();
    assert_eq!(check.protocol, HealthCheckProtocol::Tcp);
}

#[test]
fn warns_where_failures_go_unnoticed_or_are_noticed_late() {
    let off = "health checks are off: a server that fails keeps its share of the traffic; \
               add `health_check: {enabled: true}`";
    assert_eq!(
        warnings(&[("    health_check: {protocol: TCP}\n", "")]),
        [format!("server group \"tcp-web\": {off}")]
    );
    assert_eq!(
        warnings(&[("{protocol: TCP}", "{enabled: false}")]),
        [format!("server group \"tcp-web\", health check: {off}")]
    );
    assert_eq!(
        warnings(&[("{protocol: TCP}", "{interval: 2, timeout: 10}")]),
        [
            "server group \"tcp-web\", health check: up to 32 s until a silent server is noticed: longer than 30 s; \
          lower `interval`, `timeout` or `unhealthy_threshold`"
        ]
    );
}

// Holds SG-130, SG-150
#[test]
fn bounds_slow_start_and_draining() {
    assert_eq!(
        errors(&[("duration: 40", "duration: 29"), ("timeout: 30", "timeout: 901")]),
        [
            "[IllegalParam.SlowStartDuration] server group \"tcp-web\", slow start: duration 29: outside 30 to 900; write a number from 30 to 900",
            "[IllegalParam.ConnectionDrainTimeout] server group \"tcp-web\", connection drain: timeout 901: outside 0 to 900; \
             write a number from 0 to 900",
        ]
    );
}

#[test]
fn bounds_the_servers_of_a_group() {
    let servers: String = (0..1000)
        .map(|n| format!("      - {{address: 10.1.{}.{}, port: 80, remote_ip: true}}\n", n / 250, n % 250))
        .collect();
    let text = edit(RESOURCES, &[("      - {address: 172.16.1.20, port: 9001}\n", &servers)]);
    let errors = parse_resources(&text, "r.yaml").unwrap_err();
    assert_eq!(
        sentences(errors.findings()),
        [
            "[QuotaExceeded.ServerGroupServersNum] server group \"tcp-web\": 1001 servers: a group has at most 1000 servers; spread them over several groups"
        ]
    );
}
