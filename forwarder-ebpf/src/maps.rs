//! The maps, and how live elements are found. See `forwarder_common` for what they mean.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use forwarder_common::address::Be32;
use forwarder_common::counters::{HopCounters, ServerCounters, VipCounters};
use forwarder_common::epoch::{COPIES, position};
use forwarder_common::flow::FlowKey;
use forwarder_common::hash;
use forwarder_common::limits;
use forwarder_common::nat::NatSlot;
use forwarder_common::next_hop::{HopGroup, NextHop};
use forwarder_common::server::Server;
use forwarder_common::settings::{CONTROL_EPOCH, Settings};
use forwarder_common::tunnel::{LOOKUP_PREFIX, RouteKey, TunnelKey};
use forwarder_common::verdict::DROP_REASONS;
use forwarder_common::vip::{MaglevEntry, Vip, VipKey};

/// The key of the flow hash, set when the programs are loaded.
#[unsafe(no_mangle)]
static FLOW_HASH_KEY: hash::Key = [0; 2];

/// Between commit and cleanup the keys of the old and of the new configuration stand side by side.
const KEY_ROOM: u32 = 2;

#[map]
static CONTROL: Array<u32> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(COPIES, 0);
#[map]
static VIPS: HashMap<VipKey, u32> = HashMap::with_max_entries(KEY_ROOM * limits::VIPS, 0);
#[map]
static VIP: Array<Vip> = Array::with_max_entries(limits::VIPS * COPIES, 0);
#[map]
static MAGLEV: Array<[MaglevEntry; limits::MAGLEV_ALLOCATED]> =
    Array::with_max_entries(limits::MAGLEV_TABLES, BPF_F_MMAPABLE);
#[map]
static SERVER: Array<Server> = Array::with_max_entries(limits::SERVERS * COPIES, 0);
#[map]
static NEXT_HOP: Array<NextHop> = Array::with_max_entries(limits::NEXT_HOPS * COPIES, 0);
#[map]
static ROUTES: LpmTrie<RouteKey, u32> = LpmTrie::with_max_entries(KEY_ROOM * limits::ROUTES, 0);
#[map]
static HOP_GROUP: Array<HopGroup> = Array::with_max_entries(limits::HOP_GROUPS * COPIES, 0);
#[map]
static TUNNELS: HashMap<TunnelKey, u32> = HashMap::with_max_entries(KEY_ROOM * limits::TUNNELS, 0);
#[map]
static LOCAL_ADDRESSES: HashMap<Be32, u32> = HashMap::with_max_entries(KEY_ROOM * limits::LOCAL_ADDRESSES, 0);
#[map]
pub static FLOWS: HashMap<FlowKey, u64> = HashMap::with_max_entries(limits::FLOWS, 0);
#[map]
static NAT_SLOTS: Array<NatSlot> = Array::with_max_entries(limits::NAT_SLOTS, BPF_F_MMAPABLE);
#[map]
pub static DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(DROP_REASONS, 0);
#[map]
pub static VIP_COUNTERS: PerCpuArray<VipCounters> = PerCpuArray::with_max_entries(limits::VIPS, 0);
#[map]
pub static SERVER_COUNTERS: PerCpuArray<ServerCounters> = PerCpuArray::with_max_entries(limits::SERVERS, 0);
#[map]
pub static HOP_COUNTERS: PerCpuArray<HopCounters> = PerCpuArray::with_max_entries(limits::NEXT_HOPS, 0);

/// The epoch, to be read once per packet.
#[inline(always)]
pub fn epoch() -> u32 {
    // SAFETY: a map value; user space stores the word whole.
    CONTROL.get_ptr(CONTROL_EPOCH).map_or(0, |word| unsafe { word.read_volatile() })
}

/// The flow hash's key.
#[inline(always)]
pub fn flow_hash_key() -> hash::Key {
    // SAFETY: a constant of the loaded program; volatile, since the compiler would use the zeroes it sees here.
    unsafe { (&raw const FLOW_HASH_KEY).read_volatile() }
}

/// Node settings.
#[inline(always)]
pub fn settings(epoch: u32) -> Option<&'static Settings> {
    SETTINGS.get(position(0, epoch))
}

/// Index of a VIP, or `ADDRESS_ONLY`.
#[inline(always)]
pub fn vip_index(key: &VipKey) -> Option<u32> {
    // SAFETY: values of this map are never rewritten in place.
    unsafe { VIPS.get(key) }.copied()
}

/// A VIP.
#[inline(always)]
pub fn vip(index: u32, epoch: u32) -> Option<&'static Vip> {
    VIP.get(position(index, epoch))
}

/// The entry of a Maglev table that a hash falls on.
#[inline(always)]
pub fn maglev(table: u32, hash: u64) -> Option<MaglevEntry> {
    let entries = MAGLEV.get_ptr(table)?.cast::<MaglevEntry>();
    // A product with a constant, shifted: the verifier follows that it stays below the table's size.
    let slot = hash::slot(hash, limits::MAGLEV_ENTRIES) as usize;
    // SAFETY: the slot lies within the element.
    Some(unsafe { *entries.add(slot) })
}

/// A server.
#[inline(always)]
pub fn server(index: u32, epoch: u32) -> Option<&'static Server> {
    SERVER.get(position(index, epoch))
}

/// A next hop.
#[inline(always)]
pub fn next_hop(index: u32, epoch: u32) -> Option<&'static NextHop> {
    NEXT_HOP.get(position(index, epoch))
}

/// A hop group.
#[inline(always)]
pub fn hop_group(index: u32, epoch: u32) -> Option<&'static HopGroup> {
    HOP_GROUP.get(position(index, epoch))
}

/// The hop group of the longest route from `local` to `destination`.
#[inline(always)]
pub fn route(local: Be32, destination: Be32, epoch: u32) -> Option<&'static HopGroup> {
    let index = *ROUTES.get(Key::new(LOOKUP_PREFIX, RouteKey { local, destination }))?;
    hop_group(index, epoch)
}

/// Index of the next hop whose answers tunnel packets with this key are.
#[inline(always)]
pub fn tunnel(key: &TunnelKey) -> Option<u32> {
    // SAFETY: values of this map are never rewritten in place.
    unsafe { TUNNELS.get(key) }.copied()
}

/// Whether `address` is a local address.
#[inline(always)]
pub fn is_local_address(address: Be32) -> bool {
    LOCAL_ADDRESSES.get_ptr(address).is_some()
}

/// A NAT slot.
#[inline(always)]
pub fn nat_slot(index: u32) -> Option<*mut NatSlot> {
    NAT_SLOTS.get_ptr_mut(index)
}
