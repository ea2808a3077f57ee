//! What an operator sees: metrics, access log, tables (issue text, "CLI").

use crate::client::{at, servers_of};
use crate::{fast_resources, lab};
use causeway_lab::{CLIENT_ADDRESSES, ECS01, ECS01_ADDRESS, ECS02, ECS02_ADDRESS, VIP_A, VIP_B, Variant};
use std::collections::BTreeMap;
use tests::balancer::{Balancer, PATIENCE};
use tests::metrics;

#[test]
fn metrics_are_openmetrics_and_say_what_was_sent() {
    let Some(lab) = lab("metrics_are_openmetrics_and_say_what_was_sent", "e2emetrics") else { return };
    let balancer = Balancer::start_resources(&lab, &fast_resources(Variant::Vswitch));
    balancer.wait_until_healthy();
    servers_of(&lab, at(VIP_A, 80), 30);
    servers_of(&lab, at(VIP_B, 80), 10);
    let l4 = servers_of(&lab, at(VIP_A, 9000), 20);

    let (head, body) = balancer.scrape();
    let media = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.starts_with("HTTP/1.1 200 ") && head.lines().any(|line| line == media), "{head}");
    let metrics = metrics::parse(&body).unwrap_or_else(|error| panic!("{error}\n{body}"));
    let server = |name: &str, group: &str, address: &str| {
        metrics.value(name, &[("server_group", group), ("server", address)]).expect("every server has it")
    };
    for address in ["172.16.1.20:80", "192.168.1.20:80"] {
        assert_eq!(server("causeway_server_requests_total", "web", address), 20.0);
        assert_eq!(server("causeway_server_weight", "web", address), 100.0);
        assert_eq!(server("causeway_server_effective_weight", "web", address), 100.0);
        assert_eq!(server("causeway_server_request_failures_total", "web", address), 0.0);
        let health = [("server_group", "web"), ("server", address), ("status", "Normal")];
        assert_eq!(metrics.value("causeway_server_health", &health), Some(1.0));
    }
    for (address, name) in [("172.16.1.20:8080", ECS01), ("192.168.1.20:8080", ECS02)] {
        let chosen = l4.iter().filter(|server| **server == name).count();
        assert_eq!(server("causeway_server_flows_total", "tcp-web", address), chosen as f64);
    }
    for (vip, requests) in [("203.0.113.10:80", 30.0), ("203.0.113.11:80", 10.0)] {
        let labels = [("load_balancer", "alb1"), ("listener", "http"), ("vip", vip)];
        assert_eq!(metrics.value("causeway_listener_connections_total", &labels), Some(requests), "{vip}");
        let with_class = |class| {
            let labels = [labels[0], labels[1], labels[2], ("class", class)];
            metrics.value("causeway_listener_responses_total", &labels)
        };
        assert_eq!((with_class("2xx"), with_class("5xx")), (Some(requests), Some(0.0)), "{vip}");
        assert_eq!(metrics.sum("causeway_listener_errors_total", &labels), 0.0, "{vip}");
    }
    let rule = [("listener", "http"), ("rule", "rule-default-http"), ("class", "2xx")];
    assert_eq!(metrics.sum("causeway_rule_responses_total", &rule), 40.0, "of both zones");
    assert_eq!(metrics.value("causeway_mirrors_dropped_total", &[]), Some(0.0));
    assert_eq!(metrics.value("causeway_access_log_lines_dropped_total", &[]), Some(0.0));
    assert_eq!(metrics.sum("causeway_listener_connections_total", &[("listener", "tcp")]), 20.0);
    assert!(metrics.sum("causeway_next_hop_packets_total", &[]) > 0.0);
    assert_eq!(metrics.sum("causeway_drops_total", &[]), 0.0, "{body}");
    assert_eq!(metrics.value("causeway_config_revision", &[]), Some(1.0));
}

#[test]
fn the_access_log_has_one_line_for_each_request() {
    let Some(lab) = lab("the_access_log_has_one_line_for_each_request", "e2elog") else { return };
    let balancer = Balancer::start_resources(&lab, &fast_resources(Variant::Vswitch));
    balancer.wait_until_healthy();
    let chosen = servers_of(&lab, at(VIP_A, 80), 50);
    let log = balancer.wait_for_access_log(50);
    assert_eq!(log.len(), 50);
    let local: Vec<String> = Variant::Vswitch
        .local_addresses_a()
        .into_iter()
        .chain(Variant::Vswitch.local_addresses_b())
        .map(|address| address.to_string())
        .collect();
    let names =
        BTreeMap::from([(format!("{ECS01_ADDRESS}:80"), ECS01), (format!("{ECS02_ADDRESS}:80"), ECS02)]);
    for (line, server) in log.iter().zip(chosen) {
        let text = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("{name} in {line}")).to_owned();
        assert_eq!(names[&text("upstream_addr")], server, "in the order of the requests");
        assert!(local.contains(&text("local_addr")), "{line}");
        assert_eq!(text("client_ip"), CLIENT_ADDRESSES[0].to_string());
        assert_eq!((text("vip_addr"), line["slb_vport"].as_u64()), (VIP_A.to_string(), Some(80)));
        assert_eq!((text("listener"), text("server_group")), ("http".into(), "web".into()));
        assert_eq!((text("request_method"), text("request_uri")), ("GET".into(), "/".into()));
        assert_eq!((line["status"].as_u64(), text("upstream_status")), (Some(200), "200".into()));
        assert_eq!(line["retries"].as_u64(), Some(0));
    }
    balancer.stop();
}

#[test]
fn every_table_shows_the_tutorial() {
    let Some(lab) = lab("every_table_shows_the_tutorial", "e2eget") else { return };
    let balancer = Balancer::start_resources(&lab, &fast_resources(Variant::Vswitch));
    balancer.wait_until_healthy();
    for (kind, words) in [
        ("load-balancers", &["alb1", "alb1.causeway.test", "203.0.113.10", "203.0.113.11"][..]),
        ("servers", &["web", "tcp-web", "172.16.1.20:80", "192.168.1.20:8080", "Normal"]),
        ("routes", &["172.16.0.0/12", "192.168.0.0/16", "tr-chengdu"]),
        ("next-hops", &["tr-chengdu-a", "172.16.1.254", "tr-chengdu-b", "172.16.2.254", "vxlan 101"]),
    ] {
        let table = balancer.cli(&["get", kind]);
        assert!(table.status.success(), "{}", String::from_utf8_lossy(&table.stderr));
        let table = String::from_utf8_lossy(&table.stdout).into_owned();
        let json = balancer.cli(&["get", kind, "-o", "json"]).stdout;
        let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        assert!(json.as_array().is_some_and(|items| !items.is_empty()), "{json}");
        let json = json.to_string();
        for word in words {
            assert!(table.contains(word), "{word} is not in\n{table}");
            assert!(word.contains(':') || json.contains(word), "{word} is not in\n{json}");
        }
    }
    let status = balancer.wait_until("workers have the snapshot", PATIENCE, || {
        let status = balancer.status();
        if status.snapshot_sequence > 0 { Ok(status) } else { Err(status) }
    });
    assert_eq!((status.node.as_str(), status.pid, status.workers), ("lb", balancer.id(), 1));
}
