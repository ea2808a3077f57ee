//! The programs: the order of the datapath in one screen.
//!
//! - [`xdp_ingress`], on every interface of the node: unwraps tunnel packets of configured next hops; balances packets
//!   for L4 VIPs; translates servers' answers back. Everything else passes untouched.
//! - [`tc_ingress`], instead of it where XDP would cost more than it gives: unwraps only.
//! - [`tc_egress`], on every interface that leads to a transit router: wraps packets from local addresses.
//!
//! Only packet access, map access and the order of steps stand in this crate; what can be computed without a packet in
//! hand stands in `forwarder-common` and is tested there. Every packet lost here is counted under a [`DropReason`].
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod atomic;
mod clock;
mod count;
mod egress;
mod flow;
mod forward;
mod maps;
mod mss;
mod packet;
mod reverse;
mod send;
mod tunnel;

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use aya_log_ebpf::warn;
use forwarder_common::address::Mac;
use forwarder_common::headers::{ETHERTYPE_IPV4, Ethernet, Ipv4};
use forwarder_common::verdict::DropReason;
use packet::Packet;

/// Behind this Ethernet header stands the IP header.
const IP: usize = size_of::<Ethernet>();

/// Balances, unwraps, translates back; see the crate's page.
#[xdp]
pub fn xdp_ingress(ctx: XdpContext) -> u32 {
    match try_xdp_ingress(&ctx) {
        Ok(action) => action,
        Err(reason) => {
            count::dropped(reason);
            xdp_action::XDP_DROP
        }
    }
}

#[inline(always)]
fn try_xdp_ingress(ctx: &XdpContext) -> Result<u32, DropReason> {
    let packet = Packet::of_xdp(ctx);
    let (Some(ethernet), Some(ip)) = (packet.read::<Ethernet>(0), packet.read::<Ipv4>(IP)) else {
        return Ok(xdp_action::XDP_PASS);
    };
    if ethernet.ethertype != ETHERTYPE_IPV4 {
        return Ok(xdp_action::XDP_PASS);
    }
    let epoch = maps::epoch();
    let Some(settings) = maps::settings(epoch) else {
        return Ok(xdp_action::XDP_PASS);
    };
    let unwrapped = match tunnel::inspect(&packet, packet.len(), &ip, settings, epoch) {
        Ok(None) => false,
        Ok(Some(hop)) => {
            unwrap(ctx, ethernet.destination, ethernet.source)?;
            count::unwrapped(hop, &Packet::of_xdp(ctx));
            true
        }
        Err(reason) => {
            warn!(
                ctx,
                "tunnel packet refused, reason {}: {:i} -> {:i}",
                reason as u32,
                ip.source.get(),
                ip.destination.get()
            );
            return Err(reason);
        }
    };
    let packet = Packet::of_xdp(ctx);
    let ip = packet.read::<Ipv4>(IP).ok_or(DropReason::Truncated)?;
    if settings.is_nat_address(ip.destination) {
        return reverse::handle(ctx, &packet, &ip, settings, epoch);
    }
    if unwrapped {
        return Ok(xdp_action::XDP_PASS);
    }
    forward::handle(ctx, &packet, &ip, &ethernet, settings, epoch)
}

/// Takes the outer headers off. The outer MAC addresses go onto the inner frame: it must be addressed to this host, or
/// the stack would take it for somebody else's.
#[inline(always)]
fn unwrap(ctx: &XdpContext, destination: Mac, source: Mac) -> Result<(), DropReason> {
    send::adjust_head(ctx, tunnel::OVERHEAD as i32)?;
    Packet::of_xdp(ctx)
        .write(0, &Ethernet { destination, source, ethertype: ETHERTYPE_IPV4 })
        .ok_or(DropReason::NoHeadroom)
}

/// Unwraps tunnel packets where [`xdp_ingress`] is not attached.
#[classifier]
pub fn tc_ingress(ctx: TcContext) -> i32 {
    match try_tc_ingress(&ctx) {
        Ok(action) => action,
        Err(reason) => {
            count::dropped(reason);
            TC_ACT_SHOT
        }
    }
}

#[inline(always)]
fn try_tc_ingress(ctx: &TcContext) -> Result<i32, DropReason> {
    if packet::protocol(ctx) != ETHERTYPE_IPV4 {
        return Ok(TC_ACT_OK);
    }
    // The headers may lie in fragments of the buffer; where the packet is shorter, `inspect` says so.
    let _ = ctx.pull_data(tunnel::INSPECTED.min(ctx.len()));
    let packet = Packet::of_tc(ctx);
    let Some(ip) = packet.read::<Ipv4>(IP) else {
        return Ok(TC_ACT_OK);
    };
    let epoch = maps::epoch();
    let Some(settings) = maps::settings(epoch) else {
        return Ok(TC_ACT_OK);
    };
    match tunnel::inspect(&packet, ctx.len() as usize, &ip, settings, epoch) {
        Ok(None) => Ok(TC_ACT_OK),
        Ok(Some(hop)) => {
            packet::shrink(ctx, tunnel::OVERHEAD as i32)?;
            count::unwrapped_bytes(hop, ctx.len() as usize - IP);
            Ok(TC_ACT_OK)
        }
        Err(reason) => {
            warn!(
                ctx,
                "tunnel packet refused, reason {}: {:i} -> {:i}",
                reason as u32,
                ip.source.get(),
                ip.destination.get()
            );
            Err(reason)
        }
    }
}

/// Wraps packets from local addresses toward transit routers.
#[classifier]
pub fn tc_egress(ctx: TcContext) -> i32 {
    match egress::handle(&ctx) {
        Ok(action) => action,
        Err(reason) => {
            count::dropped(reason);
            TC_ACT_SHOT
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // Never reached: the verifier refuses a program in which it could be.
    loop {}
}

#[used]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
