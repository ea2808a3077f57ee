//! What is known about servers: probe results and time → who receives new requests, who ramps, who drains. Pure.
//!
//! - [`machine`]: one server, with the table of its transitions
//! - [`group`]: the servers of a group together: slow start entry, fail-open, drains
//!
//! Absent here: clocks (every function takes [`Moment`]s), sockets (a probe's outcome is data), and the weights of L4
//! steps ([`crate::balance::slow_start`] computes them from a [`group::Standing`]).

pub mod group;
pub mod machine;
mod moment;
mod outcome;

pub use group::{GroupHealth, GroupNotice, MemberId, Standing};
pub use machine::{Drain, DrainCause, DrainEnd, Evidence, InFlight, Notice, Status, Tally};
pub use moment::Moment;
pub use outcome::{Failure, FailureReason, Outcome};
