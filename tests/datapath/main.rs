//! Packet in → verdict, packet out byte for byte, counters moved: the loaded programs, run by BPF_PROG_TEST_RUN.
//!
//! Needs root. Not covered here, since a test run decides a redirect and does not carry it out: delivery. That is what
//! the end-to-end tests are for.

mod admission;
mod balance;
mod connection;
mod egress;
mod mss;
mod remote;
mod untouched;
