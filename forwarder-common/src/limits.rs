//! Capacity of every table, and what happens when it is full.

/// Next hops of one transit router.
pub const HOPS_PER_GROUP: usize = 8;
