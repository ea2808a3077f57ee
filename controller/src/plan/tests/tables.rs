//! Tables per zone, and how flows choose in them.

use super::{World, zone};
use crate::model::ListenerProtocol::Tcp;
use crate::model::{
    HashFactor, LoadBalancerName, Scheduler, ServerGroupName, VswitchName, ZoneMapping, ZoneName,
};
use crate::plan::dump_contents;
use std::net::Ipv4Addr;

const SERVERS: [(&str, u32); 3] = [("172.16.1.20:80", 100), ("172.16.1.21:80", 100), ("172.16.2.20:80", 100)];

/// A load balancer in zones a and b, both served here, with an L4 group whose servers lie in them.
fn two_zones() -> World {
    let mut world = World::new();
    world.node.zones.push(zone("b", Ipv4Addr::new(172, 16, 2, 10)));
    world.group("tcp", &SERVERS);
    world.listener(Tcp, 9000, "tcp");
    let mappings =
        &mut world.resources.load_balancers.get_mut(&LoadBalancerName::new("lb")).unwrap().zone_mappings;
    mappings.push(ZoneMapping {
        zone: ZoneName::new("b"),
        vswitch: VswitchName::new("vsw-b"),
        vip: "203.0.113.11".parse().unwrap(),
        ..mappings[0].clone()
    });
    let group = world.resources.server_groups.get_mut(&ServerGroupName::new("tcp")).unwrap();
    for server in &mut group.servers {
        let is_in_a = server.address.to_string().starts_with("172.16.1.");
        server.zone = Some(ZoneName::new(if is_in_a { "a" } else { "b" }));
    }
    world
}

/// VIPs and tables.
fn dump(world: &World) -> String {
    let dump = dump_contents(&world.wanted().expect("fits the tables"));
    let lines = dump.lines().filter(|line| line.starts_with("vip ") || line.starts_with("table"));
    lines.map(|line| format!("{line}\n")).collect()
}

// Holds SG-170
#[test]
fn zones_share_a_table_where_traffic_crosses_them() {
    assert_eq!(
        dump(&two_zones()),
        "\
vip key 203.0.113.10:0/6 -> address only
vip key 203.0.113.10:9000/6 -> vip 0
vip key 203.0.113.11:0/6 -> address only
vip key 203.0.113.11:9000/6 -> vip 1
vip 0: L4 table 0
vip 1: L4 table 0
table 0: server 0 x21846, server 1 x21844, server 2 x21847
"
    );
}

// Holds SG-171, SG-173
#[test]
fn each_zone_has_its_own_servers_where_traffic_stays() {
    let mut world = two_zones();
    world.resources.server_groups.get_mut(&ServerGroupName::new("tcp")).unwrap().cross_zone = false;
    world.apply();
    let tables = |world: &World| -> Vec<String> {
        dump(world).lines().filter(|line| !line.starts_with("vip key")).map(str::to_owned).collect()
    };
    assert_eq!(
        tables(&world),
        [
            "vip 0: L4 table 0",
            "vip 1: L4 table 1",
            "table 0: server 0 x32768, server 1 x32769",
            "table 1: server 2 x65537"
        ]
    );
    // Zone b loses its last server: its flows have none, and zone a notices nothing.
    let group = world.resources.server_groups.get_mut(&ServerGroupName::new("tcp")).unwrap();
    group.servers.pop();
    world.standings.get_mut(&ServerGroupName::new("tcp")).unwrap().pop();
    world.apply();
    assert_eq!(
        tables(&world),
        [
            "vip 0: L4 table 0",
            "vip 1: L4 table 2",
            "table 0: server 0 x32768, server 1 x32769",
            "table 2: none x65537"
        ]
    );
    assert!(world.apply().is_none());
}

// Holds SG-171
#[test]
fn tables_come_apart_and_together_as_crossing_zones_is_turned_off_and_on() {
    let mut world = two_zones();
    world.apply();
    for cross_zone in [false, true, false] {
        world.resources.server_groups.get_mut(&ServerGroupName::new("tcp")).unwrap().cross_zone = cross_zone;
        let change = world.apply().expect("the tables differ");
        let slots: std::collections::BTreeSet<u32> =
            world.maps.live().vip.values().map(|vip| vip.table).collect();
        assert_eq!(slots.len(), if cross_zone { 1 } else { 2 }, "{}", crate::plan::dump_change(&change));
        assert!(world.apply().is_none());
    }
}

// Holds SG-84
#[test]
fn sch_chooses_by_the_client_s_address() {
    let mut world = two_zones();
    world.apply();
    world.resources.server_groups.get_mut(&ServerGroupName::new("tcp")).unwrap().scheduler =
        Scheduler::Sch(HashFactor::SourceIp);
    let change = crate::plan::dump_change(&world.apply().expect("the choice differs"));
    assert!(change.contains("set vip 0[0] L4 table 0 by source"), "{change}");
    assert!(!change.contains("write table"), "the same table serves both: {change}");
}
