//! Rules of `node.yaml`, and between it and the resources.

use super::*;
use crate::model::AdmissionMode;
use std::path::Path;

#[test]
fn fills_in_the_defaults() {
    let node =
        parse_node("name: lb\nzones: [{zone: a, interface: eth1, tunnel_address: 10.0.0.1}]", "n.yaml");
    let node = node.unwrap().value;
    assert_eq!(node.tunnel.vxlan_port, 4789);
    assert_eq!(node.tunnel.admission, AdmissionMode::Exclusive);
    assert_eq!(node.state_dir, Path::new("/var/lib/causeway"));
    assert_eq!(node.api_socket, Path::new("/run/causeway/api.sock"));
    assert_eq!(node.bpf_dir, Path::new("/sys/fs/bpf/causeway"));
    assert_eq!((node.nat_prefix, node.metrics_listen, node.access_log), (None, None, None));
    assert!(node.workers >= 1);
    assert_eq!(node.memory_limit, None);
}

#[test]
fn refuses_what_no_host_can_have() {
    let text = "\
name: lb
zones:
  - {zone: a, interface: a-very-long-interface, tunnel_address: 10.0.0.1}
  - {zone: a, interface: eth/1, tunnel_address: 10.0.0.2}
tunnel: {vxlan_port: 0, admission: exclusiv}
workers: 0
memory_limit_mib: 63
state_dir: var/lib
nat_prefix: 10.0.0.0/8
metrics_listen: 9180
";
    assert_eq!(
        sentences(parse_node(text, "n.yaml").unwrap_err().findings()),
        [
            "[IllegalParam.Interface] zone a: interface \"a-very-long-interface\": a name of 1 to 15 bytes without `/`, `:` or space; \
             write a name as `ip link` shows it",
            "[DuplicatedParam.ZoneId] zone a: zone \"a\": another zone on line 3 has this zone; rename or remove one of them",
            "[IllegalParam.Interface] zone a: interface \"eth/1\": a name of 1 to 15 bytes without `/`, `:` or space; \
             write a name as `ip link` shows it",
            "[IllegalParam.VxlanPort] tunnel: vxlan_port 0: outside 1 to 65535; write a number from 1 to 65535",
            "[IllegalParam.Admission] tunnel: admission exclusiv: not one of exclusive, shared; did you mean exclusive?",
            "[IllegalParam.Workers] workers 0: outside 1 to 1024; write a number from 1 to 1024",
            "[IllegalParam.MemoryLimitMib] memory_limit_mib 63: outside 64 to 16777216; write a number from 64 to 16777216",
            "[IllegalParam.StateDir] state_dir \"var/lib\": not an absolute path; begin it with `/`",
            "[IllegalParam.NatPrefix] nat_prefix 10.0.0.0/8: larger than a /16; write a prefix length from 16 to 32; \
             a /32 carries 64512 flows, a /29 all that the table holds",
            "[IllegalParam.MetricsListen] metrics_listen 9180: expected an address and a port, found a number; write both, such as 127.0.0.1:9180",
        ]
    );
}

#[test]
fn refuses_a_public_nat_prefix_and_one_with_host_bits() {
    assert_eq!(
        node_errors(&[("172.16.100.0/24", "203.0.113.0/24")])[0],
        "[IllegalParam.NatPrefix] nat_prefix 203.0.113.0/24: not a private range; \
         use a CIDR inside 10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12 or 192.168.0.0/16"
    );
    assert_eq!(
        node_errors(&[("172.16.100.0/24", "172.16.100.1/24")])[0],
        "[IllegalParam.NatPrefix] nat_prefix 172.16.100.1/24: the address has bits set beyond the prefix length; \
         write 172.16.100.0/24, or 172.16.100.1/32 for the one address"
    );
}

#[test]
fn refuses_a_nat_prefix_that_overlaps_addresses_in_use() {
    let remedy = "choose a prefix that nothing else uses: every port of every address in it belongs to NAT";
    let expect = |prefix: &str, rules: &[&str]| {
        let expected: Vec<String> = rules
            .iter()
            .map(|rule| format!("[Conflict.NatPrefix] nat_prefix {prefix}: {rule}; {remedy}"))
            .collect();
        assert_eq!(node_errors(&[("172.16.100.0/24", prefix)]), expected);
    };
    expect(
        "172.16.1.8/29",
        &[
            "contains 172.16.1.11, a local address of load balancer \"alb1\" in zone chengdu-a",
            "contains 172.16.1.12, a local address of load balancer \"alb1\" in zone chengdu-a",
            "contains 172.16.1.10, the tunnel address of zone chengdu-a",
        ],
    );
    expect("172.16.1.254/32", &["contains 172.16.1.254, the tunnel endpoint of next hop \"tr-chengdu-a\""]);
    expect(
        "192.168.1.20/32",
        &[
            "contains 192.168.1.20:9001, a server of group \"tcp-web\"",
            "contains 192.168.1.20:80, a server of group \"web\"",
        ],
    );
}

#[test]
fn refuses_a_nat_prefix_that_overlaps_a_vip_or_a_back_to_origin_prefix() {
    let resources = edit(
        RESOURCES,
        &[
            (
                "dns_name: alb1.causeway.test",
                "dns_name: alb1.causeway.test\n    back_to_origin_prefix: 100.64.0.0/24",
            ),
            ("203.0.113.10", "10.1.1.1"),
            ("[172.16.1.11, 172.16.1.12]", "[100.64.0.1, 100.64.0.2]"),
            ("[172.16.2.11, 172.16.2.12]", "[100.64.0.3, 100.64.0.4]"),
        ],
    );
    let errors = |prefix: &str| {
        let node = edit(NODE, &[("172.16.100.0/24", prefix)]);
        sentences(parse_both((&node, "n"), (&resources, "r")).unwrap_err().findings())
    };
    assert!(
        errors("10.1.1.0/24")[0]
            .contains("contains 10.1.1.1, the VIP of load balancer \"alb1\" in zone chengdu-a")
    );
    assert_eq!(
        errors("100.64.0.128/25"),
        [
            "[Conflict.NatPrefix] nat_prefix 100.64.0.128/25: overlaps the back_to_origin_prefix 100.64.0.0/24 of load balancer \"alb1\"; \
          choose a prefix that nothing else uses: every port of every address in it belongs to NAT"
        ]
    );
}

#[test]
fn warns_of_a_nat_prefix_among_hosts_or_without_a_way_back() {
    assert_eq!(
        node_warnings(&[("172.16.100.0/24", "172.16.1.64/26")]),
        [
            "nat_prefix 172.16.1.64/26: overlaps vSwitch \"vsw1\" (172.16.1.0/24), whose hosts may use its addresses; \
          choose a prefix outside the vSwitches"
        ]
    );
    assert_eq!(
        node_warnings(&[("172.16.100.0/24", "10.9.0.0/24")]),
        [
            "nat_prefix 10.9.0.0/24: outside VPC \"vpc1\" (172.16.0.0/12): servers elsewhere know no way back to it; \
          choose a part of 172.16.0.0/12, or route the prefix back to this node yourself"
        ]
    );
}

#[test]
fn refuses_a_tcp_listener_on_a_node_without_nat_prefix() {
    assert_eq!(
        node_errors(&[("nat_prefix: 172.16.100.0/24\n", "")]),
        [
            "[MissingParam.NatPrefix] listener \"tcp\": protocol TCP: node \"lb\" has no nat_prefix, from which flows of TCP listeners come; \
          add `nat_prefix: ...` to the node's settings: a private prefix that nothing else uses"
        ]
    );
}

#[test]
fn warns_of_zones_it_does_not_serve() {
    assert_eq!(
        node_warnings(&[("  - {zone: chengdu-b, interface: eth2, tunnel_address: 172.16.2.10}\n", "")]),
        [
            "transit router \"tr-chengdu\", next hop \"tr-chengdu-b\": zone chengdu-b: node \"lb\" does not serve it \
             and leaves this next hop out; zones here: chengdu-a",
            "load balancer \"alb1\", zone chengdu-b: node \"lb\" does not serve it; \
             serve it here or on another node; zones here: chengdu-a",
        ]
    );
}

#[test]
fn refuses_a_route_none_of_whose_next_hops_it_can_reach() {
    let errors =
        node_errors(&[("zone: chengdu-a", "zone: chengdu-c"), ("zone: chengdu-b", "zone: chengdu-d")]);
    assert_eq!(
        errors,
        [
            "[Mismatch.ZoneId] VPC \"vpc1\", route 192.168.0.0/16: transit_router \"tr-chengdu\": every next hop is in a zone that \
          node \"lb\" does not serve; add a next hop in one of the zones chengdu-c, chengdu-d"
        ]
    );
}

#[test]
fn tunnels_have_an_address_of_their_own_in_their_vswitch() {
    assert_eq!(
        node_errors(&[("172.16.1.10", "172.16.1.11")]),
        [
            "[Conflict.TunnelAddress] zone chengdu-a: tunnel_address 172.16.1.11: it is a local address of load balancer \"alb1\" in zone \
          chengdu-a; give the tunnels an address of their own"
        ]
    );
    assert_eq!(
        node_warnings(&[("172.16.1.10", "172.16.9.10")]),
        ["zone chengdu-a: tunnel_address 172.16.9.10: outside every vSwitch of zone chengdu-a; \
          write an address of the interface in that zone's vSwitch"]
    );
}
