//! Packet in → verdict, packet out byte for byte, counters moved: the loaded programs, run by BPF_PROG_TEST_RUN.
//!
//! Needs root. Not covered here, since a test run decides a redirect and does not carry it out: delivery. That is what
//! the end-to-end tests are for.

mod admission;
mod adoption;
mod balance;
mod change;
mod connection;
mod drop_reasons;
mod egress;
mod expiry;
mod groups;
mod log;
mod mss;
mod random;
mod remote;
mod untouched;
