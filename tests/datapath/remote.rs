//! Flows to servers behind a transit router.

use crate::connection::{Connection, client, syn};
use controller::model::ListenerProtocol::Tcp;
use controller::model::Weight;
use forwarder_common::address::{Be16, Be32};
use forwarder_common::counters::HopCounters;
use forwarder_common::hash;
use forwarder_common::verdict::DropReason;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use tests::difference::assert_same_frame;
use tests::forwarder::{FLOW_HASH_KEY, Forwarder};
use tests::packet::{HOST_MAC, PEER_MAC, inner_frame, vxlan};
use tests::scenario::{HOPS, INNER_MAC, TUNNEL_ADDRESS, VIP, VNI, ZONE_MAC, mac_of};

fn forwarder() -> Option<Forwarder> {
    let mut forwarder = Forwarder::open()?;
    forwarder.scenario.group("tcp", &[("192.168.1.20:8080", 100)]).listener(Tcp, 9000, "tcp");
    forwarder.apply();
    Some(forwarder)
}

fn flow_hash(client: SocketAddrV4) -> u64 {
    let (address, port) = (Be32::from(*client.ip()), Be16::new(client.port()));
    hash::flow_hash(FLOW_HASH_KEY, address, VIP.into(), port, Be16::new(9000), 6)
}

#[test]
fn wraps_packets_toward_the_hop_of_the_flow() {
    let Some(forwarder) = forwarder() else { return };
    let group = &forwarder.datapath.state().live().hop_group[&0];
    for number in 0..20 {
        let client = client(number);
        let outcome = forwarder.from_clients(&syn(client).traffic_class(0x2e << 2));
        let connection = Connection::of(client, outcome.is_redirected());
        let index = u32::from(group.pick(flow_hash(client)).expect("hops have weight"));
        let hop = forwarder.datapath.state().live().next_hop[&index].outer_destination.address();
        assert_eq!(connection.hop, Some(hop));
        let inner = connection.translated_request().syn().mss(1410).traffic_class(0x2e << 2);
        let expected =
            vxlan(&format!("{TUNNEL_ADDRESS} -> {hop}"), VNI, &inner.ethernet(ZONE_MAC, INNER_MAC))
                .source_port(0xc000 | (flow_hash(client) >> 48) as u16)
                .traffic_class(0x2e << 2)
                .ethernet(ZONE_MAC, mac_of(hop));
        outcome.as_frame(&expected);
        let sent = HopCounters { packets: 1, bytes: 44, ..HopCounters::default() };
        assert_eq!(outcome.moved.next_hops, BTreeMap::from([(index, sent)]));
    }
}

#[test]
fn carries_a_connection_both_ways() {
    let Some(forwarder) = forwarder() else { return };
    let connection = Connection::open(&forwarder, client(1));
    let answers = [
        (connection.reply().syn().ack().mss(1410), connection.translated_reply().syn().ack().mss(1410)),
        (connection.reply().ack().ip_length(1450), connection.translated_reply().ack().ip_length(1450)),
        (connection.reply().fin().payload(b"bye"), connection.translated_reply().fin().payload(b"bye")),
    ];
    for (answer, expected) in answers {
        // What stands in the outer frame's Ethernet header matters as little as in the inner one's.
        let outcome = forwarder.from_zone(&connection.tunnelled(&answer.ethernet([9; 6], [8; 6])));
        outcome.is_redirected().as_frame(&expected.ethernet(HOST_MAC, PEER_MAC));
        let counted: Vec<u64> = outcome.moved.next_hops.values().map(|hop| hop.reply_packets).collect();
        assert_eq!(counted, [1]);
    }
    let outcome = forwarder.from_clients(&connection.request().ack().ip_length(1450));
    let expected = connection.translated_request().ack().ip_length(1450).ethernet(ZONE_MAC, INNER_MAC);
    assert_same_frame(inner_frame(&outcome.is_redirected().frame), &expected.bytes());
}

// Holds XR-108
#[test]
fn spreads_flows_over_both_hops_and_takes_answers_from_either() {
    let Some(forwarder) = forwarder() else { return };
    let mut counts = BTreeMap::new();
    for number in 0..400 {
        let connection = Connection::open(&forwarder, client(number));
        *counts.entry(connection.hop).or_insert(0u32) += 1;
        if number < 10 {
            for hop in HOPS {
                let answer =
                    Connection { hop: Some(hop), ..connection }.tunnelled(&connection.reply().syn().ack());
                forwarder.from_zone(&answer).is_redirected();
            }
        }
    }
    // 400 throws of a coin: 4 standard deviations are 40.
    assert!(HOPS.iter().all(|hop| (160..=240).contains(&counts[&Some(*hop)])), "{counts:?}");
}

#[test]
fn a_hop_without_weight_gets_no_flows_but_is_still_heard() {
    let Some(mut forwarder) = forwarder() else { return };
    let old: Vec<Connection> = (0..20).map(|number| Connection::open(&forwarder, client(number))).collect();
    forwarder.scenario.next_hops()[0].weight = Weight::ZERO;
    forwarder.apply();
    for connection in &old {
        let outcome = forwarder.from_clients(&connection.request().ack());
        assert_eq!(Connection::of(connection.client, outcome.is_redirected()).hop, Some(HOPS[1]));
        forwarder.from_zone(&connection.tunnelled(&connection.reply().ack())).is_redirected();
    }
}

// Holds XR-108
#[test]
fn a_flow_moves_to_the_remaining_hop_when_its_own_is_removed() {
    let Some(mut forwarder) = forwarder() else { return };
    let old: Vec<Connection> = (0..20).map(|number| Connection::open(&forwarder, client(number))).collect();
    forwarder.scenario.next_hops().remove(0);
    forwarder.apply();
    for connection in &old {
        let outcome = forwarder.from_clients(&connection.request().ack());
        let now = Connection::of(connection.client, outcome.is_redirected());
        assert_eq!(now, Connection { hop: Some(HOPS[1]), ..*connection });
    }
    let stray = Connection { hop: Some(HOPS[0]), ..old[0] };
    forwarder.from_zone(&stray.tunnelled(&stray.reply().ack())).is_dropped(DropReason::TunnelUnknownSource);
}

#[test]
fn accepts_answers_under_a_new_vni_as_soon_as_it_is_configured() {
    let Some(mut forwarder) = forwarder() else { return };
    let connection = Connection::open(&forwarder, client(1));
    for hop in forwarder.scenario.next_hops() {
        hop.encapsulation = controller::model::Encapsulation::Vxlan { vni: 202, mac: INNER_MAC };
    }
    forwarder.apply();
    let outcome = forwarder.from_clients(&connection.request().ack());
    let hop = Connection::of(connection.client, outcome.is_redirected()).hop.expect("a remote server");
    let answer = |vni| vxlan(&format!("{hop} -> {TUNNEL_ADDRESS}"), vni, &connection.reply().ack());
    forwarder.from_zone(&answer(202)).is_redirected();
    forwarder.from_zone(&answer(VNI)).is_dropped(DropReason::TunnelWrongVni);
}
