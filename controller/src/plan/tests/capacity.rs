//! What does not fit is refused as a whole, with what there is too much of.

use super::{World, zone};
use crate::model::ListenerProtocol::{Http, Tcp};
use crate::plan::CapacityError;
use forwarder_common::limits;
use std::net::Ipv4Addr;

#[track_caller]
fn refuses(world: &World, what: &'static str, needed: usize, capacity: u32) {
    assert_eq!(world.wanted(), Err(CapacityError { what, needed, capacity }));
}

#[test]
fn too_many_vips() {
    let mut world = World::new();
    world.group("web", &[]);
    for port in 1..=limits::VIPS as u16 {
        world.listener(Http, port, "web");
    }
    assert!(world.wanted().is_ok());
    world.listener(Http, 9999, "web");
    refuses(&world, "VIPs", 1025, limits::VIPS);
}

#[test]
fn too_many_keys_of_vips() {
    let mut world = World::new();
    world.group("tcp", &[]);
    for port in 1..=limits::VIPS as u16 {
        world.listener(Tcp, port, "tcp");
    }
    // One more for the address as a whole.
    refuses(&world, "keys of VIPs", 1025, limits::VIPS);
}

#[test]
fn too_many_groups_of_tcp_listeners() {
    let mut world = World::new();
    for number in 0..129 {
        world.group(&format!("g{number}"), &[]);
        world.listener(Tcp, 9000 + number, &format!("g{number}"));
    }
    refuses(&world, "server groups of TCP listeners", 129, limits::MAGLEV_TABLES / 2);
}

#[test]
fn too_many_servers() {
    let mut world = World::new();
    let servers: Vec<String> = (0..=limits::SERVERS)
        .map(|number| format!("192.168.1.{}:{}", number % 200, 1000 + number / 200))
        .collect();
    let servers: Vec<(&str, u32)> = servers.iter().map(|address| (address.as_str(), 100)).collect();
    world.group("tcp", &servers);
    world.listener(Tcp, 9000, "tcp");
    refuses(&world, "servers of L4 groups", 16_385, limits::SERVERS);
    // Groups of HTTP listeners take no room here.
    world.resources.listeners.clear();
    world.listener(Http, 80, "tcp");
    assert!(world.wanted().is_ok());
}

#[test]
fn too_many_tunnel_addresses() {
    let mut world = World::new();
    for number in 1..=10 {
        world.node.zones.push(zone(&format!("z{number}"), Ipv4Addr::new(172, 16, 2, number)));
    }
    refuses(&world, "tunnel addresses", 11, limits::TUNNEL_ADDRESSES as u32);
}

#[test]
fn too_many_local_addresses_and_routes() {
    let mut world = World::new();
    let addresses: Vec<String> =
        (0..1025).map(|number| format!("172.17.{}.{}", number / 250, number % 250)).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    world.balancer("lb", "vpc1", "203.0.113.10", &addresses);
    refuses(&world, "local addresses", 1025, limits::LOCAL_ADDRESSES);
    world.balancer("lb", "vpc1", "203.0.113.10", &addresses[..1024]);
    let routes: Vec<String> = (0..5).map(|number| format!("10.{number}.0.0/16")).collect();
    let routes: Vec<(&str, &str)> = routes.iter().map(|route| (route.as_str(), "tr1")).collect();
    world.vpc("vpc1", &routes[..4]);
    assert!(world.wanted().is_ok());
    world.vpc("vpc1", &routes);
    refuses(&world, "pairs of local address and route", 5120, limits::ROUTES);
}

#[test]
fn too_many_routes_to_routers() {
    let mut world = World::new();
    let routes: Vec<String> =
        (0..257).map(|number| format!("10.{}.{}.0/24", number / 256, number % 256)).collect();
    let routes: Vec<(&str, &str)> = routes.iter().map(|route| (route.as_str(), "tr1")).collect();
    world.vpc("vpc1", &routes);
    refuses(&world, "routes to transit routers", 257, limits::HOP_GROUPS);
}
