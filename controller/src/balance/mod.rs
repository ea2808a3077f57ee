//! How traffic is shared among the servers of a group. Pure: no clock, no randomness, no health; callers pass the time,
//! and weights that already hold the effect of health.

pub mod consistent_hash;
pub mod hash_factor;
pub mod least_connections;
pub mod maglev;
pub mod round_robin;
pub mod slow_start;
