//! Map contents as values.

use super::diff::{Change, MapOp};
use crate::balance::maglev::{self, Builder, Member};
use forwarder_common::address::Be32;
use forwarder_common::limits;
use forwarder_common::next_hop::{HopGroup, NextHop};
use forwarder_common::server::Server;
use forwarder_common::settings::Settings;
use forwarder_common::tunnel::{RouteKey, TunnelKey};
use forwarder_common::vip::{MaglevEntry, NO_SERVER, Vip, VipKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// One Maglev table, as its members: they decide who owns which entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Those with weight, by identity.
    members: Vec<Member>,
}

static BUILDER: LazyLock<Builder> = LazyLock::new(|| Builder::new(limits::MAGLEV_ENTRIES as usize));

impl Table {
    /// The table of `members`.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Table {
        let mut members: Vec<Member> = members.into_iter().filter(|member| member.weight > 0).collect();
        members.sort_unstable_by_key(|member| member.identity);
        Table { members }
    }

    /// The table in `slot`, by what the elements of its servers say.
    pub fn of_servers(servers: &BTreeMap<u32, Server>, slot: u32) -> Table {
        let members = servers.iter().filter(|(_, server)| server.table == slot);
        Table::new(members.map(|(index, server)| Member {
            // Servers are fewer than a u16 can count.
            index: *index as u16,
            identity: server.identity,
            weight: server.weight,
        }))
    }

    /// Servers with a share, by identity.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Index of the server of every entry, [`limits::MAGLEV_ENTRIES`] of them. Takes milliseconds.
    pub fn owners(&self) -> Vec<MaglevEntry> {
        const { assert!(maglev::EMPTY == NO_SERVER) };
        BUILDER.build(&self.members)
    }
}

/// One copy of every configuration array. Elements that are absent are free, that is all zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrays {
    /// Node settings.
    pub settings: Settings,
    /// VIPs by index.
    pub vip: BTreeMap<u32, Vip>,
    /// Servers by index. A server that left stays as a free element that keeps its generation.
    pub server: BTreeMap<u32, Server>,
    /// Next hops by index.
    pub next_hop: BTreeMap<u32, NextHop>,
    /// Hop groups by index.
    pub hop_group: BTreeMap<u32, HopGroup>,
}

/// Keys of hash maps and tries; their values are indices and never change while the key is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// VIPs.
    pub vips: BTreeMap<VipKey, u32>,
    /// Routes: (prefix length of the trie, data) → hop group.
    pub routes: BTreeMap<(u32, RouteKey), u32>,
    /// Accepted tunnels → next hop.
    pub tunnels: BTreeMap<TunnelKey, u32>,
    /// Local addresses.
    pub local_addresses: BTreeSet<Be32>,
}

/// Everything the maps should hold for one configuration at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapContents {
    /// Configuration arrays.
    pub arrays: Arrays,
    /// Keys.
    pub keys: Keys,
    /// Maglev tables by slot.
    pub tables: BTreeMap<u32, Table>,
}

/// Everything the maps do hold: both copies of the arrays, and which is live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapState {
    /// The epoch; its lowest bit says which copy is live.
    pub epoch: u32,
    /// The copies.
    pub copies: [Arrays; 2],
    /// Keys.
    pub keys: Keys,
    /// Maglev tables by slot; those that no live VIP names are free.
    pub tables: BTreeMap<u32, Table>,
}

impl MapState {
    /// The copy that packets see.
    pub fn live(&self) -> &Arrays {
        &self.copies[(self.epoch & 1) as usize]
    }

    /// The copy that may be written.
    pub fn spare(&self) -> &Arrays {
        &self.copies[(self.epoch.wrapping_add(1) & 1) as usize]
    }

    /// The state once `change` is carried out.
    pub fn apply(&mut self, change: &Change) {
        change.prepare.iter().chain(&change.cleanup).for_each(|op| self.apply_op(op));
        self.epoch = change.epoch;
    }

    /// The state once `op` alone is carried out.
    pub fn apply_op(&mut self, op: &MapOp) {
        match op {
            MapOp::SetSettings { copy, value } => self.copies[*copy as usize].settings = *value,
            MapOp::SetVip { copy, index, value } => set(&mut self.copies[*copy as usize].vip, *index, *value),
            MapOp::SetServer { copy, index, value } => {
                set(&mut self.copies[*copy as usize].server, *index, *value)
            }
            MapOp::SetNextHop { copy, index, value } => {
                set(&mut self.copies[*copy as usize].next_hop, *index, *value)
            }
            MapOp::SetHopGroup { copy, index, value } => {
                set(&mut self.copies[*copy as usize].hop_group, *index, **value);
            }
            MapOp::WriteTable { slot, table } => {
                self.tables.insert(*slot, table.clone());
            }
            MapOp::InsertVip { key, index } => {
                self.keys.vips.insert(*key, *index);
            }
            MapOp::RemoveVip { key } => {
                self.keys.vips.remove(key);
            }
            MapOp::InsertRoute { prefix, key, index } => {
                self.keys.routes.insert((*prefix, *key), *index);
            }
            MapOp::RemoveRoute { prefix, key } => {
                self.keys.routes.remove(&(*prefix, *key));
            }
            MapOp::InsertTunnel { key, index } => {
                self.keys.tunnels.insert(*key, *index);
            }
            MapOp::RemoveTunnel { key } => {
                self.keys.tunnels.remove(key);
            }
            MapOp::InsertLocalAddress { address } => {
                self.keys.local_addresses.insert(*address);
            }
            MapOp::RemoveLocalAddress { address } => {
                self.keys.local_addresses.remove(address);
            }
        }
    }
}

fn set<T: bytemuck::Zeroable + PartialEq>(array: &mut BTreeMap<u32, T>, index: u32, value: T) {
    if value == T::zeroed() {
        array.remove(&index);
    } else {
        array.insert(index, value);
    }
}
