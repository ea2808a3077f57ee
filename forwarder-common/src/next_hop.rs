//! Next hops: neighbours on a link, tunnel endpoints, and groups of the latter.

use crate::address::{Be16, Be32, Mac};
use crate::hash;
use crate::limits::{HOP_BUCKETS, HOPS_PER_GROUP};
use bytemuck::{Pod, Zeroable};

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct NextHop {
    /// Names the hop across restarts; 0 for a free element.
    pub identity: u64,
    /// Interface to send from.
    pub ifindex: u32,
    /// One of the `KIND_` constants.
    pub kind: u8,
    /// Non-zero once both MAC addresses are known; until then packets are dropped as `next_hop_unresolved`.
    pub resolved: u8,
    /// Largest inner IP packet, bytes: the path's MTU less the encapsulation.
    pub mtu: u16,
    /// Ethernet receiver: the neighbour, or the router toward the tunnel endpoint.
    pub destination_mac: Mac,
    /// Ethernet sender, and the inner frame's.
    pub source_mac: Mac,
    /// Ethernet receiver of the inner frame.
    pub inner_destination_mac: Mac,
    /// UDP port of the tunnel.
    pub udp_port: Be16,
    /// Outer source: this node's tunnel address.
    pub outer_source: Be32,
    /// Outer destination: the tunnel endpoint.
    pub outer_destination: Be32,
    /// IP address of the neighbour that takes the (outer) packet.
    pub gateway: Be32,
    /// VXLAN network identifier.
    pub vni: u32,
    /// Always zero.
    pub zero: u32,
}

/// A free element.
pub const KIND_FREE: u8 = 0;
/// A neighbour on a link: only the MAC addresses change.
pub const KIND_DIRECT: u8 = 1;
/// Wrapped in VXLAN.
pub const KIND_VXLAN: u8 = 2;

/// Tunnel endpoints among which flows are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct HopGroup {
    /// Names the group across restarts; 0 for a free element: packets are not ours to route and pass untouched.
    pub identity: u64,
    /// Number of hops; 0: there is a route but nowhere to send, and packets are dropped as `no_next_hop`.
    pub count: u32,
    /// Always zero.
    pub zero: u32,
    /// Indices of the next hops, the first `count` of them meant.
    pub hops: [u16; HOPS_PER_GROUP],
    /// Position in `hops` for each bucket of the flow hash, [`NO_HOP`] for none; built by the plan so that shares follow
    /// the weights and a lost hop moves only its own flows. Longer than used: the verifier's idea of an index is coarse.
    pub buckets: [u8; HOP_BUCKETS + 5],
}

/// A bucket that leads nowhere, because no hop has weight.
pub const NO_HOP: u8 = u8::MAX;

impl HopGroup {
    /// The next hop of a flow; `None` when no hop takes flows.
    #[inline(always)]
    pub fn pick(&self, flow_hash: u64) -> Option<u16> {
        // The upper half: the lower one already chose the server, and the two choices must not be correlated.
        let bucket = hash::slot(flow_hash >> 32, HOP_BUCKETS as u32);
        let position = *self.buckets.get(bucket as usize)?;
        if position as u32 >= self.count {
            return None;
        }
        self.hops.get(position as usize & (HOPS_PER_GROUP - 1)).copied()
    }

    /// Whether `next_hop` is one of the group's.
    #[inline(always)]
    pub fn contains(&self, next_hop: u16) -> bool {
        let mut found = false;
        let mut position = 0;
        while position < HOPS_PER_GROUP {
            found |= (position as u32) < self.count && self.hops[position] == next_hop;
            position += 1;
        }
        found
    }
}

const _: () = assert!(size_of::<NextHop>() == 56);
const _: () = assert!(size_of::<HopGroup>() == 288);
const _: () = assert!(HOPS_PER_GROUP.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    fn group(count: u32) -> HopGroup {
        let mut group = HopGroup { count, ..HopGroup::zeroed() };
        for (position, hop) in group.hops.iter_mut().enumerate() {
            *hop = 100 + position as u16;
        }
        for (bucket, position) in group.buckets.iter_mut().enumerate() {
            *position = (bucket % count.max(1) as usize) as u8;
        }
        group
    }

    #[test]
    fn a_group_without_weight_picks_nothing() {
        let mut group = group(2);
        group.buckets.fill(NO_HOP);
        assert_eq!(group.pick(7), None);
        assert!(group.contains(100), "its answers may still be on the way");
    }

    #[test]
    fn an_empty_group_picks_nothing_and_contains_nothing() {
        assert_eq!(group(0).pick(1), None);
        assert!(!group(0).contains(100));
    }

    #[test]
    fn contains_only_the_counted_hops() {
        assert!(group(2).contains(101));
        assert!(!group(2).contains(102));
    }

    #[test]
    fn every_hop_is_reached_and_only_those() {
        let group = group(3);
        let mut seen = [0u32; 3];
        for step in 0..10_000u64 {
            let hop = group.pick(step.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap();
            seen[usize::from(hop - 100)] += 1;
        }
        assert!(seen.iter().all(|&n| (3_000..3_700).contains(&n)), "{seen:?}");
    }
}
