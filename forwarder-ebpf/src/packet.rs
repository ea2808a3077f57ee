//! Packet memory: the only file with packet pointers.
//!
//! A [`Packet`] is good until the next helper that moves the packet; make a new one after it. The verifier refuses
//! programs that forget.

use aya_ebpf::bindings::BPF_F_ADJ_ROOM_FIXED_GSO;
use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::programs::{TcContext, XdpContext};
use forwarder_common::address::Be16;
use forwarder_common::verdict::DropReason;

/// The directly readable part of a packet.
#[derive(Clone, Copy)]
pub struct Packet {
    data: usize,
    end: usize,
}

impl Packet {
    /// The packet of an XDP program.
    #[inline(always)]
    pub fn of_xdp(ctx: &XdpContext) -> Self {
        Self { data: ctx.data(), end: ctx.data_end() }
    }

    /// The linear part of the packet of a TC program.
    #[inline(always)]
    pub fn of_tc(ctx: &TcContext) -> Self {
        Self { data: ctx.data(), end: ctx.data_end() }
    }

    /// Its length from the Ethernet header on, bytes.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.end - self.data
    }

    /// A pointer to a `T` at `offset`; `None` where it would not fit.
    #[inline(always)]
    pub fn at<T>(&self, offset: usize) -> Option<*mut T> {
        // In this form, and not as a subtraction: only this teaches the verifier the bound.
        if self.data + offset + size_of::<T>() > self.end {
            return None;
        }
        Some((self.data + offset) as *mut T)
    }

    /// A copy of the `T` at `offset`.
    #[inline(always)]
    pub fn read<T: Copy>(&self, offset: usize) -> Option<T> {
        // SAFETY: `at` checked the bounds; headers are plain bytes with alignment at most 2, which packets have.
        self.at::<T>(offset).map(|pointer| unsafe { *pointer })
    }

    /// Writes a `T` at `offset`; `None` where it would not fit.
    #[inline(always)]
    pub fn write<T: Copy>(&self, offset: usize, value: &T) -> Option<()> {
        // SAFETY: as in `read`; nothing else holds a reference into the packet.
        self.at::<T>(offset).map(|pointer| unsafe { *pointer = *value })
    }
}

/// The EtherType the kernel sees in a TC program's packet.
#[inline(always)]
pub fn protocol(ctx: &TcContext) -> Be16 {
    // SAFETY: the context is valid while the program runs.
    Be16::from_bits(unsafe { (*ctx.skb.skb).protocol } as u16)
}

/// Takes `bytes` out behind the Ethernet header of a TC program's packet.
#[inline(always)]
pub fn shrink(ctx: &TcContext, bytes: i32) -> Result<(), DropReason> {
    // FIXED_GSO: the inner segments keep their size.
    ctx.adjust_room(-bytes, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO as u64)
        .map_err(|_| DropReason::NoHeadroom)
}
