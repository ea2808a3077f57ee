//! Capacity of every table, and what happens when it is full.
//!
//! Tables of configuration: an apply that needs more is refused as a whole, naming the table and its capacity.
//! Tables of traffic ([`NAT_SLOTS`], [`FLOWS`]): the packet that needed an entry is dropped with a reason.

/// VIP and port pairs, of L4 and L7 listeners together. Full: the apply is refused.
pub const VIPS: u32 = 1024;
/// Servers of L4 groups. An index fits the u16 of a Maglev entry, and [`crate::vip::NO_SERVER`] is none. Full: refused.
pub const SERVERS: u32 = 16_384;
/// Direct neighbours and tunnel endpoints. Full: the apply is refused.
pub const NEXT_HOPS: u32 = 4096;
/// Distinct sets of next hops. Full: the apply is refused.
pub const HOP_GROUPS: u32 = 256;
/// Pairs of local address and destination prefix. Full: the apply is refused.
pub const ROUTES: u32 = 4096;
/// Accepted triples of outer source, tunnel address and VNI, with one entry more per pair of addresses. Full: refused.
pub const TUNNELS: u32 = 4096;
/// Local addresses. Full: the apply is refused.
pub const LOCAL_ADDRESSES: u32 = 1024;
/// Tunnel addresses of one node, one per zone. Full: the apply is refused.
pub const TUNNEL_ADDRESSES: usize = 10;
/// Next hops of one transit router. More: the configuration is refused.
pub const HOPS_PER_GROUP: usize = 8;
/// Buckets over which a group's flows are spread; prime, so that every permutation step works.
pub const HOP_BUCKETS: usize = 251;
/// Whole Maglev tables: one per L4 server group (one per zone, where traffic may not cross zones), and as many again for
/// the tables being written; 33.6 MB in all. Full: refused.
pub const MAGLEV_TABLES: u32 = 256;
/// Entries of one Maglev table; prime.
pub const MAGLEV_ENTRIES: u32 = 65_537;
/// Entries allocated per table: the verifier's idea of the largest index is a few higher than the real one.
pub const MAGLEV_ALLOCATED: usize = 65_544;
/// Concurrent L4 flows. Full, or eight candidates in use: half-open flows older than 3 s give way, and where there is none
/// the SYN is dropped as `nat_exhausted`.
pub const NAT_SLOTS: u32 = 262_144;
/// Flow hash entries. One per slot at most, since whoever takes a slot over deletes the entry of its last holder; some
/// more, since CPUs keep free elements in stock. Full: the SYN is dropped as `flow_table_full`.
pub const FLOWS: u32 = NAT_SLOTS + NAT_SLOTS / 8;
/// Slots a new flow tries.
pub const NAT_ATTEMPTS: u32 = 8;

const _: () = assert!(SERVERS < u16::MAX as u32);
const _: () = assert!(MAGLEV_ALLOCATED > MAGLEV_ENTRIES as usize);
