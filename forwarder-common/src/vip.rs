//! VIPs: what a client's packet is addressed to.

use crate::address::{Be16, Be32};
use bytemuck::{Pod, Zeroable};

/// Key of the VIP hash map; its value is an index into the array of [`Vip`], or [`ADDRESS_ONLY`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct VipKey {
    /// The address.
    pub address: Be32,
    /// The port; 0 marks the key of an address as a whole.
    pub port: Be16,
    /// IP protocol.
    pub protocol: u8,
    /// Always zero.
    pub zero: u8,
}

/// Value of a key with port 0: some L4 listener with this address and protocol exists. Fragments carry no ports, so
/// this is how they are recognised.
pub const ADDRESS_ONLY: u32 = u32::MAX;

/// One listener on one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Vip {
    /// Names the listener and address across restarts; 0 for a free element.
    pub identity: u64,
    /// One of the `KIND_` constants.
    pub kind: u16,
    /// One of the `BY_` constants; for [`KIND_L4`].
    pub choice: u16,
    /// Which Maglev table holds its servers; for [`KIND_L4`].
    pub table: u32,
}

/// A free element: packets pass untouched.
pub const KIND_FREE: u16 = 0;
/// Balanced by the programs.
pub const KIND_L4: u16 = 1;
/// Passed up to the L7 engine, and counted.
pub const KIND_L7: u16 = 2;

/// New flows fall on an entry of the table by their 5-tuple (Wrr).
pub const BY_FLOW: u16 = 0;
/// New flows fall on an entry by their client's address: all of one client's go to one server (Sch).
pub const BY_SOURCE: u16 = 1;

/// One entry of a Maglev table: the index of a server, or [`NO_SERVER`].
pub type MaglevEntry = u16;

/// No server: the group has none that may take traffic.
pub const NO_SERVER: u16 = u16::MAX;

const _: () = assert!(size_of::<VipKey>() == 8);
const _: () = assert!(size_of::<Vip>() == 16);
