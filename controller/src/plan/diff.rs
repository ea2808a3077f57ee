//! From what the maps hold to what they should: ordered operations.

use super::contents::{MapContents, MapState, Table};
use bytemuck::Zeroable;
use forwarder_common::address::Be32;
use forwarder_common::next_hop::{HopGroup, NextHop};
use forwarder_common::server::Server;
use forwarder_common::settings::Settings;
use forwarder_common::tunnel::{RouteKey, TunnelKey};
use forwarder_common::vip::{Vip, VipKey};
use std::collections::{BTreeMap, BTreeSet};

/// One write to a map. `copy` is 0 or 1.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the operands that the variants' lines name")]
pub enum MapOp {
    /// Node settings.
    SetSettings { copy: u32, value: Settings },
    /// Element of a VIP.
    SetVip { copy: u32, index: u32, value: Vip },
    /// Element of a server.
    SetServer { copy: u32, index: u32, value: Server },
    /// Element of a next hop.
    SetNextHop { copy: u32, index: u32, value: NextHop },
    /// Element of a hop group.
    SetHopGroup { copy: u32, index: u32, value: Box<HopGroup> },
    /// A whole Maglev table.
    WriteTable { slot: u32, table: Table },
    /// Key of a VIP.
    InsertVip { key: VipKey, index: u32 },
    /// Key of a VIP.
    RemoveVip { key: VipKey },
    /// Key of a route.
    InsertRoute { prefix: u32, key: RouteKey, index: u32 },
    /// Key of a route.
    RemoveRoute { prefix: u32, key: RouteKey },
    /// Key of an accepted tunnel.
    InsertTunnel { key: TunnelKey, index: u32 },
    /// Key of an accepted tunnel.
    RemoveTunnel { key: TunnelKey },
    /// A local address.
    InsertLocalAddress { address: Be32 },
    /// A local address.
    RemoveLocalAddress { address: Be32 },
}

/// A change of the maps, in the order in which it is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Writes that no packet can see yet. What can fail, fails here.
    pub prepare: Vec<MapOp>,
    /// The epoch to store then: from here on every packet sees the new configuration.
    pub epoch: u32,
    /// Removals of keys whose elements are free by now; after a grace period.
    pub cleanup: Vec<MapOp>,
}

/// The change that makes the maps hold `wanted`; `None` when what packets see is that already.
///
/// Order within *prepare*: what is named before what names it (tables and next hops, then groups and servers, then
/// VIPs, then keys), so that even a reader of both copies finds no dangling index. A key whose index changes is
/// removed and inserted again in *cleanup*, since hash elements are never rewritten in place; between commit and then
/// it leads to what the old index means now. [`super::desired()`] asks for it only where a local address moves to another VPC.
pub fn diff(current: &MapState, wanted: &MapContents) -> Option<Change> {
    let tables_differ =
        wanted.tables.iter().any(|(slot, table)| current.tables.get(slot).is_none_or(|now| now != table));
    if *current.live() == wanted.arrays && current.keys == wanted.keys && !tables_differ {
        return None;
    }
    let epoch = current.epoch.wrapping_add(1);
    let copy = epoch & 1;
    let spare = current.spare();
    let mut prepare = Vec::new();
    for (slot, table) in &wanted.tables {
        if current.tables.get(slot) != Some(table) {
            prepare.push(MapOp::WriteTable { slot: *slot, table: table.clone() });
        }
    }
    changed(&spare.next_hop, &wanted.arrays.next_hop, |index, value| {
        prepare.push(MapOp::SetNextHop { copy, index, value });
    });
    changed(&spare.hop_group, &wanted.arrays.hop_group, |index, value| {
        prepare.push(MapOp::SetHopGroup { copy, index, value: Box::new(value) });
    });
    changed(&spare.server, &wanted.arrays.server, |index, value| {
        prepare.push(MapOp::SetServer { copy, index, value });
    });
    changed(&spare.vip, &wanted.arrays.vip, |index, value| {
        prepare.push(MapOp::SetVip { copy, index, value })
    });
    if spare.settings != wanted.arrays.settings {
        prepare.push(MapOp::SetSettings { copy, value: wanted.arrays.settings });
    }

    let mut cleanup = Vec::new();
    let (now, then) = (&current.keys, &wanted.keys);
    for (key, index) in &then.vips {
        if !now.vips.contains_key(key) {
            prepare.push(MapOp::InsertVip { key: *key, index: *index });
        }
    }
    for ((prefix, key), index) in &then.routes {
        if !now.routes.contains_key(&(*prefix, *key)) {
            prepare.push(MapOp::InsertRoute { prefix: *prefix, key: *key, index: *index });
        }
    }
    for (key, index) in &then.tunnels {
        if !now.tunnels.contains_key(key) {
            prepare.push(MapOp::InsertTunnel { key: *key, index: *index });
        }
    }
    for address in then.local_addresses.difference(&now.local_addresses) {
        prepare.push(MapOp::InsertLocalAddress { address: *address });
    }
    cleanup.extend(gone(&now.vips, &then.vips).map(|key| MapOp::RemoveVip { key }));
    cleanup.extend(gone(&now.routes, &then.routes).map(|(prefix, key)| MapOp::RemoveRoute { prefix, key }));
    cleanup.extend(gone(&now.tunnels, &then.tunnels).map(|key| MapOp::RemoveTunnel { key }));
    cleanup.extend(
        now.local_addresses
            .difference(&then.local_addresses)
            .map(|address| MapOp::RemoveLocalAddress { address: *address }),
    );
    for (key, index) in moved(&now.vips, &then.vips) {
        cleanup.push(MapOp::InsertVip { key, index });
    }
    for ((prefix, key), index) in moved(&now.routes, &then.routes) {
        cleanup.push(MapOp::InsertRoute { prefix, key, index });
    }
    for (key, index) in moved(&now.tunnels, &then.tunnels) {
        cleanup.push(MapOp::InsertTunnel { key, index });
    }
    Some(Change { prepare, epoch, cleanup })
}

/// Calls `set` for each element that `spare` and `wanted` do not agree on; absent elements are zero.
fn changed<T: Zeroable + Copy + PartialEq>(
    spare: &BTreeMap<u32, T>,
    wanted: &BTreeMap<u32, T>,
    mut set: impl FnMut(u32, T),
) {
    let indices: BTreeSet<u32> = spare.keys().chain(wanted.keys()).copied().collect();
    for index in indices {
        let value = wanted.get(&index).copied().unwrap_or_else(T::zeroed);
        if spare.get(&index).copied().unwrap_or_else(T::zeroed) != value {
            set(index, value);
        }
    }
}

/// Keys that `then` has with another index than `now`, and that index.
fn moved<'a, K: Ord + Copy>(
    now: &'a BTreeMap<K, u32>,
    then: &'a BTreeMap<K, u32>,
) -> impl Iterator<Item = (K, u32)> + 'a {
    then.iter()
        .filter(|(key, index)| now.get(*key).is_some_and(|old| old != *index))
        .map(|(key, index)| (*key, *index))
}

/// Keys of `now` that `then` does not have, or has with another index.
fn gone<'a, K: Ord + Copy>(
    now: &'a BTreeMap<K, u32>,
    then: &'a BTreeMap<K, u32>,
) -> impl Iterator<Item = K> + 'a {
    now.iter().filter(|(key, index)| then.get(*key) != Some(*index)).map(|(key, _)| *key)
}
