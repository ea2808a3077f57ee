//! The contract between the BPF programs and user space.
#![no_std]
pub mod limits;
