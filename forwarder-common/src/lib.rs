//! The contract between the BPF programs and user space: keys and values of every map, and every computation that can
//! be ordinary Rust. Both sides use this crate, so that neither can drift.
//!
//! Conventions that hold for all map values:
//! - Hash maps and tries hold only *key → stable index* and are never rewritten in place; what an index means stands
//!   in an array. Replacing an existing hash element is not atomic for readers, an array element is not either.
//! - So each configuration array holds **two copies per element** (see [`epoch`]); programs read the live one, user
//!   space writes the spare one and flips the epoch with one aligned store.
//! - An all-zero element is a free one ([`vip::KIND_FREE`] and so on), which is what a fresh array holds.
//! - Network byte order is in the type ([`address::Be16`], [`address::Be32`]).
//!
//! Absent: maps, packet memory, unsafe, clocks, allocation.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod address;
pub mod checksum;
pub mod counters;
pub mod encap;
pub mod epoch;
pub mod flow;
pub mod hash;
pub mod headers;
pub mod limits;
pub mod nat;
pub mod next_hop;
pub mod rewrite;
pub mod server;
pub mod settings;
pub mod tunnel;
pub mod verdict;
pub mod vip;
