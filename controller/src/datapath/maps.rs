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
    pub maglev: Mappable,
    pub server: Array<MapData, Plain<Server>>,
    pub next_hop: Array<MapData, Plain<NextHop>>,
    pub routes: LpmTrie<MapData, Plain<RouteKey>, u32>,
    pub hop_group: Array<MapData, Plain<HopGroup>>,
    pub tunnels: HashMap<MapData, Plain<TunnelKey>, u32>,
    pub local_addresses: HashMap<MapData, Plain<Be32>, u32>,
    pub nat_slots: Mappable,
    pub drops: PerCpuArray<MapData, u64>,
    pub vip_counters: PerCpuArray<MapData, Plain<VipCounters>>,
    pub server_counters: PerCpuArray<MapData, Plain<ServerCounters>>,
    pub hop_counters: PerCpuArray<MapData, Plain<HopCounters>>,
}

impl Maps {
    pub fn take(ebpf: &mut Ebpf) -> Result<Maps, DatapathError> {
        Ok(Maps {
            control: Mappable::new("CONTROL", take(ebpf, "CONTROL")?)?.map(0, 8)?,
            settings: typed(ebpf, "SETTINGS")?,
            vips: typed(ebpf, "VIPS")?,
            vip: typed(ebpf, "VIP")?,
            maglev: Mappable::new("MAGLEV", take(ebpf, "MAGLEV")?)?,
            server: typed(ebpf, "SERVER")?,
            next_hop: typed(ebpf, "NEXT_HOP")?,
            routes: typed(ebpf, "ROUTES")?,
            hop_group: typed(ebpf, "HOP_GROUP")?,
            tunnels: typed(ebpf, "TUNNELS")?,
            local_addresses: typed(ebpf, "LOCAL_ADDRESSES")?,
            nat_slots: Mappable::new("NAT_SLOTS", take(ebpf, "NAT_SLOTS")?)?,
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
                let table = Table::of_servers(&state.live().server, slot);
                state.tables.insert(slot, table);
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

/// An array that can be mapped into this process, for what must be read or written whole, or is large. Mapped pages count as
/// this process's memory, so large arrays are mapped only while they are looked at.
pub(super) struct Mappable {
    map: Map,
}

impl Mappable {
    fn new(name: &'static str, map: Map) -> Result<Mappable, DatapathError> {
        match map {
            Map::Array(_) => Ok(Mappable { map }),
            _ => {
                Err(DatapathError::Load(format!("map {name} is no array: rebuild with `cargo xtask build`")))
            }
        }
    }

    /// Maps `bytes` bytes of the values from `offset` on.
    pub fn map(&self, offset: usize, bytes: usize) -> Result<Mapped, DatapathError> {
        let Map::Array(data) = &self.map else { unreachable!("checked when it was made") };
        // SAFETY: no pointers.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let before = offset % page;
        // SAFETY: a fresh shared mapping of the array's values, which the kernel bounds.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                before + bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                (offset - before) as libc::off_t,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(DatapathError::System {
                call: "mmap of a map",
                source: std::io::Error::last_os_error(),
            });
        }
        Ok(Mapped { page: start.cast(), before, bytes })
    }

    /// Writes a whole Maglev table to a slot that no packet reads.
    pub fn write_table(&self, slot: u32, owners: &[MaglevEntry]) -> Result<(), DatapathError> {
        assert!(owners.len() == MAGLEV_ENTRIES as usize, "a table of {} entries", owners.len());
        let mapped = self.map(slot as usize * TABLE_BYTES, TABLE_BYTES)?;
        let start = mapped.at(0, TABLE_BYTES).cast::<MaglevEntry>();
        for (entry, owner) in owners.iter().enumerate() {
            // SAFETY: inside the mapping and aligned; nobody reads the slot before the epoch that names it is stored.
            unsafe { start.add(entry).write_volatile(*owner) };
        }
        Ok(())
    }

    /// The Maglev table in `slot`.
    pub fn table(&self, slot: u32) -> Result<Vec<MaglevEntry>, DatapathError> {
        let mapped = self.map(slot as usize * TABLE_BYTES, TABLE_BYTES)?;
        let start = mapped.at(0, TABLE_BYTES).cast::<MaglevEntry>();
        // SAFETY: inside the mapping and aligned; programs never write tables, and of their readers only we write.
        Ok((0..MAGLEV_ENTRIES as usize).map(|entry| unsafe { start.add(entry).read_volatile() }).collect())
    }

    /// All NAT slots.
    pub fn all_slots(&self) -> Result<Mapped, DatapathError> {
        self.map(0, limits::NAT_SLOTS as usize * size_of::<NatSlot>())
    }
}

/// Values of an array, mapped.
pub(super) struct Mapped {
    page: *mut u8,
    /// Bytes of the first page before the first value.
    before: usize,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value and is only reached through atomics and volatile accesses.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// The address of `bytes` bytes at `offset`.
    fn at(&self, offset: usize, bytes: usize) -> *mut u8 {
        assert!(offset + bytes <= self.bytes, "offset {offset} lies outside the mapping");
        // SAFETY: inside the mapping, as just checked.
        unsafe { self.page.add(self.before + offset) }
    }

    /// The u32 element `index` of an array of u32, whose elements lie 8 bytes apart.
    pub fn word(&self, index: u32) -> &AtomicU32 {
        // SAFETY: inside the mapping, aligned, and only ever reached as an atomic.
        unsafe { &*self.at(index as usize * 8, 4).cast::<AtomicU32>() }
    }

    /// The first word of NAT slot `index`.
    pub fn claim(&self, index: u32) -> &AtomicU64 {
        let offset = index as usize * size_of::<NatSlot>() + std::mem::offset_of!(NatSlot, claim);
        // SAFETY: inside the mapping, aligned, and only ever reached as an atomic.
        unsafe { &*self.at(offset, 8).cast::<AtomicU64>() }
    }

    /// A copy of NAT slot `index`; consistent if its claim reads the same before and after.
    pub fn slot(&self, index: u32) -> NatSlot {
        let start = self.at(index as usize * size_of::<NatSlot>(), size_of::<NatSlot>());
        // SAFETY: inside the mapping and aligned; volatile, since the programs write meanwhile.
        unsafe { start.cast::<NatSlot>().read_volatile() }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`; no reference into it outlives `self`.
        unsafe { libc::munmap(self.page.cast(), self.before + self.bytes) };
    }
}
