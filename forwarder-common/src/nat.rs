//! NAT slots: full NAT without a second hash.
//!
//! A slot *is* a (NAT address, NAT port): the reverse direction is an array index. One word of it, the [`Claim`], is
//! changed only by compare-and-swap and says who holds the slot, since when it is silent and how far its connection
//! has come. Idle slots expire by comparison with the clock when a new flow probes them; nothing has to sweep for
//! correctness.
//!
//! ```text
//!            claim (CAS)            publish
//!   free ────────────────► filling ─────────► new ──reply──► replied ──ack──► established
//!     ▲                                        │ FIN both ways, or RST           │
//!     └──────── idle for the state's time ─────┴──────────► closed ◄─────────────┘
//! ```

use crate::address::{Be16, Be32, Mac};
use crate::flow::FlowKey;
use crate::headers::tcp_flags;
use crate::limits::NAT_SLOTS;
use bytemuck::{Pod, Zeroable};

/// First port used; those below are left to what an operator may run on the addresses by hand.
pub const FIRST_PORT: u16 = 1024;
/// Ports per NAT address.
pub const PORTS: u32 = 65_536 - FIRST_PORT as u32;

/// One NAT address and port, and the flow that holds it. One cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct NatSlot {
    /// See [`Claim`].
    pub claim: u64,
    /// The flow as the client sees it.
    pub key: FlowKey,
    /// Server address.
    pub server_address: Be32,
    /// This slot's address.
    pub nat_address: Be32,
    /// Server port.
    pub server_port: Be16,
    /// This slot's port.
    pub nat_port: Be16,
    /// Index of the server.
    pub server: u32,
    /// Generation of the server when the flow began.
    pub server_generation: u32,
    /// Index of the VIP.
    pub vip: u32,
    /// Interface on which the client's packets arrive; answers leave by it.
    pub client_ifindex: u32,
    /// Where answers go on that link: the sender of the client's frames.
    pub client_mac: Mac,
    /// Our address on that link.
    pub own_mac: Mac,
}

const _: () = assert!(size_of::<NatSlot>() == 64);

/// Bits of [`Claim::state`].
pub mod state {
    /// Being written; its fields mean nothing yet.
    pub const FILLING: u8 = 0x01;
    /// Held by a flow.
    pub const LIVE: u8 = 0x02;
    /// The server has answered.
    pub const REPLIED: u8 = 0x04;
    /// The client has acknowledged the answer.
    pub const ESTABLISHED: u8 = 0x08;
    /// The client has sent FIN.
    pub const CLIENT_FIN: u8 = 0x10;
    /// The server has sent FIN.
    pub const SERVER_FIN: u8 = 0x20;
    /// Either side has sent RST.
    pub const RESET: u8 = 0x40;
}

/// Idle seconds after which a slot may be taken.
pub mod idle_secs {
    /// While being written: no program runs that long.
    pub const FILLING: u32 = 2;
    /// Before the client has acknowledged an answer: longer than the early SYN retransmissions are apart.
    pub const OPENING: u32 = 30;
    /// The same where every candidate is in use, as in a SYN flood: a real client acknowledges sooner.
    pub const OPENING_PRESSED: u32 = 3;
    /// Established.
    pub const ESTABLISHED: u32 = 900;
    /// Closed: the server's TIME_WAIT, during which it would refuse the same tuple.
    pub const CLOSED: u32 = 60;
}

/// Who sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// The word that says who holds a slot: `state` (8 bits), `generation` (24), last second seen (32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Bits of [`state`]; 0 for a slot never used.
    pub state: u8,
    /// Raised with every new holder, 24 bits, wrapping.
    pub generation: u32,
    /// Coarse second of the boot clock in which a packet last passed.
    pub seen: u32,
}

const GENERATION_MASK: u32 = 0x00ff_ffff;

impl Claim {
    /// As stored.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        (self.state as u64) << 56 | (self.generation as u64) << 32 | self.seen as u64
    }

    /// From the stored word.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            state: (bits >> 56) as u8,
            generation: (bits >> 32) as u32 & GENERATION_MASK,
            seen: bits as u32,
        }
    }

    /// Whether a flow holds the slot, expired or not.
    #[inline(always)]
    pub const fn is_live(self) -> bool {
        self.state & state::LIVE != 0
    }

    /// Whether the connection has ended.
    #[inline(always)]
    pub const fn is_closed(self) -> bool {
        let both = state::CLIENT_FIN | state::SERVER_FIN;
        self.state & state::RESET != 0 || self.state & both == both
    }

    /// Whether the slot has been silent for so long that a new flow may take it.
    #[inline(always)]
    pub const fn is_free(self, now_secs: u32) -> bool {
        if self.state == 0 {
            return true;
        }
        let limit = if self.state & state::FILLING != 0 {
            idle_secs::FILLING
        } else if self.is_closed() {
            idle_secs::CLOSED
        } else if self.state & state::ESTABLISHED != 0 {
            idle_secs::ESTABLISHED
        } else {
            idle_secs::OPENING
        };
        now_secs.wrapping_sub(self.seen) > limit && now_secs.wrapping_sub(self.seen) < 1 << 31
    }

    /// Whether a new flow that finds nothing free may take the slot: its connection is still half-open, and not young.
    #[inline(always)]
    pub const fn gives_way(self, now_secs: u32) -> bool {
        let silent = now_secs.wrapping_sub(self.seen);
        self.is_live()
            && self.state & state::ESTABLISHED == 0
            && !self.is_closed()
            && silent > idle_secs::OPENING_PRESSED
            && silent < 1 << 31
    }

    /// The claim of the next holder while it fills the slot.
    #[inline(always)]
    pub const fn taken(self, now_secs: u32) -> Self {
        Self {
            state: state::FILLING,
            generation: self.generation.wrapping_add(1) & GENERATION_MASK,
            seen: now_secs,
        }
    }

    /// The claim once the slot is filled.
    #[inline(always)]
    pub const fn published(self) -> Self {
        Self { state: state::LIVE, ..self }
    }

    /// The claim of a holder that gave up before publishing: free, and no reference to it is valid.
    #[inline(always)]
    pub const fn released(self) -> Self {
        Self { state: 0, ..self }
    }

    /// The claim after a TCP packet with these flags from `side`.
    #[inline(always)]
    pub const fn after_tcp(self, side: Side, flags: u8, now_secs: u32) -> Self {
        let mut next = self.state;
        match side {
            Side::Server => {
                next |= state::REPLIED;
                if flags & tcp_flags::FIN != 0 {
                    next |= state::SERVER_FIN;
                }
            }
            Side::Client => {
                if next & state::REPLIED != 0 && flags & tcp_flags::ACK != 0 {
                    next |= state::ESTABLISHED;
                }
                if flags & tcp_flags::FIN != 0 {
                    next |= state::CLIENT_FIN;
                }
            }
        }
        if flags & tcp_flags::RST != 0 {
            next |= state::RESET;
        }
        Self { state: next, generation: self.generation, seen: now_secs }
    }
}

/// Number of slots usable with a NAT prefix of `addresses` addresses.
#[inline(always)]
pub const fn slots(addresses: u32) -> u32 {
    let all = addresses as u64 * PORTS as u64;
    if all < NAT_SLOTS as u64 { all as u32 } else { NAT_SLOTS }
}

/// The offset of a slot's address in the prefix, and its port. `addresses` is the prefix's size, not zero.
#[inline(always)]
pub const fn slot_address(slot: u32, addresses: u32) -> (u32, Be16) {
    (slot % addresses, Be16::new(FIRST_PORT + (slot / addresses) as u16))
}

/// The inverse of [`slot_address`]; `None` for ports below [`FIRST_PORT`] and beyond the table.
#[inline(always)]
pub const fn slot_of(offset: u32, port: Be16, addresses: u32) -> Option<u32> {
    if port.get() < FIRST_PORT {
        return None;
    }
    let slot = (port.get() - FIRST_PORT) as u64 * addresses as u64 + offset as u64;
    if slot < slots(addresses) as u64 { Some(slot as u32) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(bits: u8, seen: u32) -> Claim {
        Claim { state: state::LIVE | bits, generation: 5, seen }
    }

    #[test]
    fn the_word_keeps_its_parts() {
        let claim = Claim { state: 0x7e, generation: 0x00ab_cdef, seen: 0x1234_5678 };
        assert_eq!(Claim::from_bits(claim.to_bits()), claim);
        let last = Claim { generation: GENERATION_MASK, ..claim };
        assert_eq!(last.taken(1).generation, 0);
    }

    #[test]
    fn a_fresh_slot_is_free_and_a_taken_one_is_not() {
        let fresh = Claim::from_bits(0);
        assert!(fresh.is_free(0));
        let taken = fresh.taken(100);
        assert!(!taken.is_free(100) && !taken.is_live());
        assert!(taken.is_free(103), "a filler that vanished must not hold the slot for ever");
        assert!(taken.published().is_live());
        assert!(taken.released().is_free(100));
    }

    #[test]
    fn each_state_rests_for_its_time() {
        for (bits, limit) in [
            (0, idle_secs::OPENING),
            (state::REPLIED, idle_secs::OPENING),
            (state::REPLIED | state::ESTABLISHED, idle_secs::ESTABLISHED),
            (state::ESTABLISHED | state::CLIENT_FIN, idle_secs::ESTABLISHED),
            (state::ESTABLISHED | state::CLIENT_FIN | state::SERVER_FIN, idle_secs::CLOSED),
            (state::ESTABLISHED | state::RESET, idle_secs::CLOSED),
        ] {
            assert!(!live(bits, 1000).is_free(1000 + limit), "state {bits:#x}");
            assert!(live(bits, 1000).is_free(1001 + limit), "state {bits:#x}");
        }
    }

    #[test]
    fn only_half_open_flows_give_way() {
        let late = 1001 + idle_secs::OPENING_PRESSED;
        for half_open in [0, state::REPLIED, state::CLIENT_FIN] {
            assert!(live(half_open, 1000).gives_way(late), "state {half_open:#x}");
            assert!(!live(half_open, 1000).gives_way(late - 1), "state {half_open:#x}");
        }
        for other in [state::REPLIED | state::ESTABLISHED, state::RESET] {
            assert!(!live(other, 1000).gives_way(late), "state {other:#x}");
        }
        assert!(!live(0, 1000).gives_way(999));
        assert!(!Claim::from_bits(0).taken(1000).gives_way(late));
    }

    #[test]
    fn a_clock_that_reads_earlier_on_another_cpu_frees_nothing() {
        assert!(!live(0, 1000).is_free(999));
    }

    #[test]
    fn a_connection_opens_and_closes() {
        let start = Claim::from_bits(0).taken(1).published();
        let replied = start.after_tcp(Side::Server, tcp_flags::SYN | tcp_flags::ACK, 1);
        assert_eq!(replied.state, state::LIVE | state::REPLIED);
        let established = replied.after_tcp(Side::Client, tcp_flags::ACK, 2);
        assert!(established.state & state::ESTABLISHED != 0 && established.seen == 2);
        let half = established.after_tcp(Side::Client, tcp_flags::FIN | tcp_flags::ACK, 3);
        assert!(!half.is_closed());
        let closed = half.after_tcp(Side::Server, tcp_flags::FIN | tcp_flags::ACK, 4);
        assert!(closed.is_closed() && closed.is_live());
        assert!(established.after_tcp(Side::Server, tcp_flags::RST, 5).is_closed());
        assert_eq!(start.after_tcp(Side::Client, tcp_flags::SYN, 6).state, state::LIVE);
    }

    #[test]
    fn slots_and_addresses_are_inverse() {
        for addresses in [1u32, 2, 16, 256, 4096] {
            for slot in (0..slots(addresses)).step_by(997) {
                let (offset, port) = slot_address(slot, addresses);
                assert!(offset < addresses && port.get() >= FIRST_PORT);
                assert_eq!(slot_of(offset, port, addresses), Some(slot));
            }
        }
        assert_eq!(slots(1), PORTS);
        assert_eq!(slot_of(0, Be16::new(1023), 256), None);
        assert_eq!(slot_of(255, Be16::new(65_535), 256), None, "beyond the table");
    }
}
