//! Per-CPU counters with named fields. They only grow; readers sum over CPUs and take differences.

use bytemuck::{Pod, Zeroable};

/// Per VIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct VipCounters {
    /// Packets from clients.
    pub packets: u64,
    /// Bytes from clients, from the IP header on.
    pub bytes: u64,
    /// Flows created.
    pub flows: u64,
    /// Packets from clients that were dropped.
    pub drops: u64,
}

/// Per server of an L4 group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ServerCounters {
    /// Flows given to it.
    pub flows: u64,
    /// Flows that ended: both sides closed, or one reset.
    pub flows_ended: u64,
    /// Packets to it.
    pub packets: u64,
    /// Bytes to it, from the IP header on.
    pub bytes: u64,
    /// Packets from it.
    pub reply_packets: u64,
    /// Bytes from it, from the IP header on.
    pub reply_bytes: u64,
}

/// Per next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct HopCounters {
    /// Packets wrapped toward it; a GSO packet counts once.
    pub packets: u64,
    /// Bytes of those packets before wrapping, from the IP header on.
    pub bytes: u64,
    /// Packets unwrapped from it.
    pub reply_packets: u64,
    /// Bytes of those packets after unwrapping.
    pub reply_bytes: u64,
}
