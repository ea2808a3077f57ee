//! The last step: out of a next hop.

use crate::IP;
use crate::count;
use crate::maps;
use crate::packet::Packet;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_xdp_adjust_head};
use aya_ebpf::programs::XdpContext;
use forwarder_common::encap;
use forwarder_common::headers::{ETHERTYPE_IPV4, Ethernet, VXLAN_OVERHEAD, VxlanStack};
use forwarder_common::next_hop::{KIND_DIRECT, KIND_VXLAN, NextHop};
use forwarder_common::server::{REACH_DIRECT, REACH_ROUTED, Server};
use forwarder_common::verdict::DropReason;

/// Moves the start of the packet by `bytes`.
#[inline(always)]
pub fn adjust_head(ctx: &XdpContext, bytes: i32) -> Result<(), DropReason> {
    // SAFETY: the context is valid while the program runs; no packet pointer survives this in our callers.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, bytes) } == 0 { Ok(()) } else { Err(DropReason::NoHeadroom) }
}

/// The next hop toward a server, with its index.
#[inline(always)]
pub fn hop_to(server: &Server, flow_hash: u64, epoch: u32) -> Result<(u32, &'static NextHop), DropReason> {
    let index = match server.reach {
        REACH_DIRECT => server.via,
        REACH_ROUTED => {
            let group = maps::hop_group(server.via, epoch).ok_or(DropReason::MapInconsistent)?;
            group.pick(flow_hash).ok_or(DropReason::NoNextHop)? as u32
        }
        _ => return Err(DropReason::NoNextHop),
    };
    let hop = maps::next_hop(index, epoch).ok_or(DropReason::MapInconsistent)?;
    if hop.resolved == 0 {
        return Err(DropReason::NextHopUnresolved);
    }
    Ok((index, hop))
}

/// Sends the packet, whose IP header is final, through `hop`.
#[inline(always)]
pub fn through(
    ctx: &XdpContext,
    hop: &NextHop,
    hop_index: u32,
    traffic_class: u8,
    flow_hash: u64,
) -> Result<u32, DropReason> {
    let bytes = Packet::of_xdp(ctx).len() - IP;
    let ethernet =
        Ethernet { destination: hop.destination_mac, source: hop.source_mac, ethertype: ETHERTYPE_IPV4 };
    match hop.kind {
        KIND_DIRECT => {}
        KIND_VXLAN => {
            let stack: VxlanStack = encap::vxlan(hop, bytes as u16, traffic_class, flow_hash);
            adjust_head(ctx, -(VXLAN_OVERHEAD as i32))?;
            Packet::of_xdp(ctx).write(IP, &stack).ok_or(DropReason::NoHeadroom)?;
        }
        _ => return Err(DropReason::NoNextHop),
    }
    Packet::of_xdp(ctx).write(0, &ethernet).ok_or(DropReason::NoHeadroom)?;
    count::sent(hop_index, bytes);
    Ok(out_of(ctx, hop.ifindex))
}

/// The action that sends a finished frame out of `ifindex`.
#[inline(always)]
pub fn out_of(ctx: &XdpContext, ifindex: u32) -> u32 {
    if ifindex == ctx.ingress_ifindex() as u32 {
        return xdp_action::XDP_TX;
    }
    // SAFETY: no pointers. The kernel batches these per NAPI poll as it does for a device map.
    unsafe { bpf_redirect(ifindex, 0) as u32 }
}
