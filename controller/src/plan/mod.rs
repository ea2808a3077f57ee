//! What the maps should hold, and how to get there.
//!
//! ```text
//!  model + health + neighbours + now ──desired──► MapContents ──diff(current)──► Change {prepare, commit, cleanup}
//! ```
//!
//! Order is data: *prepare* writes spare copies and new keys, invisible to every packet; *commit* is one epoch store;
//! *cleanup* removes keys that nothing refers to any more, after a grace period. Nothing here touches a kernel.

mod capacity;
mod contents;
mod cuts;
mod desired;
mod diff;
mod dump;
mod identity;
mod servers;
mod snapshot;
mod tables;
#[cfg(test)]
mod tests;

pub use capacity::CapacityError;
pub use contents::{Arrays, Keys, MapContents, MapState, Table};
pub use cuts::Cuts;
pub use desired::{Inputs, Neighbour, desired, neighbours_wanted, vip_key};
pub use diff::{Change, MapOp, diff};
pub use dump::{dump_change, dump_contents};
pub use servers::{departed, server_identity};
pub use snapshot::{Ids, SnapshotInputs, can_handshake, snapshot, sources};
