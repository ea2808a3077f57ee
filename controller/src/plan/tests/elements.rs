//! Elements in full: what a dump leaves out.

use super::{World, zone};
use crate::model::AdmissionMode;
use crate::model::ListenerProtocol::{Http, Tcp};
use forwarder_common::address::{Be16, Be32};
use forwarder_common::next_hop::{self, NextHop};
use forwarder_common::settings::Settings;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// A TCP listener with one server on a link; the first of two tunnel endpoints is not resolved.
fn next_hops(unresolved: &[&str]) -> Vec<NextHop> {
    let mut world = World::new();
    world.group("tcp", &[("172.16.1.20:8080", 100)]);
    world.listener(Tcp, 9000, "tcp");
    world.unresolved = unresolved.iter().map(|address| address.parse().unwrap()).collect();
    let hops = world.wanted().expect("fits the tables").arrays.next_hop;
    hops.into_values().map(|hop| NextHop { identity: 0, ..hop }).collect()
}

fn be(address: &str) -> Be32 {
    address.parse::<Ipv4Addr>().unwrap().into()
}

#[test]
fn a_next_hop_carries_the_headers_that_are_put_before_a_packet() {
    let vxlan = |endpoint: &str, last: u8| NextHop {
        ifindex: 4,
        kind: next_hop::KIND_VXLAN,
        resolved: 1,
        mtu: 1450,
        destination_mac: [2, 0x11, 172, 16, 1, last],
        source_mac: [2, 0, 0, 0, 0xa0, 1],
        inner_destination_mac: [2, 0, 0, 0, 0xc0, 1],
        udp_port: Be16::new(4789),
        outer_source: be("172.16.1.10"),
        outer_destination: be(endpoint),
        gateway: be(endpoint),
        vni: 101,
        ..NextHop::default()
    };
    let direct = NextHop {
        ifindex: 4,
        kind: next_hop::KIND_DIRECT,
        resolved: 1,
        mtu: 1500,
        destination_mac: [2, 0x11, 172, 16, 1, 20],
        source_mac: [2, 0, 0, 0, 0xa0, 1],
        gateway: be("172.16.1.20"),
        ..NextHop::default()
    };
    let expected = [vxlan("172.16.1.253", 253), vxlan("172.16.1.254", 254), direct];
    assert_eq!(next_hops(&[]), expected);
    let unresolved = expected.map(|hop| NextHop { resolved: 0, destination_mac: [0; 6], ..hop });
    assert_eq!(next_hops(&["172.16.1.253", "172.16.1.254", "172.16.1.20"]), unresolved);
}

#[test]
fn a_neighbour_nothing_is_known_of_is_asked_for_by_its_address() {
    let mut world = World::new();
    world.group("tcp", &[("172.16.1.20:8080", 100)]);
    world.listener(Tcp, 9000, "tcp");
    world.unreachable = BTreeSet::from(["172.16.1.20".parse().unwrap()]);
    let contents = world.wanted().expect("fits the tables");
    let server = contents.arrays.server[&0];
    let hop = NextHop { identity: 0, ..contents.arrays.next_hop[&server.via] };
    let expected = NextHop { kind: next_hop::KIND_DIRECT, gateway: be("172.16.1.20"), ..NextHop::default() };
    assert_eq!(hop, expected);
}

#[test]
fn the_settings_are_those_of_the_node() {
    let mut world = World::new();
    world.node.zones.push(zone("b", Ipv4Addr::new(172, 16, 2, 10)));
    world.group("tcp", &[]);
    let settings = |world: &World| world.wanted().expect("fits the tables").arrays.settings;
    let mut expected =
        Settings { vxlan_port: Be16::new(4789), tunnel_address_count: 2, ..Settings::default() };
    expected.tunnel_addresses[..2].copy_from_slice(&[be("172.16.1.10"), be("172.16.2.10")]);
    assert_eq!(settings(&world), expected);
    world.node.tunnel.admission = AdmissionMode::Shared;
    expected.shared_port = 1;
    assert_eq!(settings(&world), expected);
    // The NAT prefix is ours as soon as there is a TCP listener.
    world.listener(Tcp, 9000, "tcp");
    (expected.nat_base, expected.nat_mask) = (be("172.16.100.0"), be("255.255.255.0"));
    assert_eq!(settings(&world), expected);
}

#[test]
fn only_balancers_with_tcp_listeners_route_from_the_nat_prefix() {
    let mut world = World::new();
    world.vpc("vpc2", &[("10.0.0.0/8", "tr1")]);
    world.balancer("lb2", "vpc2", "203.0.113.11", &["172.16.1.103"]);
    world.group("tcp", &[]);
    world.listener(Http, 80, "tcp");
    let routes = |world: &World| -> Vec<(Ipv4Addr, Ipv4Addr)> {
        let routes = world.wanted().expect("fits the tables").keys.routes;
        routes.into_keys().map(|(_, key)| (key.local.address(), key.destination.address())).collect()
    };
    let from_local = routes(&world);
    assert_eq!(from_local.len(), 3, "{from_local:?}");
    world.listener(Tcp, 9000, "tcp");
    let nat: Vec<_> = routes(&world).into_iter().filter(|route| !from_local.contains(route)).collect();
    assert_eq!(nat, [(Ipv4Addr::new(172, 16, 100, 0), Ipv4Addr::new(192, 168, 0, 0))]);
    world.node.nat_prefix = None;
    assert_eq!(routes(&world), from_local);
}
