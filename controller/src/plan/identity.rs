//! Names of map elements that survive a restart.

/// A stable number for the thing that `parts` name; never 0, which marks a free element. FNV-1a, 64 bits, with a
/// separator after each part. Not for adversaries: names come from the operator.
pub(super) fn identity(parts: &[&[u8]]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in parts {
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::identity;

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(identity(&[b"ab", b"c"]), identity(&[b"a", b"bc"]));
        assert_ne!(identity(&[]), 0);
        assert_eq!(identity(&[b"web"]), identity(&[b"web"]));
    }
}
