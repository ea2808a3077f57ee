//! Which server takes the next request or flow. Pure: the time is an argument, there is no randomness.

pub mod round_robin;
