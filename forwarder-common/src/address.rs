//! Numbers and addresses in network byte order, told apart from host numbers by type.

use bytemuck::{Pod, Zeroable};
use core::net::Ipv4Addr;

/// A 16-bit number as it lies in a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Be16(u16);

/// A 32-bit number, or an IPv4 address, as it lies in a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Be32(u32);

/// An Ethernet address.
pub type Mac = [u8; 6];

impl Be16 {
    /// From a number in host order.
    #[inline(always)]
    pub const fn new(host: u16) -> Self {
        Self(host.to_be())
    }

    /// The number in host order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }

    /// The bytes of the packet read as a host integer: for checksums and hashes, which do not care.
    #[inline(always)]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The inverse of [`Be16::bits`].
    #[inline(always)]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
}

impl Be32 {
    /// From a number in host order.
    #[inline(always)]
    pub const fn new(host: u32) -> Self {
        Self(host.to_be())
    }

    /// From an address.
    #[inline(always)]
    pub const fn from_address(address: Ipv4Addr) -> Self {
        Self::new(address.to_bits())
    }

    /// As an address.
    #[inline(always)]
    pub const fn address(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.get())
    }

    /// The number in host order.
    #[inline(always)]
    pub const fn get(self) -> u32 {
        u32::from_be(self.0)
    }

    /// The bytes of the packet read as a host integer: for checksums and hashes, which do not care.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The inverse of [`Be32::bits`].
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

impl From<Ipv4Addr> for Be32 {
    fn from(address: Ipv4Addr) -> Self {
        Self::from_address(address)
    }
}
