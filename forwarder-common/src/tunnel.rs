//! Which tunnel packets are accepted, and where wrapped packets are routed.

use crate::address::Be32;
use bytemuck::{Pod, Zeroable};

/// Key of the map of accepted tunnels; its value is the index of the next hop whose answers these are, or
/// [`PAIR_ONLY`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct TunnelKey {
    /// Outer source: the router's tunnel endpoint.
    pub outer_source: Be32,
    /// Outer destination: our tunnel address.
    pub outer_destination: Be32,
    /// Network identifier, or [`ANY_VNI`] in the entry that says the two addresses are known at all.
    pub vni: u32,
}

/// No VNI on the wire: they have 24 bits.
pub const ANY_VNI: u32 = u32::MAX;

/// Value of a key with [`ANY_VNI`]: several hops may share the two addresses.
pub const PAIR_ONLY: u32 = u32::MAX;

/// Data of the route trie's keys: the first 32 bits must match whole, the rest by longest prefix. The value is the
/// index of a hop group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct RouteKey {
    /// A local address, or the first address of the NAT prefix for all of it.
    pub local: Be32,
    /// Destination.
    pub destination: Be32,
}

/// Prefix length of a route: the local address and `destination_bits` of the destination.
pub const fn route_prefix(destination_bits: u8) -> u32 {
    32 + destination_bits as u32
}

/// Prefix length of a look-up.
pub const LOOKUP_PREFIX: u32 = 64;

const _: () = assert!(size_of::<TunnelKey>() == 12);
const _: () = assert!(size_of::<RouteKey>() == 8);
