//! Settings of the node that the programs read.

use crate::address::{Be16, Be32};
use crate::limits::TUNNEL_ADDRESSES;
use bytemuck::{Pod, Zeroable};

/// Position of the epoch in the control array.
pub const CONTROL_EPOCH: u32 = 0;

/// Node settings, two copies like every configuration element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Settings {
    /// First NAT address; zero when there is no NAT prefix.
    pub nat_base: Be32,
    /// Mask of the NAT prefix; zero when there is none.
    pub nat_mask: Be32,
    /// UDP port of VXLAN; zero when there are no tunnels.
    pub vxlan_port: Be16,
    /// Non-zero: packets on the tunnel port that match nothing pass untouched.
    pub shared_port: u16,
    /// How many of `tunnel_addresses` are meant.
    pub tunnel_address_count: u32,
    /// This node's tunnel addresses.
    pub tunnel_addresses: [Be32; TUNNEL_ADDRESSES],
}

impl Settings {
    /// Whether `address` belongs to the NAT prefix.
    #[inline(always)]
    pub fn is_nat_address(&self, address: Be32) -> bool {
        self.nat_mask.bits() != 0 && address.bits() & self.nat_mask.bits() == self.nat_base.bits()
    }

    /// Whether `address` is one of this node's tunnel addresses.
    #[inline(always)]
    pub fn is_tunnel_address(&self, address: Be32) -> bool {
        let mut found = false;
        let mut position = 0;
        while position < TUNNEL_ADDRESSES {
            found |=
                (position as u32) < self.tunnel_address_count && self.tunnel_addresses[position] == address;
            position += 1;
        }
        found
    }

    /// The local address that a route look-up for `address` uses: all NAT addresses share their prefix's entries.
    #[inline(always)]
    pub fn route_local(&self, address: Be32) -> Be32 {
        if self.is_nat_address(address) { self.nat_base } else { address }
    }
}

const _: () = assert!(size_of::<Settings>() == 56);

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn without_a_prefix_no_address_is_a_nat_address() {
        assert!(!Settings::default().is_nat_address(Be32::new(0)));
    }

    #[test]
    fn nat_addresses_are_those_of_the_prefix() {
        let settings = Settings {
            nat_base: Ipv4Addr::new(172, 16, 100, 0).into(),
            nat_mask: Be32::new(0xffff_ff00),
            ..Settings::default()
        };
        assert!(settings.is_nat_address(Ipv4Addr::new(172, 16, 100, 255).into()));
        assert!(!settings.is_nat_address(Ipv4Addr::new(172, 16, 101, 0).into()));
        assert_eq!(settings.route_local(Ipv4Addr::new(172, 16, 100, 7).into()), settings.nat_base);
    }

    #[test]
    fn only_counted_tunnel_addresses_are_ours() {
        let mut settings = Settings { tunnel_address_count: 1, ..Settings::default() };
        settings.tunnel_addresses[0] = Be32::new(1);
        settings.tunnel_addresses[1] = Be32::new(2);
        assert!(settings.is_tunnel_address(Be32::new(1)));
        assert!(!settings.is_tunnel_address(Be32::new(2)));
    }
}
