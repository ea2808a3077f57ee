//! Rules of server groups, servers and health checks.

use super::*;

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

// Holds SG-50, SG-51, SG-56, XR-73, XR-84
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
    let described =
        |text: &str| remote(&format!("{{address: 172.16.1.21, port: 80, description: {text:?}}}"));
    let longest = "d".repeat(256);
    for right in ["ab", "二号", "see http://x", &longest] {
        assert_eq!(described(right), [""; 0], "{right}");
    }
    let longer = "d".repeat(257);
    for wrong in ["", "a", "https://x", &longer] {
        assert!(described(wrong)[0].starts_with("[IllegalParam.Description]"), "{wrong}");
    }
}

/// Errors of two private balancers that send to each other's VIPs: `first`, on port 80 of "alb1", to `to_second`, and
/// `second`, on port 80 of "alb4", to `to_first`.
fn chained(protocol: &str, to_second: &str, to_first: &str) -> Vec<String> {
    let group = |name: &str, server: &str| {
        format!(
            "{{name: {name}, type: Ip, vpc: vpc1, protocol: {protocol}, health_check: {{enabled: true}}, \
             servers: [{{{server}}}]}}"
        )
    };
    let listener = |name: &str, balancer: &str, group: &str| {
        format!(
            "{{name: {name}, load_balancer: {balancer}, protocol: {protocol}, port: 80, server_group: {group}}}"
        )
    };
    let text = network_text(
        &[&group("first", to_second), &group("second", to_first)],
        &[&listener("l1", "alb1", "first"), &listener("l2", "alb4", "second")],
    );
    let private = text.replace("203.0.113.", "172.16.3.");
    parse_resources(&private, "r.yaml").map_or_else(|errors| told(&errors), |_| vec![])
}

// Holds SG-42, SG-43
#[test]
fn takes_another_balancer_for_a_server_unless_that_leads_back() {
    let server = "address: 172.16.9.9, port: 80";
    assert_eq!(chained("HTTP", "address: 172.16.3.20, port: 80", server), [""; 0]);
    assert_eq!(chained("HTTP", "address: 172.16.3.20, port: 80", "address: 172.16.3.10, port: 81"), [""; 0]);
    let error = |group: &str, ip: &str| {
        format!("OperationDenied.ForwardingLoop | server group \"{group}\", server {ip}:80 | address {ip}")
    };
    assert_eq!(chained("HTTP", "address: 172.16.3.11, port: 80", server), [error("first", "172.16.3.11")]);
    assert_eq!(
        chained("HTTP", "address: 172.16.3.20, port: 80", "address: 172.16.3.11, port: 80"),
        [error("first", "172.16.3.20"), error("second", "172.16.3.11")]
    );
    assert_eq!(chained("TCP", "address: 172.16.3.20, port: 80", server), [error("first", "172.16.3.20")]);
}

// Holds SG-37
#[test]
fn a_server_of_a_group_of_addresses_is_its_address() {
    let group = group("Ip", "servers: [{address: 172.16.1.20, port: 80}]");
    assert_eq!(
        (&group.servers[0].id, group.servers[0].address.to_string().as_str()),
        (&crate::model::ServerId::Ip, "172.16.1.20:80")
    );
    assert_eq!(
        group_errors("Ip", "servers: [{port: 80}]"),
        ["MissingParam.ServerIp | server group \"g1\", server 80 | "]
    );
}
