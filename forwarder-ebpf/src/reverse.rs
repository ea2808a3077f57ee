//! Answers of servers, addressed to a NAT address.

use crate::packet::Packet;
use crate::{IP, clock, count, flow, forward, maps, mss, send};
use aya_ebpf::programs::XdpContext;
use flow::Known;
use forwarder_common::checksum::Change;
use forwarder_common::hash;
use forwarder_common::headers::{
    ETHERTYPE_IPV4, Ethernet, IPV4_WITHOUT_OPTIONS, Ipv4, PROTOCOL_TCP, Tcp, tcp_flags,
};
use forwarder_common::nat::{self, NatSlot, Side};
use forwarder_common::rewrite::{self, Endpoints};
use forwarder_common::settings::Settings;
use forwarder_common::verdict::DropReason;

/// Behind the IP header stands the TCP header.
const TCP: usize = IP + size_of::<Ipv4>();

/// Translates a packet to a NAT address back to the client. Every port of those addresses is ours: what no flow holds
/// is dropped, never passed to the host.
#[inline(always)]
pub fn handle(
    ctx: &XdpContext,
    packet: &Packet,
    ip: &Ipv4,
    settings: &Settings,
    epoch: u32,
) -> Result<u32, DropReason> {
    if ip.is_fragment() {
        return Err(DropReason::Fragment);
    }
    if ip.version_and_length != IPV4_WITHOUT_OPTIONS {
        return Err(DropReason::IpOptions);
    }
    if ip.protocol != PROTOCOL_TCP {
        return Err(DropReason::NatMiss);
    }
    let tcp = packet.read::<Tcp>(TCP).ok_or(DropReason::Truncated)?;
    if ip.total_length.get() as usize > packet.len() - IP || (ip.total_length.get() as usize) < TCP + 20 - IP
    {
        return Err(DropReason::Truncated);
    }
    if ip.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let now = clock::now_secs();
    let addresses = (!settings.nat_mask.get()).wrapping_add(1);
    let offset = ip.destination.get().wrapping_sub(settings.nat_base.get());
    let index = nat::slot_of(offset, tcp.destination, addresses).ok_or(DropReason::NatMiss)?;
    let pointer = maps::nat_slot(index).ok_or(DropReason::MapInconsistent)?;
    let known = Known { slot: pointer, claim: flow::claim_of(pointer) };
    if !known.claim.is_live() || known.claim.is_free(now) {
        return Err(DropReason::NatMiss);
    }
    // SAFETY: a pointer into the slot array; `record` below notices if the slot changed hands while we read.
    let slot: &NatSlot = unsafe { &*pointer };
    if slot.server_address != { ip.source } || slot.server_port != tcp.source {
        return Err(DropReason::NatForeignSource);
    }
    // The slot of a flow that began under another NAT prefix, where slots stand for other addresses.
    if slot.nat_address != { ip.destination } || slot.nat_port != tcp.destination {
        return Err(DropReason::NatMiss);
    }
    let to = Endpoints {
        source: slot.key.vip,
        destination: slot.key.client,
        source_port: slot.key.vip_port,
        destination_port: slot.key.client_port,
    };
    let ethernet = Ethernet { destination: slot.client_mac, source: slot.own_mac, ethertype: ETHERTYPE_IPV4 };
    let (ifindex, server_index, generation) = (slot.client_ifindex, slot.server, slot.server_generation);
    let ended = flow::record(&known, Side::Server, tcp.flags, now)?;

    let server = forward::serving(server_index, generation, epoch)?;
    let change = if tcp.flags & tcp_flags::SYN != 0 {
        // What the client may send is bounded by the way to the server.
        let flow_hash = hash::flow_hash(
            maps::flow_hash_key(),
            to.destination,
            to.source,
            to.destination_port,
            to.source_port,
            ip.protocol,
        );
        let (_, hop) = send::hop_to(server, flow_hash, epoch)?;
        mss::clamp(packet, &tcp, hop.mtu, Change::none())
    } else {
        Change::none()
    };
    let (new_ip, new_tcp) = rewrite::tcp(ip, &tcp, to, change);
    packet.write(IP, &new_ip).ok_or(DropReason::Truncated)?;
    packet.write(TCP, &new_tcp).ok_or(DropReason::Truncated)?;
    packet.write(0, &ethernet).ok_or(DropReason::Truncated)?;
    let bytes = ip.total_length.get() as u64;
    count::server(server_index, |counters| {
        counters.reply_packets += 1;
        counters.reply_bytes += bytes;
        counters.flows_ended += ended as u64;
    });
    Ok(send::out_of(ctx, ifindex))
}
