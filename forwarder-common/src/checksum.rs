//! The Internet checksum: whole (RFC 1071) and updated (RFC 1624).
//!
//! Works on packet words read as host integers: one's complement addition gives the same bytes in either order.

use crate::address::{Be16, Be32};
use crate::headers::Ipv4;

/// Folds a sum of 16-bit words to 16 bits.
#[inline(always)]
pub const fn fold(mut sum: u32) -> u16 {
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Checksum of an IPv4 header without options; the header's own field counts as zero.
#[inline(always)]
pub fn ipv4_header(header: &Ipv4) -> Be16 {
    let (source, destination) = ({ header.source }.bits(), { header.destination }.bits());
    let first = u16::from_ne_bytes([header.version_and_length, header.traffic_class]);
    let ttl_protocol = u16::from_ne_bytes([header.ttl, header.protocol]);
    let sum = first as u32
        + { header.total_length }.bits() as u32
        + { header.identification }.bits() as u32
        + { header.fragment }.bits() as u32
        + ttl_protocol as u32
        + (source & 0xffff)
        + (source >> 16)
        + (destination & 0xffff)
        + (destination >> 16);
    Be16::from_bits(!fold(sum))
}

/// A pending change to a checksum: sum of what left (complemented) and what came.
///
/// RFC 1624 equation 3, not equation 2: equation 2 yields 0xffff for a sum that should be 0.
#[derive(Clone, Copy, Default)]
pub struct Change(u32);

impl Change {
    /// Nothing changes.
    #[inline(always)]
    pub const fn none() -> Self {
        Self(0)
    }

    /// A 16-bit word becomes another.
    #[inline(always)]
    pub const fn word(self, old: Be16, new: Be16) -> Self {
        Self(self.0 + (!old.bits()) as u32 + new.bits() as u32)
    }

    /// A 32-bit word becomes another.
    #[inline(always)]
    pub const fn double(self, old: Be32, new: Be32) -> Self {
        let (old, new) = (!old.bits(), new.bits());
        Self(self.0 + (old & 0xffff) + (old >> 16) + (new & 0xffff) + (new >> 16))
    }

    /// The checksum after the change. At most 16 words may have been changed, which keeps the sum below 2^32.
    #[inline(always)]
    pub const fn apply(self, checksum: Be16) -> Be16 {
        Be16::from_bits(!fold((!checksum.bits()) as u32 + self.0))
    }

    /// As [`Change::apply`] for UDP over IPv4: 0 means "none" and stays, a computed 0 is sent as 0xffff (RFC 768).
    #[inline(always)]
    pub const fn apply_udp(self, checksum: Be16) -> Be16 {
        if checksum.bits() == 0 {
            return checksum;
        }
        let new = self.apply(checksum);
        if new.bits() == 0 { Be16::from_bits(0xffff) } else { new }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn whole(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn computes_the_checksum_of_a_known_header() {
        // A header whose checksum is widely printed: 4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7.
        let bytes: [u8; 20] = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01,
            0xc0, 0xa8, 0x00, 0xc7,
        ];
        let header: Ipv4 = bytemuck::pod_read_unaligned(&bytes);
        assert_eq!(ipv4_header(&header).get(), 0xb861);
    }

    #[test]
    fn an_updated_checksum_equals_a_recomputed_one() {
        let mut state = 0x1234_5678_9abc_def1u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = (0..40).map(|_| random() as u8).collect();
            bytes[10..12].fill(0);
            let before = Be16::new(whole(&bytes));
            let old32 = u32::from_be_bytes(bytes[12..16].try_into().unwrap());
            let old16 = u16::from_be_bytes(bytes[20..22].try_into().unwrap());
            let (new32, new16) = (random() as u32, random() as u16);
            bytes[12..16].copy_from_slice(&new32.to_be_bytes());
            bytes[20..22].copy_from_slice(&new16.to_be_bytes());
            let change = Change::none()
                .double(Be32::new(old32), Be32::new(new32))
                .word(Be16::new(old16), Be16::new(new16));
            let after = change.apply(before);
            assert_eq!(after.get(), whole(&bytes));
        }
    }

    #[test]
    fn an_absent_udp_checksum_stays_absent() {
        let change = Change::none().word(Be16::new(1), Be16::new(2));
        assert_eq!(change.apply_udp(Be16::new(0)).get(), 0);
        // 0x0001 + change(1 -> 2) would give 0, which UDP writes as 0xffff.
        assert_eq!(change.apply_udp(Be16::new(1)).get(), 0xffff);
    }
}
