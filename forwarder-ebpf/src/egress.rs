//! Wrapping what the host itself sends from local addresses.

use crate::packet::{self, Packet};
use crate::{IP, count, maps};
use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::bindings::{
    BPF_ADJ_ROOM_ENCAP_L2_SHIFT, BPF_F_ADJ_ROOM_ENCAP_L2_ETH, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4,
    BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_ADJ_ROOM_FIXED_GSO, TC_ACT_OK, bpf_redir_neigh,
};
use aya_ebpf::helpers::generated::bpf_redirect_neigh;
use aya_ebpf::programs::TcContext;
use forwarder_common::address::Be16;
use forwarder_common::encap;
use forwarder_common::hash;
use forwarder_common::headers::{
    ETHERTYPE_IPV4, Ethernet, IPV4_WITHOUT_OPTIONS, Ipv4, PROTOCOL_TCP, PROTOCOL_UDP, VXLAN_OVERHEAD,
};
use forwarder_common::next_hop::KIND_VXLAN;
use forwarder_common::verdict::DropReason;

const AF_INET: u32 = 2;
/// TCP and IP header of a segment cut from a GSO packet, without options: the least it is longer than its payload.
const SEGMENT_HEADERS: u32 = 40;
/// What `bpf_skb_adjust_room` must know to keep GSO packets right. The length of the inner L2 header is the Ethernet
/// header's alone, without the VXLAN header.
const ROOM: u64 = BPF_F_ADJ_ROOM_FIXED_GSO as u64
    | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 as u64
    | BPF_F_ADJ_ROOM_ENCAP_L4_UDP as u64
    | BPF_F_ADJ_ROOM_ENCAP_L2_ETH as u64
    | (size_of::<Ethernet>() as u64) << BPF_ADJ_ROOM_ENCAP_L2_SHIFT as u64;

/// Wraps a packet if its source is a local address with a route to its destination; all others pass untouched.
#[inline(always)]
pub fn handle(ctx: &TcContext) -> Result<i32, DropReason> {
    if packet::protocol(ctx) != ETHERTYPE_IPV4 {
        return Ok(TC_ACT_OK);
    }
    let packet = Packet::of_tc(ctx);
    let Some(ip) = packet.read::<Ipv4>(IP) else {
        return Ok(TC_ACT_OK);
    };
    let epoch = maps::epoch();
    let Some(group) = maps::route(ip.source, ip.destination, epoch) else {
        return Ok(TC_ACT_OK);
    };
    if group.identity == 0 {
        return Ok(TC_ACT_OK);
    }
    let flow_hash = flow_hash(&packet, &ip);
    let index = group.pick(flow_hash).ok_or(DropReason::NoNextHop)?;
    let hop = maps::next_hop(index as u32, epoch).ok_or(DropReason::MapInconsistent)?;
    if hop.kind != KIND_VXLAN {
        return Err(DropReason::NoNextHop);
    }
    // The kernel finds the MAC address, but not the interface; without one it would lose the packet unnamed.
    if hop.ifindex == 0 {
        return Err(DropReason::NextHopUnresolved);
    }
    let length = ctx.len() - IP as u32;
    // SAFETY: the context is valid while the program runs.
    let segment = unsafe { (*ctx.skb.skb).gso_size };
    let largest = if segment == 0 { length } else { segment + SEGMENT_HEADERS };
    if largest > hop.mtu as u32 {
        return Err(DropReason::PacketTooBig);
    }
    ctx.adjust_room(VXLAN_OVERHEAD as i32, BPF_ADJ_ROOM_MAC, ROOM).map_err(|_| DropReason::NoHeadroom)?;
    let stack = encap::vxlan(hop, length as u16, ip.traffic_class, flow_hash);
    Packet::of_tc(ctx).write(IP, &stack).ok_or(DropReason::NoHeadroom)?;
    count::sent(index as u32, length as usize);

    // The kernel resolves the neighbour, by ARP if need be.
    // SAFETY: plain data, for which zero is valid.
    let mut gateway: bpf_redir_neigh = unsafe { core::mem::zeroed() };
    gateway.nh_family = AF_INET;
    gateway.__bindgen_anon_1.ipv4_nh = hop.gateway.bits();
    // SAFETY: the structure lives across the call and its size is given.
    Ok(unsafe { bpf_redirect_neigh(hop.ifindex, &mut gateway, size_of::<bpf_redir_neigh>() as i32, 0) }
        as i32)
}

/// Hash of the packet's 5-tuple; without ports for fragments and packets with options, so that all of a datagram goes
/// one way.
#[inline(always)]
fn flow_hash(packet: &Packet, ip: &Ipv4) -> u64 {
    let has_ports = (ip.protocol == PROTOCOL_TCP || ip.protocol == PROTOCOL_UDP)
        && ip.version_and_length == IPV4_WITHOUT_OPTIONS
        && !ip.is_fragment();
    let ports = if has_ports { packet.read::<[Be16; 2]>(IP + size_of::<Ipv4>()) } else { None };
    let [source, destination] = ports.unwrap_or_default();
    hash::flow_hash(maps::flow_hash_key(), ip.source, ip.destination, source, destination, ip.protocol)
}
