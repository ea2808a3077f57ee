//! Outer headers: values in, bytes out.

use crate::address::{Be16, Be32};
use crate::checksum;
use crate::hash;
use crate::headers::{
    DONT_FRAGMENT, ETHERTYPE_IPV4, Ethernet, IPV4_WITHOUT_OPTIONS, Ipv4, PROTOCOL_UDP, Udp, VXLAN_FLAGS,
    VXLAN_OVERHEAD, Vxlan, VxlanStack,
};
use crate::next_hop::NextHop;

/// TTL of outer packets.
const OUTER_TTL: u8 = 64;

/// Everything VXLAN puts between the outer Ethernet header and an inner IPv4 packet of `inner_length` bytes.
///
/// Outer DF is always set: a fragmented tunnel is a slow tunnel, and PMTU discovery needs the answer. The outer
/// traffic class is the inner one (RFC 2983 uniform model for DSCP, RFC 6040 normal mode for ECN). The UDP checksum
/// is zero, which RFC 7348 section 5 asks for over IPv4. `inner_length` may exceed the MTU for a GSO packet; it never
/// exceeds 65535 - [`VXLAN_OVERHEAD`], or the lengths wrap, as they do in the kernel's own tunnels.
#[inline(always)]
pub fn vxlan(hop: &NextHop, inner_length: u16, inner_traffic_class: u8, flow_hash: u64) -> VxlanStack {
    let length = inner_length.wrapping_add(VXLAN_OVERHEAD);
    let mut ip = Ipv4 {
        version_and_length: IPV4_WITHOUT_OPTIONS,
        traffic_class: inner_traffic_class,
        total_length: Be16::new(length),
        // RFC 6864: an atomic datagram's identification means nothing.
        identification: Be16::new(0),
        fragment: DONT_FRAGMENT,
        ttl: OUTER_TTL,
        protocol: PROTOCOL_UDP,
        checksum: Be16::new(0),
        source: hop.outer_source,
        destination: hop.outer_destination,
    };
    ip.checksum = checksum::ipv4_header(&ip);
    VxlanStack {
        ip,
        udp: Udp {
            source: hash::entropy_port(flow_hash),
            destination: hop.udp_port,
            length: Be16::new(length.wrapping_sub(size_of::<Ipv4>() as u16)),
            checksum: Be16::new(0),
        },
        vxlan: Vxlan { flags: VXLAN_FLAGS, vni: Be32::new(hop.vni << 8) },
        inner: Ethernet {
            destination: hop.inner_destination_mac,
            source: hop.source_mac,
            ethertype: ETHERTYPE_IPV4,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use core::net::Ipv4Addr;

    #[test]
    fn builds_the_outer_headers_byte_for_byte() {
        let hop = NextHop {
            outer_source: Ipv4Addr::new(172, 16, 1, 10).into(),
            outer_destination: Ipv4Addr::new(172, 16, 1, 254).into(),
            udp_port: Be16::new(4789),
            vni: 101,
            inner_destination_mac: [2, 0, 0, 0, 1, 1],
            source_mac: [2, 0, 0, 0, 0, 0xa],
            ..NextHop::zeroed()
        };
        let stack = vxlan(&hop, 100, 0xb9, 0xabcd_0000_0000_0000);
        #[rustfmt::skip]
        let expected: [u8; 50] = [
            0x45, 0xb9, 0, 150, 0, 0, 0x40, 0, 64, 17, 0xdf, 0xf5, 172, 16, 1, 10, 172, 16, 1, 254,
            0xeb, 0xcd, 0x12, 0xb5, 0, 130, 0, 0,
            8, 0, 0, 0, 0, 0, 101, 0,
            2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 0xa, 8, 0,
        ];
        let mut bytes = [0u8; 50];
        bytes.copy_from_slice(bytemuck::bytes_of(&stack));
        let checksum = u16::from_be_bytes([bytes[10], bytes[11]]);
        let mut sum = 0u32;
        for pair in bytes[..20].chunks_exact(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        assert_eq!(checksum::fold(sum), 0xffff, "checksum {checksum:#x} does not verify");
        bytes[10..12].copy_from_slice(&expected[10..12]);
        assert_eq!(bytes, expected);
    }
}
