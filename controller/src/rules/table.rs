//! Texts by hash, found as beginnings or ends of longer ones.
//!
//! Open addressing, at most half full, with a filter of two bytes for each text before it that keeps most of what is
//! not there from touching the slots: 10,000 rules have 20 KB of filter and 800 KB of slots. The hash has no key: the
//! texts are an administrator's, and a client who knows them all gains no more than the longest run of full slots.

use super::hash::{Backward, Forward};

/// Texts, each with a number and a smallest rule.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// A power of two of them, or none.
    slots: Box<[Slot]>,
    /// A power of two of them, or none; see [`Table::may_hold`].
    filter: Box<[u64]>,
    /// Lengths of the texts, ascending.
    lengths: Box<[u32]>,
    /// All texts.
    texts: Box<[u8]>,
    /// Smallest rule of all.
    first: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u64,
    start: u32,
    length: u32,
    number: u32,
    /// Smallest rule behind it; [`EMPTY`] if the slot is.
    first: u32,
}

const EMPTY: u32 = u32::MAX;

/// A text, its number, and the smallest rule behind it, which is below [`u32::MAX`].
type Entry<'a> = (&'a [u8], u32, u32);

impl Table {
    /// Of distinct texts, for [`Table::whole`] and [`Table::prefixes`].
    pub(super) fn of_prefixes(entries: &[Entry<'_>]) -> Table {
        Table::new(entries, |text| Forward::new(text).at(text.len()))
    }

    /// Of distinct texts, for [`Table::suffixes`].
    pub(super) fn of_suffixes(entries: &[Entry<'_>]) -> Table {
        Table::new(entries, |text| Backward::new(text).at(text.len()))
    }

    fn new(entries: &[Entry<'_>], hash: impl Fn(&[u8]) -> u64) -> Table {
        if entries.is_empty() {
            return Table::default();
        }
        let empty = Slot { hash: 0, start: 0, length: 0, number: 0, first: EMPTY };
        let mut slots = vec![empty; (2 * entries.len()).next_power_of_two()];
        let mut filter = vec![0; (entries.len() / 4).next_power_of_two()];
        let mut texts = Vec::new();
        let mut lengths: Vec<u32> = entries.iter().map(|(text, _, _)| text.len() as u32).collect();
        lengths.sort_unstable();
        lengths.dedup();
        for &(text, number, first) in entries {
            let slot = Slot {
                hash: hash(text),
                start: texts.len() as u32,
                length: text.len() as u32,
                number,
                first,
            };
            texts.extend_from_slice(text);
            let (word, bit) = filter_place(slot.hash, filter.len());
            filter[word] |= bit;
            let mut at = slot.hash as usize & (slots.len() - 1);
            while slots[at].first != EMPTY {
                at = (at + 1) & (slots.len() - 1);
            }
            slots[at] = slot;
        }
        Table {
            slots: slots.into(),
            filter: filter.into(),
            lengths: lengths.into(),
            texts: texts.into(),
            first: entries.iter().map(|(_, _, first)| *first).min().unwrap_or(EMPTY),
        }
    }

    /// Whether there is nothing below `bound`.
    fn is_past(&self, bound: u32) -> bool {
        self.slots.is_empty() || self.first >= bound
    }

    /// Takes the text that is `text`; see [`Table::prefixes`].
    pub(super) fn whole(&self, text: &[u8], bound: u32, take: &mut impl FnMut(u32, u32) -> u32) -> u32 {
        if self.is_past(bound) {
            return bound;
        }
        self.take(Forward::new(text).at(text.len()), text, bound, take)
    }

    /// Calls `take` with the number of each text that `text` begins with, and the bound, which it makes smaller. Passes
    /// over texts whose smallest rule is not below the bound. Returns the bound at last.
    pub(super) fn prefixes(
        &self,
        text: &[u8],
        mut bound: u32,
        take: &mut impl FnMut(u32, u32) -> u32,
    ) -> u32 {
        if self.is_past(bound) {
            return bound;
        }
        let mut hash = Forward::new(text);
        for &length in &self.lengths {
            let Some(part) = text.get(..length as usize) else { break };
            bound = self.take(hash.at(part.len()), part, bound, take);
        }
        bound
    }

    /// As [`Table::prefixes`], with what `text` ends with.
    pub(super) fn suffixes(
        &self,
        text: &[u8],
        mut bound: u32,
        take: &mut impl FnMut(u32, u32) -> u32,
    ) -> u32 {
        if self.is_past(bound) {
            return bound;
        }
        let mut hash = Backward::new(text);
        for &length in &self.lengths {
            let Some(start) = text.len().checked_sub(length as usize) else { break };
            bound = self.take(hash.at(length as usize), &text[start..], bound, take);
        }
        bound
    }

    #[inline]
    fn take(&self, hash: u64, text: &[u8], bound: u32, take: &mut impl FnMut(u32, u32) -> u32) -> u32 {
        if !self.may_hold(hash) {
            return bound;
        }
        match self.find(hash, text) {
            Some(slot) if slot.first < bound => take(slot.number, bound),
            _ => bound,
        }
    }

    /// Whether a text of this hash may be there: 16 bits for each that is make it wrong once in 16 or so.
    fn may_hold(&self, hash: u64) -> bool {
        let (word, bit) = filter_place(hash, self.filter.len());
        self.filter[word] & bit != 0
    }

    fn find(&self, hash: u64, text: &[u8]) -> Option<&Slot> {
        let mut at = hash as usize & (self.slots.len() - 1);
        loop {
            let slot = &self.slots[at];
            if slot.first == EMPTY {
                return None;
            }
            if slot.hash == hash && self.texts[slot.start as usize..][..slot.length as usize] == *text {
                return Some(slot);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

/// Word and bit of a filter of so many words, from bits that choose no slot.
fn filter_place(hash: u64, words: usize) -> (usize, u64) {
    ((hash >> 40) as usize & (words - 1), 1 << (hash >> 34 & 63))
}

#[cfg(test)]
mod tests {
    use super::super::hash::twins;
    use super::*;

    /// Numbers that `visit` takes below `bound`, none of which makes it smaller.
    fn taken(visit: impl Fn(&mut dyn FnMut(u32, u32) -> u32) -> u32) -> Vec<u32> {
        let mut taken = Vec::new();
        visit(&mut |number, bound| {
            taken.push(number);
            bound
        });
        taken
    }

    #[test]
    fn passes_over_texts_whose_rules_are_not_below_the_bound() {
        let prefixes = Table::of_prefixes(&[(b"a", 1, 5), (b"ab", 2, 7), (b"abc", 3, 3)]);
        let suffixes = Table::of_suffixes(&[(b"c", 1, 5), (b"bc", 2, 7), (b"abc", 3, 3)]);
        for (bound, expected) in
            [(8, &[1, 2, 3][..]), (7, &[1, 3]), (6, &[1, 3]), (5, &[3]), (4, &[3]), (3, &[]), (0, &[])]
        {
            let found = taken(|mut take| prefixes.prefixes(b"abcd", bound, &mut take));
            assert_eq!(found, expected, "{bound}");
            let found = taken(|mut take| suffixes.suffixes(b"-abc", bound, &mut take));
            assert_eq!(found, expected, "{bound}");
            let found = taken(|mut take| prefixes.whole(b"ab", bound, &mut take));
            assert_eq!(found, if bound > 7 { &[2][..] } else { &[] }, "{bound}");
        }
        // What is taken makes the bound smaller for what follows.
        let mut numbers = Vec::new();
        let bound = prefixes.prefixes(b"abc", u32::MAX, &mut |number, _| {
            numbers.push(number);
            [5, 7, 3][number as usize - 1]
        });
        assert_eq!((numbers, bound), (vec![1, 3], 3));
    }

    #[test]
    fn a_text_of_the_same_hash_is_another_text() {
        let [one, other] = twins();
        let hash = |text: &[u8]| Forward::new(text).at(text.len());
        assert!(one != other && hash(&one) == hash(&other));
        let table = Table::of_prefixes(&[(&one, 1, 0)]);
        assert_eq!(taken(|mut take| table.whole(&one, 9, &mut take)), [1]);
        assert!(taken(|mut take| table.whole(&other, 9, &mut take)).is_empty());
        assert!(taken(|mut take| table.prefixes(&other, 9, &mut take)).is_empty());
        let both = Table::of_prefixes(&[(&one, 1, 0), (&other, 2, 0)]);
        assert_eq!(taken(|mut take| both.whole(&other, 9, &mut take)), [2]);
    }

    #[test]
    fn the_filter_holds_what_is_there_and_little_else() {
        let texts: Vec<String> = (0..10_000).map(|number| format!("/service-{number}/")).collect();
        let entries: Vec<Entry<'_>> = texts.iter().map(|text| (text.as_bytes(), 0, 0)).collect();
        let hash = |text: &str| Forward::new(text.as_bytes()).at(text.len());
        let table = Table::of_prefixes(&entries);
        assert!(texts.iter().all(|text| table.may_hold(hash(text))));
        let wrong = (0..10_000).filter(|number| table.may_hold(hash(&format!("/other-{number}/")))).count();
        // Between 8 and 16 bits for each: between 600 and 1,200 at random.
        assert!(wrong < 1_500, "{wrong}");
    }
}
