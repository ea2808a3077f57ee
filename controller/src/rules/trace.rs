//! Loops: a header to which each pass of a request appends a hash of the rule it met (LR-110 to LR-113).

/// Bytes of a hash as text.
pub const HASH_BYTES: usize = 16;
/// Entries of a request that may be forwarded once more (LR-111).
pub const ENTRIES_MAX: usize = 16;

/// What stands for a rule: the same on every node of an installation, another in every other installation (LR-112).
/// FNV-1a over the three names, each ended by a byte that no text has: it needs to differ, not to be hard to guess.
pub fn hash_of(installation: &str, load_balancer: &str, rule: &str) -> [u8; HASH_BYTES] {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for name in [installation, load_balancer, rule] {
        for byte in name.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    let mut text = [0; HASH_BYTES];
    for (place, digit) in text.iter_mut().zip((0..HASH_BYTES).rev()) {
        *place = b"0123456789abcdef"[(hash >> (4 * digit) & 15) as usize];
    }
    text
}

/// Whether a request with these `entries` has been here before under the rule of `hash`, or has passed too often.
pub fn is_loop<'a>(entries: impl Iterator<Item = &'a [u8]>, hash: &[u8; HASH_BYTES]) -> bool {
    let mut count = 0;
    for entry in entries {
        count += 1;
        if count > ENTRIES_MAX || entry == hash {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    // Holds LR-110, LR-112
    #[test]
    fn every_rule_of_every_installation_has_a_hash_of_its_own() {
        let names = ["", "a", "b", "ab", "ba", "aa"];
        let mut seen = BTreeSet::new();
        for installation in names {
            for balancer in names {
                for rule in names {
                    let hash = hash_of(installation, balancer, rule);
                    assert!(hash.iter().all(u8::is_ascii_hexdigit));
                    assert!(seen.insert(hash), "{installation} {balancer} {rule}");
                }
            }
        }
        // What every node writes, whichever release it runs.
        assert_eq!(&hash_of("node", "lb-1", "api"), b"64370339e3ce3aca");
    }

    // Holds LR-110, LR-111
    #[test]
    fn a_loop_is_our_own_hash_or_a_seventeenth_entry() {
        let hash = hash_of("i", "lb", "r");
        let other = hash_of("i", "lb", "s");
        let seen = |entries: &[&[u8]]| is_loop(entries.iter().copied(), &hash);
        assert!(!seen(&[]));
        assert!(!seen(&[&other]));
        assert!(seen(&[&other, &hash]));
        assert!(!seen(&[&other[..]; 16]));
        assert!(seen(&[&other[..]; 17]));
        let mut last = vec![&other[..]; 15];
        last.push(&hash);
        assert!(seen(&last));
    }
}
