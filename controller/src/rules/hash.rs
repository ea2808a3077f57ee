//! Hashes of many beginnings, or ends, of one text at once: eight bytes go in at a time, and where a part ends in
//! between, they are masked for it alone. The same part has the same hash, whatever it is a part of.

/// Odd numbers without a pattern (digits of pi and e).
const SEED: u64 = 0x243f_6a88_85a3_08d3;
const STEP: u64 = 0xb7e1_5162_8aed_2a6b;
const LAST: u64 = 0x9e37_79b9_7f4a_7c15;

/// Multiplies to 128 bits and folds them: every bit of both goes into every bit of the result.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn finish(state: u64, tail: u64, length: usize) -> u64 {
    fold(state ^ tail ^ (length as u64).rotate_left(32), LAST)
}

/// Hashes of beginnings of a text.
pub(super) struct Forward<'a> {
    text: &'a [u8],
    state: u64,
    /// Bytes in `state`, a multiple of 8.
    done: usize,
}

impl<'a> Forward<'a> {
    pub(super) fn new(text: &'a [u8]) -> Forward<'a> {
        Forward { text, state: SEED, done: 0 }
    }

    /// The hash of the first `length` bytes, which is at most all and at least what was asked for last.
    #[inline]
    pub(super) fn at(&mut self, length: usize) -> u64 {
        while self.done + 8 <= length {
            self.state = fold(self.state ^ self.word(), STEP);
            self.done += 8;
        }
        let kept = length - self.done;
        finish(self.state, self.word() & !(u64::MAX << (8 * kept)), length)
    }

    /// The next 8 bytes, the first in the lowest bits; 0 where there are none.
    #[inline]
    fn word(&self) -> u64 {
        let rest = &self.text[self.done..];
        match rest.first_chunk() {
            Some(word) => u64::from_le_bytes(*word),
            None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        }
    }
}

/// Hashes of ends of a text.
pub(super) struct Backward<'a> {
    text: &'a [u8],
    state: u64,
    /// Bytes in `state`, a multiple of 8.
    done: usize,
}

impl<'a> Backward<'a> {
    pub(super) fn new(text: &'a [u8]) -> Backward<'a> {
        Backward { text, state: SEED, done: 0 }
    }

    /// The hash of the last `length` bytes, which is at most all and at least what was asked for last.
    #[inline]
    pub(super) fn at(&mut self, length: usize) -> u64 {
        while self.done + 8 <= length {
            self.state = fold(self.state ^ self.word(), STEP);
            self.done += 8;
        }
        let kept = length - self.done;
        finish(self.state, self.word() & !(u64::MAX << (8 * kept)), length)
    }

    /// The 8 bytes before, the last in the lowest bits; 0 where there are none.
    #[inline]
    fn word(&self) -> u64 {
        let rest = &self.text[..self.text.len() - self.done];
        match rest.last_chunk() {
            Some(word) => u64::from_be_bytes(*word),
            None => rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        }
    }
}

/// Two texts whose hashes as beginnings are the same: the hash has no key, so anybody can make them.
#[cfg(test)]
pub(super) fn twins() -> [[u8; 15]; 2] {
    // Any first word that leaves the highest byte as it is; the seven bytes behind it make up for the others.
    let state = |word: u64| fold(SEED ^ word, STEP);
    let word = (1..).find(|word| (state(*word) ^ state(0)) >> 56 == 0).expect("one in 256 does");
    [(0, 0), (word, state(word) ^ state(0))].map(|(word, tail)| {
        let mut text = [0; 15];
        text[..8].copy_from_slice(&word.to_le_bytes());
        text[8..].copy_from_slice(&tail.to_le_bytes()[..7]);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_part_has_its_own_hash_whatever_it_is_a_part_of() {
        let text: Vec<u8> = (1..=50).collect();
        let (mut forward, mut backward) = (Forward::new(&text), Backward::new(&text));
        for length in 0..=50 {
            let (beginning, end) = (&text[..length], &text[50 - length..]);
            assert_eq!(forward.at(length), Forward::new(beginning).at(length), "{length}");
            assert_eq!(backward.at(length), Backward::new(end).at(length), "{length}");
        }
    }

    #[test]
    fn texts_that_differ_somewhere_differ_in_the_bits_that_choose_slots() {
        // 1,000 texts on 2^16 slots collide in about 8 pairs if their hashes are as good as random.
        let texts: Vec<String> =
            (0..1000).map(|number| format!("/service-{number}/v{}/", number % 7)).collect();
        for hash in [
            |text: &str| Forward::new(text.as_bytes()).at(text.len()),
            |text: &str| Backward::new(text.as_bytes()).at(text.len()),
        ] {
            let slots: HashSet<_> = texts.iter().map(|text| hash(text) & 0xffff).collect();
            let filters: HashSet<_> = texts.iter().map(|text| hash(text) >> 34 & 0xffff).collect();
            assert!(slots.len() > 970 && filters.len() > 970, "{} {}", slots.len(), filters.len());
        }
    }

    #[test]
    fn every_byte_and_the_length_count() {
        let base = [0_u8; 20];
        for length in 0..=20 {
            let hash = Forward::new(&base[..length]).at(length);
            let back = Backward::new(&base[..length]).at(length);
            for other in 0..length {
                assert_ne!(hash, Forward::new(&base[..other]).at(other));
                assert_ne!(back, Backward::new(&base[..other]).at(other));
                let mut changed = base;
                changed[other] = 1;
                assert_ne!(hash, Forward::new(&changed[..length]).at(length), "{length} {other}");
                assert_ne!(back, Backward::new(&changed[..length]).at(length), "{length} {other}");
            }
        }
    }
}
