//! What is not ours passes byte for byte.

use controller::model::ListenerProtocol::{Http, Tcp};
use forwarder_common::counters::VipCounters;
use std::collections::BTreeMap;
use tests::forwarder::Forwarder;
use tests::packet::{frame, icmp, ipv4, tcp, udp, vxlan};
use tests::scenario::HOPS;

/// An IPv6 packet from a client to a VIP of that family.
fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("an address").octets();
    let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next_header, 64];
    packet.extend(octets("2001:db8::7"));
    packet.extend(octets("2001:db8::10"));
    packet.extend(payload);
    frame(0x86dd, &packet)
}

/// Packets that concern nobody here, by what they are.
fn foreign_packets() -> Vec<(&'static str, Vec<u8>)> {
    let syn = tcp("192.0.2.7:31337 -> 198.51.100.1:9000").syn();
    vec![
        ("an Ethernet header alone", frame(0x0800, &[])),
        (
            "ARP",
            frame(
                0x0806,
                &[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 172, 16, 1, 1, 0, 0, 0, 0, 0, 0, 203, 0, 113, 10],
            ),
        ),
        ("IPv6", frame(0x86dd, &[0x60; 60])),
        (
            "TCP over IPv6 to the port of a TCP listener",
            ipv6(6, &[0x7a, 0x69, 0x23, 0x28, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]),
        ),
        (
            "UDP over IPv6 to the tunnel port",
            ipv6(17, &[0x12, 0xb5, 0x12, 0xb5, 0, 16, 0, 0, 8, 0, 0, 0, 0, 0, 101, 0]),
        ),
        (
            "a neighbour's solicitation",
            ipv6(58, &[135, 0, 0, 0, 0, 0, 0, 0, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10]),
        ),
        ("a later fragment over IPv6", ipv6(44, &[6, 0, 5, 0xa9, 0, 0, 0, 1, 1, 2, 3, 4])),
        ("an IP header cut short", syn.clone().truncated(33).bytes()),
        (
            "TCP cut off before its ports",
            tcp("192.0.2.7:31337 -> 203.0.113.10:9000").syn().truncated(37).bytes(),
        ),
        ("TCP to another address", syn.bytes()),
        ("TCP to another port of the VIP", tcp("192.0.2.7:31337 -> 203.0.113.10:9001").syn().bytes()),
        (
            "a VLAN tag before a packet for the VIP",
            tcp("192.0.2.7:31337 -> 203.0.113.10:9000").syn().vlan(7).bytes(),
        ),
        (
            "IP under another EtherType",
            tcp("192.0.2.7:31337 -> 203.0.113.10:9000").syn().ethertype(0x88b5).bytes(),
        ),
        ("UDP to the VIP", udp("192.0.2.7:31337 -> 203.0.113.10:9000").payload(b"hello").bytes()),
        ("ICMP to the VIP", icmp("192.0.2.7 -> 203.0.113.10", 8, 0).payload(b"ping").bytes()),
        ("another protocol", ipv4("192.0.2.7 -> 203.0.113.10", 47).payload(&[0; 30]).bytes()),
        (
            "a UDP fragment for the VIP",
            udp("192.0.2.7:1 -> 203.0.113.10:9000").payload(&[1; 64]).fragment(0, true).bytes(),
        ),
        ("a first fragment for others", syn.clone().fragment(0, true).bytes()),
        ("a later fragment for others", syn.clone().payload(&[7; 80]).fragment(800, false).bytes()),
        ("IP options for others", syn.clone().ip_options(&[148, 4, 0, 0]).bytes()),
        ("a dying packet for others", syn.clone().ttl(1).bytes()),
        ("a wrong checksum for others", syn.clone().wrong_tcp_checksum().ip_checksum(1).bytes()),
        ("Ethernet padding", syn.clone().padding(6).bytes()),
        ("VXLAN to another address", vxlan("172.16.1.254 -> 172.16.1.11", 101, &syn).bytes()),
        (
            "another UDP port of the tunnel address",
            udp("172.16.1.254:4789 -> 172.16.1.10:4790").payload(&[8; 60]).bytes(),
        ),
        ("TCP to the tunnel address", tcp("172.16.1.254:1 -> 172.16.1.10:4789").syn().bytes()),
    ]
}

/// Test runs of TC programs refuse frames without a whole IPv4 header, which no kernel hands to TC either.
fn is_fit_for_tc(frame: &[u8]) -> bool {
    frame.len() >= 34
}

#[test]
fn passes_what_is_not_ours_without_a_change() {
    let Some(mut forwarder) = Forwarder::open() else { return };
    forwarder.scenario.group("tcp", &[("172.16.1.20:8080", 100)]).listener(Tcp, 9000, "tcp");
    forwarder.apply();
    for (what, frame) in foreign_packets() {
        println!("{what}");
        forwarder.from_clients(&frame).passes_untouched();
        forwarder.from_zone(&frame).passes_untouched();
        if is_fit_for_tc(&frame) {
            forwarder.tc_ingress(&frame).passes_untouched();
        }
        if frame[12..14] == [0x86, 0xdd] {
            forwarder.tc_egress(&frame).passes_untouched();
        }
        assert_eq!(forwarder.from_zone(&frame).moved, Default::default(), "{what}");
    }
}

#[test]
fn passes_everything_while_nothing_is_configured() {
    let Some(forwarder) = Forwarder::open() else { return };
    let ours = [
        tcp("192.0.2.7:31337 -> 203.0.113.10:9000").syn().bytes(),
        tcp("172.16.1.20:8080 -> 172.16.100.1:2000").ack().bytes(),
        vxlan("172.16.1.254 -> 172.16.1.10", 101, &tcp("192.168.1.20:80 -> 172.16.1.101:4000").ack()).bytes(),
        tcp("0.0.0.0:1 -> 0.0.0.0:0").bytes(),
    ];
    for frame in foreign_packets().into_iter().map(|(_, frame)| frame).chain(ours) {
        forwarder.from_clients(&frame).passes_untouched();
        forwarder.from_zone(&frame).passes_untouched();
        if is_fit_for_tc(&frame) {
            forwarder.tc_ingress(&frame).passes_untouched();
            forwarder.tc_egress(&frame).passes_untouched();
        }
    }
}

#[test]
fn passes_and_counts_packets_for_the_l7_engine() {
    let Some(mut forwarder) = Forwarder::open() else { return };
    forwarder.scenario.group("tcp", &[]).group("web", &[]);
    forwarder.scenario.listener(Http, 80, "web").listener(Tcp, 9000, "tcp");
    forwarder.apply();
    let request = tcp("192.0.2.7:31337 -> 203.0.113.10:80").ack().payload(b"GET / HTTP/1.1\r\n");
    let outcome = forwarder.from_clients(&request);
    outcome.passes_untouched();
    let counted = VipCounters { packets: 1, bytes: 56, ..VipCounters::default() };
    assert_eq!(outcome.moved.vips, BTreeMap::from([(forwarder.vip(80), counted)]));
}

#[test]
fn leaves_unknown_tunnels_to_others_where_the_port_is_shared() {
    let Some(mut forwarder) = Forwarder::open() else { return };
    forwarder.scenario.shared();
    forwarder.apply();
    let inner = tcp("192.168.1.20:80 -> 172.16.1.101:4000").ack();
    let [hop, _] = HOPS;
    for frame in [
        vxlan("172.16.1.77 -> 172.16.1.10", 101, &inner).bytes(),
        vxlan(&format!("{hop} -> 172.16.1.10"), 102, &inner).bytes(),
        vxlan("172.16.1.77 -> 172.16.1.10", 101, &inner).ip_options(&[1, 1, 1, 1]).bytes(),
        vxlan("172.16.1.77 -> 172.16.1.10", 101, &inner).fragment(0, true).bytes(),
        vxlan("172.16.1.77 -> 172.16.1.10", 101, &inner).truncated(40).bytes(),
    ] {
        forwarder.from_zone(&frame).passes_untouched();
        forwarder.tc_ingress(&frame).passes_untouched();
    }
}
