//! The flow hash: one keyed function for XDP, TC, tables and `explain`.
//!
//! The kernel's own skb hash will not do: for local TCP it is the socket's transmit hash and changes on retransmission.
//! Keyed, so that nobody outside can aim flows at one server or one bucket; not a cryptographic MAC.

use crate::address::{Be16, Be32};

/// A persistent random key of this installation.
pub type Key = [u64; 2];

/// Odd multipliers with well-spread bits (splitmix64's and its sibling's).
const MIX: [u64; 3] = [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0x9e37_79b9_7f4a_7c15];

/// Hash of a flow's 5-tuple. Ports are zero where the protocol or a fragment has none.
#[inline(always)]
pub fn flow_hash(
    key: Key,
    source: Be32,
    destination: Be32,
    source_port: Be16,
    destination_port: Be16,
    protocol: u8,
) -> u64 {
    let addresses = (source.bits() as u64) << 32 | destination.bits() as u64;
    let ports = (source_port.bits() as u64) << 32 | (destination_port.bits() as u64) << 16 | protocol as u64;
    let mut hash = (addresses ^ key[0]).wrapping_mul(MIX[0]);
    hash ^= hash >> 32;
    hash = (hash ^ ports ^ key[1]).wrapping_mul(MIX[1]);
    hash ^= hash >> 29;
    hash = hash.wrapping_mul(MIX[2]);
    hash ^ (hash >> 32)
}

/// Hash of a client's address alone: equal for all of its flows, on every node that shares the key.
#[inline(always)]
pub fn source_hash(key: Key, source: Be32) -> u64 {
    flow_hash(key, source, Be32::new(0), Be16::new(0), Be16::new(0), 0)
}

/// Maps the low half of a hash onto `0..size` without division, each slot with equal probability up to 2^-32 × size.
#[inline(always)]
pub const fn slot(hash: u64, size: u32) -> u32 {
    (((hash & 0xffff_ffff) * size as u64) >> 32) as u32
}

/// UDP source port of a tunnel packet: entropy for the network's ECMP, from the dynamic range (RFC 7348 section 5).
#[inline(always)]
pub const fn entropy_port(hash: u64) -> Be16 {
    Be16::new((hash >> 48) as u16 | 0xc000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const KEY: Key = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

    fn hash_of(n: u32) -> u64 {
        flow_hash(KEY, Be32::new(0xcb00_7132), Be32::new(0xcb00_710a), Be16::new(n as u16), Be16::new(80), 6)
            ^ if n > 0xffff { n as u64 } else { 0 }
    }

    /// Sum of squared deviations over expectation, for `buckets` equally likely ones.
    fn chi_square(counts: &[u32]) -> f64 {
        let total: u32 = counts.iter().sum();
        let expected = f64::from(total) / counts.len() as f64;
        counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn spreads_consecutive_ports_evenly_over_slots() {
        let mut counts = vec![0u32; 256];
        for port in 0..60_000 {
            counts[slot(hash_of(port), 256) as usize] += 1;
        }
        // 255 degrees of freedom: p = 0.001 lies at 330.5.
        let statistic = chi_square(&counts);
        assert!(statistic < 330.5, "chi-square {statistic}");
    }

    #[test]
    fn every_input_bit_flips_about_half_of_the_output() {
        let base = (Be32::new(0x0a00_0001), Be32::new(0x0a00_0002), Be16::new(1000), Be16::new(80), 6u8);
        let original = flow_hash(KEY, base.0, base.1, base.2, base.3, base.4);
        let mut total = 0;
        for bit in 0..32 {
            let flipped =
                flow_hash(KEY, Be32::from_bits(base.0.bits() ^ 1 << bit), base.1, base.2, base.3, base.4);
            let changed = (original ^ flipped).count_ones();
            assert!((12..=52).contains(&changed), "source bit {bit} changes {changed} bits");
            total += changed;
        }
        for bit in 0..16 {
            let flipped =
                flow_hash(KEY, base.0, base.1, Be16::from_bits(base.2.bits() ^ 1 << bit), base.3, base.4);
            let changed = (original ^ flipped).count_ones();
            assert!((12..=52).contains(&changed), "port bit {bit} changes {changed} bits");
            total += changed;
        }
        let mean = f64::from(total) / 48.0;
        assert!((28.0..36.0).contains(&mean), "mean {mean}");
    }

    #[test]
    fn spreads_consecutive_clients_evenly_over_slots() {
        let mut counts = vec![0u32; 256];
        for client in 0..60_000 {
            counts[slot(source_hash(KEY, Be32::new(0xcb00_0000 + client)), 256) as usize] += 1;
        }
        let statistic = chi_square(&counts);
        assert!(statistic < 330.5, "chi-square {statistic}");
    }

    #[test]
    fn another_key_is_another_hash() {
        let one = hash_of(1);
        let other =
            flow_hash([1, 2], Be32::new(0xcb00_7132), Be32::new(0xcb00_710a), Be16::new(1), Be16::new(80), 6);
        assert_ne!(one, other);
    }

    #[test]
    fn slots_stay_in_range() {
        for size in [1, 2, 251, 65_537] {
            assert_eq!(slot(0, size), 0);
            assert_eq!(slot(u64::MAX, size), size - 1);
        }
    }
}
