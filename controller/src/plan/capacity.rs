//! Tables that are full, and indices that are given out.

use std::collections::{BTreeMap, BTreeSet};

/// A configuration that needs more of a table than there is; nothing of it is applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed} {what}, at most {capacity} fit the datapath's tables; remove some, or spread them over more nodes"
)]
pub struct CapacityError {
    /// What there is too much of, in plural.
    pub what: &'static str,
    /// How many the configuration has.
    pub needed: usize,
    /// How many fit.
    pub capacity: u32,
}

impl CapacityError {
    pub(super) fn check(what: &'static str, needed: usize, capacity: u32) -> Result<(), CapacityError> {
        if needed > capacity as usize { Err(CapacityError { what, needed, capacity }) } else { Ok(()) }
    }
}

/// Indices of one table: an identity keeps the index it has, a new one gets the lowest that is free.
pub(super) struct Indices {
    what: &'static str,
    capacity: u32,
    assigned: BTreeMap<u64, u32>,
    taken: BTreeSet<u32>,
    next: u32,
}

impl Indices {
    /// `current` holds the live elements' (identity, index). An identity may have several indices; [`Indices::of`] is not
    /// for those.
    pub(super) fn new(
        what: &'static str,
        capacity: u32,
        current: impl Iterator<Item = (u64, u32)>,
    ) -> Indices {
        let (mut assigned, mut taken) = (BTreeMap::new(), BTreeSet::new());
        for (identity, index) in current.filter(|(identity, _)| *identity != 0) {
            assigned.insert(identity, index);
            taken.insert(index);
        }
        Indices { what, capacity, assigned, taken, next: 0 }
    }

    /// The index of `identity`.
    pub(super) fn of(&mut self, identity: u64) -> Result<u32, CapacityError> {
        if let Some(index) = self.assigned.get(&identity) {
            return Ok(*index);
        }
        let index = self.another()?;
        self.assigned.insert(identity, index);
        Ok(index)
    }

    /// An index that nobody has had until now.
    pub(super) fn another(&mut self) -> Result<u32, CapacityError> {
        while self.taken.contains(&self.next) {
            self.next += 1;
        }
        if self.next >= self.capacity {
            return Err(CapacityError {
                what: self.what,
                needed: self.taken.len() + 1,
                capacity: self.capacity,
            });
        }
        self.taken.insert(self.next);
        Ok(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_keeps_its_index_and_new_ones_fill_the_gaps() {
        let mut indices = Indices::new("servers", 4, [(7, 0), (8, 2)].into_iter());
        assert_eq!(indices.of(8), Ok(2));
        assert_eq!(indices.of(9), Ok(1));
        assert_eq!(indices.of(9), Ok(1));
        assert_eq!(indices.of(10), Ok(3));
        // Of one identity's two indices neither is free.
        let mut twice = Indices::new("servers", 4, [(7, 0), (7, 1)].into_iter());
        assert_eq!(twice.another(), Ok(2));
        assert_eq!(indices.of(11), Err(CapacityError { what: "servers", needed: 5, capacity: 4 }));
    }
}
