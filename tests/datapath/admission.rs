//! Which tunnel packets come in.

use controller::model::ListenerProtocol::Tcp;
use forwarder_common::counters::HopCounters;
use forwarder_common::verdict::DropReason::{
    self, Truncated, TunnelInnerDestination, TunnelInnerSource, TunnelMalformed, TunnelUnknownSource,
    TunnelWrongVni,
};
use std::collections::BTreeMap;
use tests::forwarder::{Forwarder, Outcome, ToFrame};
use tests::packet::{Packet, icmp, ipv4, tcp, udp, vxlan};
use tests::scenario::{LOCAL_ADDRESS, TUNNEL_ADDRESS, VNI};

const ROUTER: &str = "172.16.1.254 -> 172.16.1.10";

fn forwarder() -> Option<Forwarder> {
    let mut forwarder = Forwarder::open()?;
    forwarder.scenario.group("tcp", &[("192.168.1.20:8080", 100)]).listener(Tcp, 9000, "tcp");
    forwarder.apply();
    Some(forwarder)
}

/// A remote server's answer to an L7 connection.
fn answer() -> Packet {
    tcp(&format!("192.168.1.20:8080 -> {LOCAL_ADDRESS}:41000")).ack().payload(b"HTTP/1.1 200 OK")
}

/// What both ingress programs make of a packet.
fn both(forwarder: &Forwarder, frame: &(impl ToFrame + ?Sized)) -> [Outcome; 2] {
    [forwarder.from_zone(frame), forwarder.tc_ingress(frame)]
}

#[track_caller]
fn refuses(forwarder: &Forwarder, packet: &Packet, reason: DropReason) {
    for outcome in both(forwarder, packet) {
        outcome.is_dropped(reason);
        assert_eq!(outcome.moved.next_hops, BTreeMap::new());
    }
}

#[test]
fn unwraps_answers_to_local_addresses() {
    let Some(forwarder) = forwarder() else { return };
    let inner = [
        answer(),
        answer().ip_length(1450),
        answer().identification(5).fragment(0, true),
        answer().payload(&[3; 80]).fragment(1480, false),
        answer().ip_options(&[148, 4, 0, 0]),
        udp(&format!("192.168.1.20:53 -> {LOCAL_ADDRESS}:41000")).payload(b"?"),
        icmp(&format!("192.168.1.20 -> {LOCAL_ADDRESS}"), 0, 0),
    ];
    for packet in inner {
        let wrapped = vxlan(ROUTER, VNI, &packet.clone().ethernet([9; 6], [8; 6]));
        for outcome in both(&forwarder, &wrapped) {
            // For the host, the frame must be addressed to it: the outer Ethernet header comes before the inner packet.
            outcome.passes_as(&packet);
            assert_eq!(outcome.moved.drops, BTreeMap::new());
            let bytes = packet.bytes().len() as u64 - 14;
            let counted = HopCounters { reply_packets: 1, reply_bytes: bytes, ..HopCounters::default() };
            assert_eq!(outcome.moved.next_hops.into_values().collect::<Vec<_>>(), [counted]);
        }
    }
}

#[test]
fn refuses_other_sources_networks_and_contents() {
    let Some(forwarder) = forwarder() else { return };
    let good = || vxlan(ROUTER, VNI, &answer());
    let holding = |inner: &Packet| vxlan(ROUTER, VNI, inner);
    let with_flags = |flags: u8| {
        let mut payload = vec![flags, 0, 0, 0, 0, 0, VNI as u8, 0];
        payload.extend(answer().bytes());
        udp("172.16.1.254:51234 -> 172.16.1.10:4789").udp_checksum(0).payload(&payload)
    };
    let cases = [
        ("an unknown router", vxlan("172.16.1.77 -> 172.16.1.10", VNI, &answer()), TunnelUnknownSource),
        (
            "our own address as router",
            vxlan("172.16.1.10 -> 172.16.1.10", VNI, &answer()),
            TunnelUnknownSource,
        ),
        ("a neighbouring VNI", vxlan(ROUTER, VNI + 1, &answer()), TunnelWrongVni),
        ("VNI 0", vxlan(ROUTER, 0, &answer()), TunnelWrongVni),
        ("the largest VNI", vxlan(ROUTER, 0xff_ffff, &answer()), TunnelWrongVni),
        ("no I flag", with_flags(0), TunnelMalformed),
        ("all flags but the I flag", with_flags(0xf7), TunnelMalformed),
        ("a first fragment", good().fragment(0, true), TunnelMalformed),
        ("outer IP options", good().ip_options(&[1, 1, 1, 1]), TunnelMalformed),
        ("IPv6 inside", holding(&answer().ethertype(0x86dd)), TunnelMalformed),
        ("ARP inside", holding(&answer().ethertype(0x0806)), TunnelMalformed),
        ("a VLAN tag inside", holding(&answer().vlan(5)), TunnelMalformed),
        ("version 6 under IPv4's EtherType", holding(&answer().version(6)), TunnelMalformed),
        ("an inner packet that claims more than is there", holding(&answer().total_length(1000)), Truncated),
        ("an inner packet shorter than its header", holding(&answer().total_length(19)), Truncated),
        (
            "an inner source that is not routed",
            holding(&tcp(&format!("198.51.100.1:80 -> {LOCAL_ADDRESS}:41000")).ack()),
            TunnelInnerSource,
        ),
        (
            "an inner source inside the VPC",
            holding(&tcp(&format!("172.16.1.20:80 -> {LOCAL_ADDRESS}:41000")).ack()),
            TunnelInnerSource,
        ),
        (
            "an inner source that is ours",
            holding(&tcp(&format!("{LOCAL_ADDRESS}:80 -> {LOCAL_ADDRESS}:41000")).ack()),
            TunnelInnerSource,
        ),
        (
            "an inner source of nobody for a NAT address",
            holding(&tcp("198.51.100.1:80 -> 172.16.100.1:2000").ack()),
            TunnelInnerSource,
        ),
        (
            "the host's own address inside",
            holding(&tcp(&format!("192.168.1.20:80 -> {TUNNEL_ADDRESS}:22")).syn()),
            TunnelInnerDestination,
        ),
        (
            "the VIP inside",
            holding(&tcp("192.168.1.20:80 -> 203.0.113.10:9000").syn()),
            TunnelInnerDestination,
        ),
        ("a broadcast inside", holding(&ipv4("192.168.1.20 -> 255.255.255.255", 17)), TunnelInnerDestination),
        ("a tunnel in the tunnel", holding(&good()), TunnelInnerDestination),
    ];
    for (what, packet, reason) in cases {
        println!("{what}");
        refuses(&forwarder, &packet, reason);
    }
    // Reserved flags are ignored (RFC 7348 section 5).
    for outcome in both(&forwarder, &with_flags(0xff)) {
        outcome.passes_as(&answer());
    }
}

#[test]
fn on_a_shared_port_a_known_router_is_still_held_to_the_rules() {
    let Some(mut forwarder) = forwarder() else { return };
    forwarder.scenario.shared();
    forwarder.apply();
    for outcome in both(&forwarder, &vxlan(ROUTER, VNI, &answer())) {
        outcome.passes_as(&answer());
    }
    let foreign = tcp(&format!("198.51.100.1:80 -> {LOCAL_ADDRESS}:41000")).ack();
    refuses(&forwarder, &vxlan(ROUTER, VNI, &foreign), TunnelInnerSource);
    let elsewhere = tcp(&format!("192.168.1.20:80 -> {TUNNEL_ADDRESS}:22")).syn();
    refuses(&forwarder, &vxlan(ROUTER, VNI, &elsewhere), TunnelInnerDestination);
    for outcome in both(&forwarder, &vxlan(ROUTER, VNI + 1, &answer())) {
        outcome.passes_untouched();
    }
}

#[test]
fn a_route_through_another_router_does_not_admit() {
    let Some(mut forwarder) = forwarder() else { return };
    // A second router, one hop of its own, one route of its own.
    let hop = {
        let hop = forwarder.scenario.next_hops().remove(1);
        assert_eq!(hop.address.to_string(), "172.16.1.254");
        hop
    };
    let resources = &mut forwarder.scenario.resources;
    let mut router = resources.transit_routers.values().next().expect("made in new").clone();
    router.name = controller::model::TransitRouterName::new("tr2");
    router.next_hops = vec![hop];
    for vpc in resources.vpcs.values_mut() {
        let destination = "10.0.0.0/8".parse().expect("a prefix");
        vpc.routes.push(controller::model::Route { destination, transit_router: router.name.clone() });
    }
    resources.transit_routers.insert(router.name.clone(), router);
    forwarder.apply();
    refuses(&forwarder, &vxlan(ROUTER, VNI, &answer()), TunnelInnerSource);
    let from_ten = tcp(&format!("10.1.1.1:80 -> {LOCAL_ADDRESS}:41000")).ack();
    for outcome in both(&forwarder, &vxlan(ROUTER, VNI, &from_ten)) {
        outcome.passes_as(&from_ten);
    }
}

#[test]
fn admits_icmp_errors_about_our_packets_alone() {
    let Some(forwarder) = forwarder() else { return };
    // A router on the way, which has an address that no route leads to.
    let error = |kind, code, about: &Packet| {
        icmp(&format!("100.64.7.7 -> {LOCAL_ADDRESS}"), kind, code).icmp_rest(1400).payload(&about.quoted(28))
    };
    let ours = tcp(&format!("{LOCAL_ADDRESS}:41000 -> 192.168.1.20:8080")).ack().payload(&[0; 100]);
    for (kind, code) in [(3, 4), (3, 1), (11, 0), (12, 0)] {
        let packet = error(kind, code, &ours);
        for outcome in both(&forwarder, &vxlan(ROUTER, VNI, &packet)) {
            outcome.passes_as(&packet);
        }
    }
    let refused = [
        ("an echo request that quotes", error(8, 0, &ours)),
        ("a redirect", error(5, 1, &ours)),
        ("about a packet of another host", error(3, 4, &tcp("172.16.1.55:41000 -> 192.168.1.20:8080").ack())),
        (
            "about a packet of another local address",
            error(3, 4, &tcp("172.16.1.102:41000 -> 192.168.1.20:8080").ack()),
        ),
        (
            "about a packet that no route leads through the tunnel",
            error(3, 4, &tcp(&format!("{LOCAL_ADDRESS}:41000 -> 198.51.100.1:8080")).ack()),
        ),
        ("with too little of a packet", error(3, 4, &ours).payload(&ours.quoted(19))),
        ("in a fragment", error(3, 4, &ours).fragment(0, true)),
        ("behind IP options", error(3, 4, &ours).ip_options(&[1, 1, 1, 1])),
        ("of another protocol", tcp(&format!("100.64.7.7:3 -> {LOCAL_ADDRESS}:5")).payload(&ours.quoted(28))),
    ];
    for (what, packet) in refused {
        println!("{what}");
        refuses(&forwarder, &vxlan(ROUTER, VNI, &packet), TunnelInnerSource);
    }
}

/// Cut off anywhere, a good tunnel packet is never taken for whole. What remains:
/// - up to 33 bytes there is no whole IP header, so nothing says that it is ours: it passes, and the stack drops it;
/// - from there on it is an IP packet of ours that ends too early: dropped as `truncated`.
#[test]
fn a_truncated_tunnel_packet_is_never_unwrapped() {
    let Some(forwarder) = forwarder() else { return };
    let whole = vxlan(ROUTER, VNI, &answer());
    for length in 14..whole.bytes().len() {
        let frame = whole.clone().truncated(length);
        if length < 34 {
            forwarder.from_zone(&frame).passes_untouched();
        } else {
            refuses(&forwarder, &frame, Truncated);
        }
    }
    for outcome in both(&forwarder, &whole) {
        outcome.passes_as(&answer());
    }
}

/// A later fragment has no ports, so it cannot be known to be a tunnel packet's; its first fragment is dropped, so it
/// is never put together.
#[test]
fn later_fragments_to_the_tunnel_address_pass() {
    let Some(forwarder) = forwarder() else { return };
    let fragment = vxlan(ROUTER, VNI, &answer()).payload(&[7; 64]).fragment(1480, false);
    for outcome in both(&forwarder, &fragment) {
        outcome.passes_untouched();
    }
}

#[test]
fn padding_behind_a_tunnel_packet_is_no_part_of_it() {
    let Some(forwarder) = forwarder() else { return };
    let padded = vxlan(ROUTER, VNI, &answer()).padding(9);
    for outcome in both(&forwarder, &padded) {
        outcome.passes_as(&answer().padding(9));
    }
}
