//! Servers of L4 groups.

use crate::address::{Be16, Be32};
use bytemuck::{Pod, Zeroable};

/// One server of one group, or the part of its flows that began before a drain.
///
/// An index is reused only under another `generation`; a flow remembers both, so it can never fall to a stranger.
/// A server that takes new flows again while it drains gets a second element: flows of the first end with the drain.
/// Programs read neither `since` and `drain_deadline` nor `weight` and `table`; they stand here so that the next
/// process of the controller knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Server {
    /// Names group, address and port across restarts; 0 for a free element.
    pub identity: u64,
    /// Drains that began before this, in nanoseconds of CLOCK_MONOTONIC, do not concern its flows.
    pub since: u64,
    /// When its flows are to be cut, in nanoseconds of CLOCK_MONOTONIC; 0 while it does not drain.
    pub drain_deadline: u64,
    /// Raised when the index is given to another identity, or to the same one after its flows were cut.
    pub generation: u32,
    /// Index of a next hop ([`REACH_DIRECT`]) or of a hop group ([`REACH_ROUTED`]).
    pub via: u32,
    /// Where it listens.
    pub address: Be32,
    /// Where it listens.
    pub port: Be16,
    /// One of the `REACH_` constants.
    pub reach: u8,
    /// One of the `STATE_` constants.
    pub state: u8,
    /// Its share of a Maglev table, in the table's units; 0 in none.
    pub weight: u32,
    /// The slot of that table.
    pub table: u32,
}

/// No way is known: packets are dropped as `no_next_hop`.
pub const REACH_NONE: u8 = 0;
/// On a link of this host: `via` is a next hop.
pub const REACH_DIRECT: u8 = 1;
/// Behind a transit router: `via` is a hop group.
pub const REACH_ROUTED: u8 = 2;

/// A free element.
pub const STATE_FREE: u8 = 0;
/// Carries its flows, new or old; whether it gets new ones is a matter of the Maglev table alone.
pub const STATE_SERVING: u8 = 1;
/// Drained to the deadline: packets of its flows are dropped as `server_gone`.
pub const STATE_GONE: u8 = 2;

const _: () = assert!(size_of::<Server>() == 48);
