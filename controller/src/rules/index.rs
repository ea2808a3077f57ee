//! Patterns by what a text must begin or end with, so that a text is held against few of them.

use super::pattern::{Compiled, Wildcard};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Longer anchors are cut: what they leave out is seen when the pattern is held against the text.
const ANCHOR_BYTES_MAX: usize = 128;

/// Patterns with what belongs to each, `T`.
#[derive(Debug)]
pub struct Index<T> {
    entries: Vec<Entry<T>>,
    literals: Table,
    prefixes: Anchored,
    suffixes: Anchored,
    /// Positions of patterns with neither: regular expressions, and `*` or `?` at both ends.
    others: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    pattern: Compiled,
    /// The anchor says it all.
    is_anchor: bool,
    of: T,
}

/// Positions of entries by the hash of their anchor. Two anchors of one hash share a place, which costs a comparison.
type Table = HashMap<u64, Vec<u32>, BuildHasherDefault<Hashed>>;

/// Anchors of one end.
#[derive(Debug)]
struct Anchored {
    table: Table,
    /// Which lengths there are, a bit each.
    lengths: [u64; ANCHOR_BYTES_MAX / 64 + 1],
}

impl<T> Index<T> {
    /// Of `patterns`, each of which is there once.
    pub fn new(patterns: Vec<(Compiled, T)>) -> Index<T> {
        // Of a wildcard's two ends the one that fewer others share tells more.
        let mut shared: HashMap<(bool, Vec<u8>), usize> = HashMap::new();
        for (pattern, _) in &patterns {
            if let Compiled::Wildcard(wildcard) = pattern {
                let (prefix, suffix) = cut_ends(wildcard);
                *shared.entry((true, prefix.to_vec())).or_default() += 1;
                *shared.entry((false, suffix.to_vec())).or_default() += 1;
            }
        }
        let mut index = Index {
            entries: Vec::with_capacity(patterns.len()),
            literals: Table::default(),
            prefixes: Anchored::new(),
            suffixes: Anchored::new(),
            others: Vec::new(),
        };
        for (position, (pattern, of)) in (0..).zip(patterns) {
            let mut is_anchor = false;
            match &pattern {
                Compiled::Literal(text) => index.literals.entry(hash_of(text)).or_default().push(position),
                Compiled::Wildcard(wildcard) => {
                    let (prefix, suffix) = cut_ends(wildcard);
                    let sharing = |is_prefix: bool, anchor: &[u8]| {
                        if anchor.is_empty() { usize::MAX } else { shared[&(is_prefix, anchor.to_vec())] }
                    };
                    let whole = wildcard.ends();
                    is_anchor = wildcard.is_one_end() && (prefix, suffix) == whole;
                    match (prefix.is_empty(), suffix.is_empty()) {
                        (true, true) => index.others.push(position),
                        _ if sharing(true, prefix) <= sharing(false, suffix) => {
                            index.prefixes.insert(prefix.iter(), prefix.len(), position);
                        }
                        _ => index.suffixes.insert(suffix.iter().rev(), suffix.len(), position),
                    }
                }
                Compiled::Regex(_) => index.others.push(position),
            }
            index.entries.push(Entry { pattern, is_anchor, of });
        }
        index
    }

    /// Calls `visit` with what belongs to each pattern that `text` looks like, in no order.
    pub fn find<'a>(&'a self, text: &[u8], mut visit: impl FnMut(&'a T)) {
        if !self.literals.is_empty()
            && let Some(positions) = self.literals.get(&hash_of(text))
        {
            self.check(positions, text, false, &mut visit);
        }
        self.prefixes.find(text.iter(), |positions| self.check(positions, text, true, &mut visit));
        self.suffixes.find(text.iter().rev(), |positions| self.check(positions, text, true, &mut visit));
        self.check(&self.others, text, false, &mut visit);
    }

    fn check<'a>(&'a self, positions: &[u32], text: &[u8], anchored: bool, visit: &mut impl FnMut(&'a T)) {
        for &position in positions {
            let entry = &self.entries[position as usize];
            // Equal hashes are no equal anchors, so one end alone is held against the text as well.
            let is_one = anchored && entry.is_anchor;
            let matches = match &entry.pattern {
                Compiled::Wildcard(wildcard) if is_one => {
                    let (prefix, suffix) = wildcard.ends();
                    text.starts_with(prefix) && text.ends_with(suffix)
                }
                pattern => pattern.matches(text),
            };
            if matches {
                visit(&entry.of);
            }
        }
    }
}

fn cut_ends(wildcard: &Wildcard) -> (&[u8], &[u8]) {
    let (prefix, suffix) = wildcard.ends();
    (
        &prefix[..prefix.len().min(ANCHOR_BYTES_MAX)],
        &suffix[suffix.len() - suffix.len().min(ANCHOR_BYTES_MAX)..],
    )
}

impl Anchored {
    fn new() -> Anchored {
        Anchored { table: Table::default(), lengths: [0; ANCHOR_BYTES_MAX / 64 + 1] }
    }

    fn insert<'a>(&mut self, anchor: impl Iterator<Item = &'a u8>, length: usize, position: u32) {
        self.lengths[length / 64] |= 1 << (length % 64);
        self.table.entry(anchor.fold(START, |hash, byte| step(hash, *byte))).or_default().push(position);
    }

    /// Hashes `text` byte by byte, and looks only where there are anchors of the length come to.
    fn find<'a>(&self, mut text: impl Iterator<Item = &'a u8>, mut visit: impl FnMut(&[u32])) {
        if self.table.is_empty() {
            return;
        }
        let (mut hash, mut hashed) = (START, 0);
        for (word, bits) in self.lengths.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let length = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                while hashed < length {
                    let Some(byte) = text.next() else { return };
                    hash = step(hash, *byte);
                    hashed += 1;
                }
                if let Some(positions) = self.table.get(&hash) {
                    visit(positions);
                }
            }
        }
    }
}

/// Length matters too: the empty hash is not that of zeros.
const START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a. Whoever sends requests cannot choose what is in the tables, so collisions cannot be made.
fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// Eight bytes at a time, since literals are hashed whole.
fn hash_of(text: &[u8]) -> u64 {
    let mut hash = START ^ text.len() as u64;
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    rest.iter().fold(hash, |hash, byte| step(hash, *byte))
}

/// Takes a hash for what it is, mixed once more for the table's use of its upper bits.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash ^ hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
