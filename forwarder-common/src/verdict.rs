//! Every way out of the datapath that loses a packet has a name.

/// Defines [`DropReason`] with, for each: number, name in metrics, meaning.
macro_rules! drop_reasons {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $number:literal, $name:literal;)*) => {
        /// Why a packet was dropped: shared by programs, metrics, documentation and tests.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum DropReason {
            $($(#[doc = $meaning])+ $variant = $number,)*
        }

        impl DropReason {
            /// All reasons in the order of their numbers, which are contiguous from 0.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)*];

            /// The name used in metrics and documentation.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)* }
            }

            /// One line for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(DropReason::$variant => concat!($($meaning),+),)* }
            }
        }
    };
}

drop_reasons! {
    /// A tunnel packet, or one for an L4 VIP or NAT address, ends before its headers do.
    Truncated = 0, "truncated";
    /// A tunnel packet to our tunnel address from an address that is no configured next hop.
    TunnelUnknownSource = 1, "tunnel_unknown_source";
    /// A tunnel packet from a configured next hop with another VNI than configured.
    TunnelWrongVni = 2, "tunnel_wrong_vni";
    /// A tunnel packet that is fragmented, has IP options or VXLAN flags of no known meaning, or holds no IPv4.
    TunnelMalformed = 3, "tunnel_malformed";
    /// The inner destination of a tunnel packet is neither a local address nor a NAT address.
    TunnelInnerDestination = 4, "tunnel_inner_destination";
    /// The inner source of a tunnel packet is not reached through the router it came from.
    TunnelInnerSource = 5, "tunnel_inner_source";
    /// A fragment for an L4 VIP or NAT address: it carries no ports.
    Fragment = 6, "fragment";
    /// IP options in a packet for an L4 VIP or NAT address.
    IpOptions = 7, "ip_options";
    /// The time to live ran out here.
    TtlExpired = 8, "ttl_expired";
    /// The group of an L4 VIP has no server that may take traffic.
    NoServer = 9, "no_server";
    /// A TCP packet of no known flow that does not open one.
    NotSyn = 10, "not_syn";
    /// No NAT slot among the candidates of a new flow is free or gives way.
    NatExhausted = 11, "nat_exhausted";
    /// The flow table is full.
    FlowTableFull = 12, "flow_table_full";
    /// A packet to a NAT address and port that no flow holds.
    NatMiss = 13, "nat_miss";
    /// A packet to a NAT address and port from another address than the flow's server.
    NatForeignSource = 14, "nat_foreign_source";
    /// The flow's server was removed and its drain is over.
    ServerGone = 15, "server_gone";
    /// No next hop leads to the server.
    NoNextHop = 16, "no_next_hop";
    /// The next hop's MAC address is not known yet.
    NextHopUnresolved = 17, "next_hop_unresolved";
    /// The packet is larger than the next hop's path carries.
    PacketTooBig = 18, "packet_too_big";
    /// The driver gave no room for the outer headers, or would not take them off.
    NoHeadroom = 19, "no_headroom";
    /// Another CPU was changing the same flow at this moment; the sender will repeat itself.
    FlowBusy = 20, "flow_busy";
    /// A broken invariant of the maps: a table, server or next hop that should exist does not.
    MapInconsistent = 21, "map_inconsistent";
}

/// Number of reasons.
pub const DROP_REASONS: u32 = DropReason::ALL.len() as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_contiguous_and_names_distinct() {
        for (position, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position, "{}", reason.name());
            assert!(!reason.meaning().is_empty());
            assert_eq!(DropReason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }
}
