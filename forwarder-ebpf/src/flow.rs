//! Flows and the slots they hold.
//!
//! Protocol between CPUs, all on two words: a slot's claim and a flow entry's reference, both changed only by
//! compare-and-swap.
//! - Whoever moves a free slot's claim to *filling* owns the slot's other fields until it publishes.
//! - A reference is good only while the slot's claim carries its generation. Readers of the fields check the
//!   generation again after reading.
//! - An entry is deleted only by whoever turned its reference into a tombstone, so nobody deletes what another CPU has
//!   just put there; meeting a tombstone means waiting for the client's next try.

use crate::atomic;
use crate::maps::{self, FLOWS};
use aya_ebpf::bindings::BPF_NOEXIST;
use forwarder_common::flow::{FlowKey, FlowRef};
use forwarder_common::limits::NAT_ATTEMPTS;
use forwarder_common::nat::{self, Claim, NatSlot, Side};
use forwarder_common::verdict::DropReason;

/// Tries to write a claim before giving up on a flow that other CPUs keep changing.
const CLAIM_ATTEMPTS: u32 = 4;
/// Spreads the candidates of one flow over the table; odd.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is known of a flow.
pub struct Known {
    /// Its slot.
    pub slot: *mut NatSlot,
    /// The claim as read.
    pub claim: Claim,
}

/// What a look-up found.
pub enum Found {
    /// A flow in progress.
    Flow(Known),
    /// No entry.
    Nothing,
    /// An entry whose slot another flow holds now, or whose connection is over: to be replaced from this value.
    Stale(*mut u64, u64),
}

/// The client's flow with this key.
#[inline(always)]
pub fn find(key: &FlowKey, now: u32) -> Result<Found, DropReason> {
    let Some(entry) = FLOWS.get_ptr_mut(key) else { return Ok(Found::Nothing) };
    let bits = atomic::load(entry);
    if bits == FlowRef::TOMBSTONE {
        return Err(DropReason::FlowBusy);
    }
    let reference = FlowRef::from_bits(bits);
    let slot = maps::nat_slot(reference.slot).ok_or(DropReason::MapInconsistent)?;
    let claim = claim_of(slot);
    if !claim.is_live() || claim.generation != reference.generation || claim.is_free(now) {
        return Ok(Found::Stale(entry, bits));
    }
    Ok(Found::Flow(Known { slot, claim }))
}

/// The entry of a known flow, for replacement by a new connection with the same key.
#[inline(always)]
pub fn entry_of(key: &FlowKey) -> Found {
    match FLOWS.get_ptr_mut(key) {
        Some(entry) => Found::Stale(entry, atomic::load(entry)),
        None => Found::Nothing,
    }
}

/// A slot's claim.
#[inline(always)]
pub fn claim_of(slot: *mut NatSlot) -> Claim {
    // SAFETY: a pointer into the slot array.
    Claim::from_bits(atomic::load(unsafe { &raw const (*slot).claim }))
}

/// Takes a free slot for a new flow with this key; the caller fills and publishes it, or releases it.
#[inline(always)]
pub fn take_slot(
    key: &FlowKey,
    flow_hash: u64,
    addresses: u32,
    now: u32,
) -> Result<(u32, Known), DropReason> {
    let slots = nat::slots(addresses);
    let mut candidate = flow_hash;
    let mut attempt = 0;
    // The candidates twice: first for a free one, then for one that gives way.
    while attempt < 2 * NAT_ATTEMPTS {
        if attempt == NAT_ATTEMPTS {
            candidate = flow_hash;
        }
        let pressed = attempt >= NAT_ATTEMPTS;
        attempt += 1;
        candidate = candidate.wrapping_mul(STRIDE).rotate_left(29);
        let index = forwarder_common::hash::slot(candidate, slots);
        let slot = maps::nat_slot(index).ok_or(DropReason::MapInconsistent)?;
        let old = claim_of(slot);
        if !(old.is_free(now) || pressed && old.gives_way(now)) {
            continue;
        }
        let taken = old.taken(now);
        // SAFETY: a pointer into the slot array.
        if !atomic::exchange(unsafe { &raw mut (*slot).claim }, old.to_bits(), taken.to_bits()) {
            continue;
        }
        if old.state != 0 {
            // SAFETY: we own the fields now; the key is still the last holder's.
            let last = unsafe { (*slot).key };
            // The same client's last flow, since candidates follow from the key: `enter` replaces its entry.
            if last != *key {
                forget(&last, FlowRef { slot: index, generation: old.generation });
            }
        }
        return Ok((index, Known { slot, claim: taken }));
    }
    Err(DropReason::NatExhausted)
}

/// Deletes the entry of a slot's last holder, if it still refers to that slot.
#[inline(always)]
fn forget(key: &FlowKey, reference: FlowRef) {
    let key = *key;
    let Some(entry) = FLOWS.get_ptr_mut(key) else { return };
    if atomic::exchange(entry, reference.to_bits(), FlowRef::TOMBSTONE) {
        let _ = FLOWS.remove(key);
    }
}

/// Makes `key` refer to a filled and published slot. On failure the slot is released.
#[inline(always)]
pub fn enter(key: &FlowKey, place: Found, slot: u32, taken: &Known) -> Result<(), DropReason> {
    let reference = FlowRef { slot, generation: taken.claim.generation }.to_bits();
    let result = match place {
        Found::Stale(entry, old) => {
            if atomic::exchange(entry, old, reference) {
                Ok(())
            } else {
                Err(DropReason::FlowBusy)
            }
        }
        // Two CPUs with the same SYN: one inserts, the other's packet is lost and repeated.
        _ => match FLOWS.insert(key, reference, BPF_NOEXIST as u64) {
            Ok(()) => Ok(()),
            Err(EEXIST) => Err(DropReason::FlowBusy),
            Err(_) => Err(DropReason::FlowTableFull),
        },
    };
    if result.is_err() {
        let published = taken.claim.published();
        // SAFETY: a pointer into the slot array. A failed exchange means somebody else took it: then it is theirs.
        atomic::exchange(
            unsafe { &raw mut (*taken.slot).claim },
            published.to_bits(),
            published.released().to_bits(),
        );
    }
    result
}

const EEXIST: i32 = -17;

/// Publishes a filled slot.
#[inline(always)]
pub fn publish(taken: &Known) -> Result<(), DropReason> {
    // SAFETY: a pointer into the slot array.
    let claim = unsafe { &raw mut (*taken.slot).claim };
    if atomic::exchange(claim, taken.claim.to_bits(), taken.claim.published().to_bits()) {
        Ok(())
    } else {
        Err(DropReason::FlowBusy)
    }
}

/// Records a TCP packet on a flow; whether this packet ended its connection. `Err`: another flow holds the slot now.
///
/// Writes only when a flag or the second changes, so that a busy flow does not bounce its cache line between CPUs.
#[inline(always)]
pub fn record(known: &Known, side: Side, flags: u8, now: u32) -> Result<bool, DropReason> {
    // SAFETY: a pointer into the slot array.
    let word = unsafe { &raw mut (*known.slot).claim };
    let mut claim = known.claim;
    let mut attempt = 0;
    while attempt < CLAIM_ATTEMPTS {
        attempt += 1;
        let next = claim.after_tcp(side, flags, now);
        if next == claim || atomic::exchange(word, claim.to_bits(), next.to_bits()) {
            return Ok(next.is_closed() && !claim.is_closed());
        }
        let found = Claim::from_bits(atomic::load(word));
        if found.generation != claim.generation || !found.is_live() {
            return Err(DropReason::FlowBusy);
        }
        claim = found;
    }
    Err(DropReason::FlowBusy)
}
