//! The maps, typed.

use super::DatapathError;
use crate::plan::{Arrays, Keys, MapState, Table};
use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use bytemuck::Pod;
use forwarder_common::address::Be32;
use forwarder_common::counters::{HopCounters, ServerCounters, VipCounters};
use forwarder_common::epoch::{COPIES, position};
use forwarder_common::limits::{self, MAGLEV_ALLOCATED, MAGLEV_ENTRIES};
use forwarder_common::nat::NatSlot;
use forwarder_common::next_hop::{HopGroup, NextHop};
use forwarder_common::server::Server;
use forwarder_common::settings::{CONTROL_EPOCH, Settings};
use forwarder_common::tunnel::{RouteKey, TunnelKey};
use forwarder_common::vip::{self, MaglevEntry, Vip, VipKey};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A map key or value whose bytes are exactly its fields.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Plain<T>(pub T);

// SAFETY: `bytemuck::Pod` promises what `aya::Pod` asks for: no padding, any bytes valid, no pointers.
unsafe impl<T: Pod> aya::Pod for Plain<T> {}

/// Bytes from one Maglev table to the next.
const TABLE_BYTES: usize = MAGLEV_ALLOCATED * size_of::<MaglevEntry>();
// The kernel rounds the size of array elements up to this.
const _: () = assert!(TABLE_BYTES.is_multiple_of(8));

/// Every map but the log's.
pub(super) struct Maps {
    pub control: Mapped,
    pub settings: Array<MapData, Plain<Settings>>,
    pub vips: HashMap<MapData, Plain<VipKey>, u32>,
    pub vip: Array<MapData, Plain<Vip>>,
    pub maglev: Mapped,
    pub server: Array<MapData, Plain<Server>>,
    pub next_hop: Array<MapData, Plain<NextHop>>,
    pub routes: LpmTrie<MapData, Plain<RouteKey>, u32>,
    pub hop_group: Array<MapData, Plain<HopGroup>>,
    pub tunnels: HashMap<MapData, Plain<TunnelKey>, u32>,
    pub local_addresses: HashMap<MapData, Plain<Be32>, u32>,
    pub nat_slots: Mapped,
    pub drops: PerCpuArray<MapData, u64>,
    pub vip_counters: PerCpuArray<MapData, Plain<VipCounters>>,
    pub server_counters: PerCpuArray<MapData, Plain<ServerCounters>>,
    pub hop_counters: PerCpuArray<MapData, Plain<HopCounters>>,
}

impl Maps {
    pub fn take(ebpf: &mut Ebpf) -> Result<Maps, DatapathError> {
        Ok(Maps {
            control: Mapped::new("CONTROL", take(ebpf, "CONTROL")?, 8)?,
            settings: typed(ebpf, "SETTINGS")?,
            vips: typed(ebpf, "VIPS")?,
            vip: typed(ebpf, "VIP")?,
            maglev: Mapped::new(
                "MAGLEV",
                take(ebpf, "MAGLEV")?,
                limits::MAGLEV_TABLES as usize * TABLE_BYTES,
            )?,
            server: typed(ebpf, "SERVER")?,
            next_hop: typed(ebpf, "NEXT_HOP")?,
            routes: typed(ebpf, "ROUTES")?,
            hop_group: typed(ebpf, "HOP_GROUP")?,
            tunnels: typed(ebpf, "TUNNELS")?,
            local_addresses: typed(ebpf, "LOCAL_ADDRESSES")?,
            nat_slots: Mapped::new(
                "NAT_SLOTS",
                take(ebpf, "NAT_SLOTS")?,
                limits::NAT_SLOTS as usize * size_of::<NatSlot>(),
            )?,
            drops: typed(ebpf, "DROPS")?,
            vip_counters: typed(ebpf, "VIP_COUNTERS")?,
            server_counters: typed(ebpf, "SERVER_COUNTERS")?,
            hop_counters: typed(ebpf, "HOP_COUNTERS")?,
        })
    }

    /// What the maps hold, as after an earlier process; empty for fresh ones.
    pub fn read_state(&self) -> Result<MapState, DatapathError> {
        let mut state = MapState {
            epoch: self.control.word(CONTROL_EPOCH).load(Ordering::Acquire),
            ..MapState::default()
        };
        for copy in 0..COPIES {
            state.copies[copy as usize] = Arrays {
                settings: self.settings.get(&position(0, copy), 0).map_err(map_error("SETTINGS"))?.0,
                vip: elements(&self.vip, "VIP", limits::VIPS, copy)?,
                server: elements(&self.server, "SERVER", limits::SERVERS, copy)?,
                next_hop: elements(&self.next_hop, "NEXT_HOP", limits::NEXT_HOPS, copy)?,
                hop_group: elements(&self.hop_group, "HOP_GROUP", limits::HOP_GROUPS, copy)?,
            };
        }
        state.keys = Keys {
            vips: pairs(&self.vips, "VIPS")?.map(|(key, index)| (key.0, index)).collect(),
            routes: self
                .routes
                .iter()
                .map(|entry| entry.map(|(key, index)| ((key.prefix_len(), key.data().0), index)))
                .collect::<Result<_, _>>()
                .map_err(map_error("ROUTES"))?,
            tunnels: pairs(&self.tunnels, "TUNNELS")?.map(|(key, index)| (key.0, index)).collect(),
            local_addresses: pairs(&self.local_addresses, "LOCAL_ADDRESSES")?.map(|(key, _)| key.0).collect(),
        };
        let slots: BTreeSet<u32> =
            state.live().vip.values().filter(|vip| vip.kind == vip::KIND_L4).map(|vip| vip.table).collect();
        for slot in slots {
            // A VIP that names no table is as good as free; the next change writes it anew.
            if slot < limits::MAGLEV_TABLES {
                state.tables.insert(slot, self.maglev.table(slot));
            }
        }
        Ok(state)
    }
}

/// The elements of one copy that are not zero.
fn elements<T: Pod + PartialEq>(
    array: &Array<MapData, Plain<T>>,
    name: &'static str,
    capacity: u32,
    copy: u32,
) -> Result<BTreeMap<u32, T>, DatapathError> {
    let mut found = BTreeMap::new();
    for index in 0..capacity {
        let value = array.get(&position(index, copy), 0).map_err(map_error(name))?.0;
        if value != T::zeroed() {
            found.insert(index, value);
        }
    }
    Ok(found)
}

fn pairs<K: Pod>(
    map: &HashMap<MapData, Plain<K>, u32>,
    name: &'static str,
) -> Result<impl Iterator<Item = (Plain<K>, u32)> + use<K>, DatapathError> {
    Ok(map.iter().collect::<Result<Vec<_>, _>>().map_err(map_error(name))?.into_iter())
}

/// An error of the map `map`.
pub(super) fn map_error(map: &'static str) -> impl Fn(MapError) -> DatapathError {
    move |source| DatapathError::Map { map, source }
}

/// A key of the trie.
pub(super) fn trie_key(prefix: u32, key: RouteKey) -> Key<Plain<RouteKey>> {
    Key::new(prefix, Plain(key))
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, DatapathError> {
    ebpf.take_map(name).ok_or_else(|| {
        DatapathError::Load(format!("the eBPF object has no map {name}: rebuild with `cargo xtask build`"))
    })
}

fn typed<M: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, DatapathError> {
    take(ebpf, name)?.try_into().map_err(map_error(name))
}

/// An array mapped into this process, for single words that must be read or written whole.
pub(super) struct Mapped {
    // Keeps the map's descriptor open.
    _map: Map,
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value and is only reached through atomics.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    fn new(name: &'static str, map: Map, bytes: usize) -> Result<Mapped, DatapathError> {
        let Map::Array(data) = &map else {
            return Err(DatapathError::Load(format!(
                "map {name} is no array: rebuild with `cargo xtask build`"
            )));
        };
        // SAFETY: a fresh shared mapping of the array's values, which the kernel bounds.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(DatapathError::System {
                call: "mmap of a map",
                source: std::io::Error::last_os_error(),
            });
        }
        Ok(Mapped { _map: map, start: start.cast(), bytes })
    }

    /// The u32 element `index` of an array of u32, whose elements lie 8 bytes apart.
    pub fn word(&self, index: u32) -> &AtomicU32 {
        let offset = index as usize * 8;
        assert!(offset + 4 <= self.bytes, "element {index} lies outside the map");
        // SAFETY: inside the mapping, aligned, and only ever reached as an atomic.
        unsafe { &*self.start.add(offset).cast::<AtomicU32>() }
    }

    /// A copy of the Maglev table in `slot`. As a map element it would be copied through the stack, which it is too large
    /// for.
    pub fn table(&self, slot: u32) -> Table {
        let start = self.table_start(slot);
        // SAFETY: inside the mapping and aligned; programs never write tables, and of their readers only we write.
        (0..MAGLEV_ENTRIES as usize).map(|entry| unsafe { start.add(entry).read_volatile() }).collect()
    }

    /// Writes a whole Maglev table to a slot that no packet reads.
    pub fn write_table(&mut self, slot: u32, table: &Table) {
        assert!(table.len() == MAGLEV_ENTRIES as usize, "a table of {} entries", table.len());
        let start = self.table_start(slot);
        for (entry, value) in table.iter().enumerate() {
            // SAFETY: inside the mapping and aligned; nobody reads the slot before the epoch that names it is stored.
            unsafe { start.add(entry).write_volatile(*value) };
        }
    }

    fn table_start(&self, slot: u32) -> *mut MaglevEntry {
        let offset = slot as usize * TABLE_BYTES;
        assert!(offset + TABLE_BYTES <= self.bytes, "table {slot} lies outside the map");
        // SAFETY: inside the mapping, as just checked.
        unsafe { self.start.add(offset).cast() }
    }

    /// The first word of NAT slot `index`.
    pub fn claim(&self, index: u32) -> &AtomicU64 {
        let offset = index as usize * size_of::<NatSlot>() + std::mem::offset_of!(NatSlot, claim);
        assert!(offset + 8 <= self.bytes, "slot {index} lies outside the map");
        // SAFETY: inside the mapping, aligned, and only ever reached as an atomic.
        unsafe { &*self.start.add(offset).cast::<AtomicU64>() }
    }

    /// A copy of NAT slot `index`; consistent if its claim reads the same before and after.
    pub fn slot(&self, index: u32) -> NatSlot {
        let offset = index as usize * size_of::<NatSlot>();
        assert!(offset + size_of::<NatSlot>() <= self.bytes, "slot {index} lies outside the map");
        // SAFETY: inside the mapping and aligned; volatile, since the programs write meanwhile.
        unsafe { self.start.add(offset).cast::<NatSlot>().read_volatile() }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}
