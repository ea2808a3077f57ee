//! Counting: per-CPU, so without atomics.

use crate::IP;
use crate::maps::{DROPS, HOP_COUNTERS, SERVER_COUNTERS, VIP_COUNTERS};
use crate::packet::Packet;
use aya_ebpf::maps::PerCpuArray;
use forwarder_common::counters::{HopCounters, ServerCounters, VipCounters};
use forwarder_common::verdict::DropReason;

#[inline(always)]
fn update<T>(counters: &PerCpuArray<T>, index: u32, change: impl FnOnce(&mut T)) {
    if let Some(element) = counters.get_ptr_mut(index) {
        // SAFETY: this CPU's own copy, and nothing else runs on it meanwhile.
        change(unsafe { &mut *element });
    }
}

/// A packet was dropped.
#[inline(always)]
pub fn dropped(reason: DropReason) {
    update(&DROPS, reason as u32, |count| *count += 1);
}

/// Changes a VIP's counters.
#[inline(always)]
pub fn vip(index: u32, change: impl FnOnce(&mut VipCounters)) {
    update(&VIP_COUNTERS, index, change);
}

/// Changes a server's counters.
#[inline(always)]
pub fn server(index: u32, change: impl FnOnce(&mut ServerCounters)) {
    update(&SERVER_COUNTERS, index, change);
}

/// A packet was wrapped toward a next hop; `bytes` from the inner IP header on.
#[inline(always)]
pub fn sent(hop: u32, bytes: usize) {
    update(&HOP_COUNTERS, hop, |counters: &mut HopCounters| {
        counters.packets += 1;
        counters.bytes += bytes as u64;
    });
}

/// A packet from a next hop was unwrapped.
#[inline(always)]
pub fn unwrapped(hop: u32, packet: &Packet) {
    unwrapped_bytes(hop, packet.len() - IP);
}

/// As [`unwrapped`], with the bytes from the inner IP header on.
#[inline(always)]
pub fn unwrapped_bytes(hop: u32, bytes: usize) {
    update(&HOP_COUNTERS, hop, |counters: &mut HopCounters| {
        counters.reply_packets += 1;
        counters.reply_bytes += bytes as u64;
    });
}
