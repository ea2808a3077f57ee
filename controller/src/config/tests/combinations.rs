//! Settings of one group that exclude each other.

use super::*;

#[track_caller]
fn denied(group_type: &str, settings: &str, expected: &[&str]) {
    let expected: Vec<String> = expected
        .iter()
        .map(|expected| format!("OperationDenied.{}", expected.replace(" | ", " | server group \"g1\" | ")))
        .collect();
    assert_eq!(group_errors(group_type, settings), expected);
}

// Holds SG-131
#[test]
fn slow_start_needs_weighted_round_robin() {
    for scheduler in ["Wlc", "Sch"] {
        denied(
            "Ip",
            &format!("scheduler: {scheduler}, slow_start: {{}}"),
            &["SlowStartRequiresWrr | slow_start"],
        );
        group("Ip", &format!("scheduler: {scheduler}, slow_start: {{enabled: false}}"));
    }
    group("Ip", "scheduler: Wrr, slow_start: {}");
}

// Holds SG-111, SG-172
#[test]
fn session_persistence_needs_cross_zone_balancing() {
    denied(
        "Ip",
        "cross_zone_enabled: false, sticky_session: {}",
        &["StickySessionWithCrossZoneDisabled | cross_zone_enabled false"],
    );
    group("Ip", "cross_zone_enabled: false, sticky_session: {enabled: false}");
    group("Ip", "cross_zone_enabled: true, sticky_session: {}");
}

// Holds SG-55, SG-56, SG-172
#[test]
fn remote_servers_need_cross_zone_balancing() {
    for address in ["192.168.1.20", "172.16.1.20"] {
        let server = format!("servers: [{{address: {address}, port: 80, remote_ip: true}}]");
        denied(
            "Ip",
            &format!("cross_zone_enabled: false, {server}"),
            &["RemoteIpWithCrossZoneDisabled | cross_zone_enabled false"],
        );
        assert!(group("Ip", &server).servers[0].remote_ip);
    }
}

// Holds SG-175
#[test]
fn servers_outside_every_vswitch_need_cross_zone_balancing() {
    let servers = "servers: [{address: 172.16.1.20, port: 80}, {address: 172.16.9.20, port: 80}]";
    denied(
        "Ip",
        &format!("cross_zone_enabled: false, {servers}"),
        &["ServerWithoutZoneWithCrossZoneDisabled | cross_zone_enabled false"],
    );
    let zones: Vec<_> = group("Ip", servers).servers.into_iter().map(|server| server.zone).collect();
    assert_eq!(zones, [Some(crate::model::ZoneName::new("chengdu-a")), None]);
}

// Holds SG-61
#[test]
fn ipv6_needs_a_vpc_with_ipv6() {
    let group = "{name: g1, type: Ip, vpc: vpc2, health_check: {enabled: true}, ipv6_enabled: true}";
    assert_eq!(
        told(&network_with(&[group], &[]).unwrap_err()),
        ["OperationDenied.VpcNotSupportIpv6 | server group \"g1\" | ipv6_enabled true"]
    );
}

// Holds SG-27
#[test]
fn verification_needs_servers_with_certificates() {
    let pem = include_str!("authority.pem").replace('\n', "\\n");
    for protocol in ["HTTP", "gRPC", "TCP"] {
        denied(
            "Ip",
            &format!("protocol: {protocol}, tls_verification: {{ca_certificates: \"{pem}\"}}"),
            &["TlsVerificationRequiresHttps | tls_verification"],
        );
    }
}

#[test]
fn groups_of_protocol_tcp_have_what_works_without_requests() {
    denied("Ip", "protocol: TCP, scheduler: Wlc", &["WlcWithTcp | scheduler Wlc"]);
    denied(
        "Ip",
        "protocol: TCP, scheduler: Sch, uch: {type: QueryString, value: user}",
        &["UchConfigWithTcp | uch"],
    );
    denied(
        "Ip",
        "protocol: TCP, sticky_session: {}, ipv6_enabled: true",
        &["StickySessionWithTcp | sticky_session", "Ipv6WithTcp | ipv6_enabled true"],
    );
    for fine in ["scheduler: Sch", "cross_zone_enabled: false", "slow_start: {}", "connection_drain: {}"] {
        group("Ip", &format!("protocol: TCP, {fine}"));
    }
}
