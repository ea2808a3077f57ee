//! How traffic is shared among the servers of a group. Pure: no clock, no randomness, no health; callers pass weights
//! that already hold the effects of health and slow start.

pub mod maglev;
pub mod slow_start;
