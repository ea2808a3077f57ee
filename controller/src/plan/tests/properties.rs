//! What holds for every sequence of configurations.

use super::World;
use crate::model::ListenerProtocol::{Http, Tcp};
use crate::plan::{Change, MapContents, MapOp, MapState, Table, diff};
use std::collections::{BTreeMap, BTreeSet};

const SERVERS: [&str; 6] = [
    "172.16.1.20:80",
    "172.16.1.21:80",
    "172.16.1.21:81",
    "192.168.1.20:80",
    "10.1.2.3:80",
    "198.51.100.1:80",
];

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn some<T: Copy>(&mut self, of: &[T]) -> Vec<T> {
        of.iter().copied().filter(|_| self.coin()).collect()
    }
}

/// Changes something.
fn step(world: &mut World, random: &mut Random) {
    match random.below(8) {
        0 => {
            let routes =
                random.some(&[("192.168.0.0/16", "tr1"), ("192.168.1.0/24", "tr2"), ("10.0.0.0/8", "tr2")]);
            world.vpc("vpc1", &routes);
        }
        1 => {
            let hops = random.some(&[
                ("172.16.1.253", 101, 100),
                ("172.16.1.254", 101, 50),
                ("172.16.1.254", 102, 50),
                ("172.16.1.252", 7, 0),
            ]);
            world.router(if random.coin() { "tr1" } else { "tr2" }, &hops);
        }
        2 => {
            let addresses = random.some(&["172.16.1.101", "172.16.1.102", "172.16.1.103"]);
            world.balancer(
                "lb",
                if random.below(4) == 0 { "vpc2" } else { "vpc1" },
                "203.0.113.10",
                &addresses,
            );
        }
        3 => {
            let port = 9000 + random.below(3) as u16;
            world.resources.listeners.retain(|_, listener| listener.port.get() != port);
            match random.below(3) {
                0 => {}
                1 => world.listener(Http, port, "g0"),
                _ => world.listener(Tcp, port, &format!("g{}", random.below(2))),
            }
        }
        4 => {
            world.unresolved = random
                .some(&["172.16.1.20", "172.16.1.253"])
                .iter()
                .map(|address| address.parse().unwrap())
                .collect();
        }
        5 => {
            let live: Vec<u32> = world.maps.live().server.keys().copied().collect();
            world.in_use = random.some(&live).into_iter().collect();
        }
        _ => {
            let servers: Vec<(&str, u32)> = random
                .some(&SERVERS)
                .into_iter()
                .map(|server| (server, random.below(3) as u32 * 50))
                .collect();
            world.group(&format!("g{}", random.below(2)), &servers);
        }
    }
}

fn identities(maps: &MapState) -> BTreeMap<(&'static str, u64), u32> {
    let live = maps.live();
    let vips = live.vip.iter().map(|(index, vip)| (("vip", vip.identity), *index));
    // A server with several elements is named by the one that new flows begin in.
    let open = live.server.iter().filter(|(_, server)| server.drain_deadline == 0);
    let servers = open.map(|(index, server)| (("server", server.identity), *index));
    let hops = live.next_hop.iter().map(|(index, hop)| (("hop", hop.identity), *index));
    let groups = live.hop_group.iter().map(|(index, group)| (("group", group.identity), *index));
    vips.chain(servers).chain(hops).chain(groups).filter(|((_, identity), _)| *identity != 0).collect()
}

fn tables_in_use(maps: &MapState) -> BTreeSet<u32> {
    let l4 = maps.live().vip.values().filter(|vip| vip.kind == forwarder_common::vip::KIND_L4);
    l4.map(|vip| vip.table).collect()
}

/// No packet that is under way, before the commit or until the cleanup, may see a part of the change.
fn is_invisible(before: &MapState, change: &Change) {
    let live = before.epoch & 1;
    assert_ne!(change.epoch & 1, live, "the spare copy goes live");
    for op in &change.prepare {
        match op {
            MapOp::SetSettings { copy, .. }
            | MapOp::SetVip { copy, .. }
            | MapOp::SetServer { copy, .. }
            | MapOp::SetNextHop { copy, .. }
            | MapOp::SetHopGroup { copy, .. } => assert_ne!(*copy, live, "{op:?}"),
            MapOp::WriteTable { slot, .. } => assert!(!tables_in_use(before).contains(slot), "slot {slot}"),
            MapOp::InsertVip { key, .. } => assert!(!before.keys.vips.contains_key(key), "{op:?}"),
            MapOp::InsertRoute { prefix, key, .. } => {
                assert!(!before.keys.routes.contains_key(&(*prefix, *key)), "{op:?}");
            }
            MapOp::InsertTunnel { key, .. } => assert!(!before.keys.tunnels.contains_key(key), "{op:?}"),
            MapOp::InsertLocalAddress { address } => {
                assert!(!before.keys.local_addresses.contains(address), "{op:?}");
            }
            MapOp::RemoveVip { .. }
            | MapOp::RemoveRoute { .. }
            | MapOp::RemoveTunnel { .. }
            | MapOp::RemoveLocalAddress { .. } => panic!("removed while packets may look for it: {op:?}"),
        }
    }
    for op in &change.cleanup {
        let is_key = !matches!(
            op,
            MapOp::SetSettings { .. }
                | MapOp::SetVip { .. }
                | MapOp::SetServer { .. }
                | MapOp::SetNextHop { .. }
                | MapOp::SetHopGroup { .. }
                | MapOp::WriteTable { .. }
        );
        assert!(is_key, "written after the commit: {op:?}");
    }
}

/// Every index leads to an element.
fn is_consistent(wanted: &MapContents) {
    let MapContents { arrays, keys, tables } = wanted;
    for (key, index) in &keys.vips {
        assert!(*index == forwarder_common::vip::ADDRESS_ONLY || arrays.vip.contains_key(index), "{key:?}");
    }
    assert!(arrays.vip.values().all(|vip| vip.identity != 0), "free elements are absent");
    assert!(arrays.next_hop.values().all(|hop| hop.identity != 0), "free elements are absent");
    assert!(arrays.hop_group.values().all(|group| group.identity != 0), "free elements are absent");
    for (slot, table) in tables {
        assert_eq!(Table::of_servers(&arrays.server, *slot), *table, "what the next process finds");
    }
    for vip in arrays.vip.values().filter(|vip| vip.kind == forwarder_common::vip::KIND_L4) {
        for member in tables[&vip.table].members() {
            let server = &arrays.server[&u32::from(member.index)];
            assert_eq!(server.identity, member.identity, "another server in a table");
            assert_eq!((server.weight, server.table), (member.weight, vip.table), "a share nobody remembers");
        }
    }
    for server in arrays.server.values() {
        match server.reach {
            forwarder_common::server::REACH_DIRECT => assert!(arrays.next_hop.contains_key(&server.via)),
            forwarder_common::server::REACH_ROUTED => assert!(arrays.hop_group.contains_key(&server.via)),
            _ => {}
        }
    }
    assert!(keys.routes.values().all(|group| arrays.hop_group.contains_key(group)));
    for group in arrays.hop_group.values() {
        let hops = &group.hops[..group.count as usize];
        assert!(hops.iter().all(|hop| arrays.next_hop.contains_key(&u32::from(*hop))));
    }
    for (key, index) in &keys.tunnels {
        assert_eq!(
            *index == forwarder_common::tunnel::PAIR_ONLY,
            key.vni == forwarder_common::tunnel::ANY_VNI
        );
        assert!(key.vni == forwarder_common::tunnel::ANY_VNI || arrays.next_hop.contains_key(index));
    }
}

fn holds_for(seed: u64) {
    let mut random = Random(seed);
    let mut world = World::new();
    world.vpc("vpc2", &[("192.168.0.0/16", "tr2")]);
    world.router("tr2", &[("172.16.1.254", 102, 100)]);
    world.group("g0", &[("172.16.1.20:80", 100)]);
    world.group("g1", &[]);
    for _ in 0..20 {
        for _ in 0..=random.below(3) {
            step(&mut world, &mut random);
        }
        let before = world.maps.clone();
        let wanted = world.wanted().expect("fits the tables");
        is_consistent(&wanted);
        let Some(change) = world.apply() else {
            assert_eq!((world.maps.live(), &world.maps.keys), (&wanted.arrays, &wanted.keys));
            continue;
        };
        is_invisible(&before, &change);
        assert_eq!(*world.maps.live(), wanted.arrays);
        assert_eq!(world.maps.keys, wanted.keys);
        for (slot, table) in &wanted.tables {
            assert_eq!(world.maps.tables[slot], *table);
        }
        let (old, new) = (identities(&before), identities(&world.maps));
        for (identity, index) in &new {
            assert!(old.get(identity).is_none_or(|old| old == index), "{identity:?} moved");
        }
        for (index, server) in &world.maps.live().server {
            if let Some(earlier) = before.live().server.get(index)
                && server.identity != 0
                && earlier.identity != server.identity
            {
                assert_ne!(earlier.generation, server.generation, "index {index} changed hands unnoticed");
            }
        }
        // The next plan has nothing more to do than to free what was left for the flows.
        let again = world.wanted().expect("fits the tables");
        assert_eq!(again.arrays.server.len(), wanted.arrays.server.len());
        assert!(diff(&world.maps, &again).is_none(), "a second plan changes something");
    }
}

#[test]
fn holds_for_random_configurations() {
    let seeds: Vec<u64> = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..12).collect(),
    };
    for seed in seeds {
        println!("repeat with SEED={seed}");
        holds_for(seed);
    }
}
