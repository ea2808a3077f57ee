//! Flows: how a packet of a client finds its NAT slot.

use crate::address::{Be16, Be32};
use bytemuck::{Pod, Zeroable};

/// Key of the flow hash: the packet's 5-tuple as the client sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct FlowKey {
    /// Client address.
    pub client: Be32,
    /// VIP.
    pub vip: Be32,
    /// Client port.
    pub client_port: Be16,
    /// Port of the listener.
    pub vip_port: Be16,
    /// IP protocol.
    pub protocol: u8,
    /// Always zero.
    pub zero: [u8; 3],
}

/// Value of the flow hash: slot and the generation under which the flow holds it, in one word that can be exchanged
/// atomically. A slot taken over by another flow has another generation, which makes this entry stale at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRef {
    /// Index of the NAT slot.
    pub slot: u32,
    /// Generation of the slot, 24 bits.
    pub generation: u32,
}

impl FlowRef {
    /// An entry on its way out: its holder is about to delete it. Never a valid reference, since slots are fewer.
    pub const TOMBSTONE: u64 = u64::MAX;

    /// As stored.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// From the stored word.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

const _: () = assert!(size_of::<FlowKey>() == 16);
