//! Packets from clients.

use crate::packet::Packet;
use crate::{IP, clock, count, flow, maps, mss, send};
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::programs::XdpContext;
use flow::{Found, Known};
use forwarder_common::address::Be16;
use forwarder_common::checksum::Change;
use forwarder_common::flow::FlowKey;
use forwarder_common::hash;
use forwarder_common::headers::{Ethernet, IPV4_WITHOUT_OPTIONS, Ipv4, PROTOCOL_TCP, Tcp, tcp_flags};
use forwarder_common::nat::{self, NatSlot, Side};
use forwarder_common::rewrite::{self, Endpoints};
use forwarder_common::server::{STATE_SERVING, Server};
use forwarder_common::settings::Settings;
use forwarder_common::verdict::DropReason;
use forwarder_common::vip::{ADDRESS_ONLY, BY_SOURCE, KIND_L4, KIND_L7, NO_SERVER, Vip, VipKey};

/// Behind the IP header stands the TCP header.
const TCP: usize = IP + size_of::<Ipv4>();

/// Balances a packet for an L4 VIP; counts one for an L7 VIP and passes it; passes everything else untouched.
#[inline(always)]
pub fn handle(
    ctx: &XdpContext,
    packet: &Packet,
    ip: &Ipv4,
    ethernet: &Ethernet,
    settings: &Settings,
    epoch: u32,
) -> Result<u32, DropReason> {
    if ip.protocol != PROTOCOL_TCP {
        return Ok(xdp_action::XDP_PASS);
    }
    let plain = ip.version_and_length == IPV4_WITHOUT_OPTIONS && !ip.is_fragment();
    if !plain {
        return refuse_for_address(ip);
    }
    let Some(ports) = packet.read::<[Be16; 2]>(TCP) else { return Ok(xdp_action::XDP_PASS) };
    let vip_key = VipKey { address: ip.destination, port: ports[1], protocol: ip.protocol, zero: 0 };
    let Some(index) = maps::vip_index(&vip_key) else { return Ok(xdp_action::XDP_PASS) };
    if index == ADDRESS_ONLY {
        return Ok(xdp_action::XDP_PASS);
    }
    let Some(vip) = maps::vip(index, epoch) else { return Ok(xdp_action::XDP_PASS) };
    if vip.kind != KIND_L4 && vip.kind != KIND_L7 {
        return Ok(xdp_action::XDP_PASS);
    }
    let bytes = packet.len() as u64 - IP as u64;
    count::vip(index, |counters| {
        counters.packets += 1;
        counters.bytes += bytes;
    });
    if vip.kind == KIND_L7 {
        return Ok(xdp_action::XDP_PASS);
    }
    let result = balance(ctx, packet, ip, ethernet, settings, epoch, index, vip);
    if result.is_err() {
        count::vip(index, |counters| counters.drops += 1);
    }
    result
}

/// Fragments and packets with options: dropped when the address has an L4 listener, else not ours.
#[inline(always)]
fn refuse_for_address(ip: &Ipv4) -> Result<u32, DropReason> {
    let key = VipKey { address: ip.destination, port: Be16::new(0), protocol: ip.protocol, zero: 0 };
    if maps::vip_index(&key).is_none() {
        return Ok(xdp_action::XDP_PASS);
    }
    Err(if ip.is_fragment() { DropReason::Fragment } else { DropReason::IpOptions })
}

#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "values of one packet, inlined into one program; a struct would be copied"
)]
fn balance(
    ctx: &XdpContext,
    packet: &Packet,
    ip: &Ipv4,
    ethernet: &Ethernet,
    settings: &Settings,
    epoch: u32,
    vip_index: u32,
    vip: &Vip,
) -> Result<u32, DropReason> {
    let tcp = packet.read::<Tcp>(TCP).ok_or(DropReason::Truncated)?;
    if ip.total_length.get() as usize > packet.len() - IP || (ip.total_length.get() as usize) < TCP + 20 - IP
    {
        return Err(DropReason::Truncated);
    }
    if ip.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let now = clock::now_secs();
    let key = FlowKey {
        client: ip.source,
        vip: ip.destination,
        client_port: tcp.source,
        vip_port: tcp.destination,
        protocol: ip.protocol,
        zero: [0; 3],
    };
    let flow_hash = hash::flow_hash(
        maps::flow_hash_key(),
        key.client,
        key.vip,
        key.client_port,
        key.vip_port,
        key.protocol,
    );
    let opens = tcp.flags & (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST) == tcp_flags::SYN;
    let found = match flow::find(&key, now)? {
        // The same client port again, after the old connection's end or its server's: a new connection.
        Found::Flow(known) if opens && is_over(&known, epoch) => flow::entry_of(&key),
        found => found,
    };
    let known = match found {
        Found::Flow(known) => known,
        _ if !opens => return Err(DropReason::NotSyn),
        place => create(ctx, &key, place, flow_hash, ethernet, settings, epoch, vip_index, vip, now)?,
    };

    // SAFETY: a pointer into the slot array; `record` notices if the slot changed hands meanwhile.
    let slot: &NatSlot = unsafe { &*known.slot };
    let to = Endpoints {
        source: slot.nat_address,
        destination: slot.server_address,
        source_port: slot.nat_port,
        destination_port: slot.server_port,
    };
    let (server_index, generation) = (slot.server, slot.server_generation);
    // Before the record: a client that goes on sending to a server that is gone must not keep the flow alive.
    let server = serving(server_index, generation, epoch)?;
    let ended = flow::record(&known, Side::Client, tcp.flags, now)?;
    let (hop_index, hop) = send::hop_to(server, flow_hash, epoch)?;
    if ip.total_length.get() > hop.mtu {
        return Err(DropReason::PacketTooBig);
    }
    let change = if tcp.flags & tcp_flags::SYN != 0 {
        mss::clamp(packet, &tcp, hop.mtu, Change::none())
    } else {
        Change::none()
    };
    let (new_ip, new_tcp) = rewrite::tcp(ip, &tcp, to, change);
    packet.write(IP, &new_ip).ok_or(DropReason::Truncated)?;
    packet.write(TCP, &new_tcp).ok_or(DropReason::Truncated)?;
    let bytes = ip.total_length.get() as u64;
    count::server(server_index, |counters| {
        counters.packets += 1;
        counters.bytes += bytes;
        counters.flows_ended += ended as u64;
    });
    send::through(ctx, hop, hop_index, ip.traffic_class, flow_hash)
}

/// Whether a flow's connection has ended, or its server has gone.
#[inline(always)]
fn is_over(known: &Known, epoch: u32) -> bool {
    // SAFETY: a pointer into the slot array. Should the slot change hands meanwhile, its entry has changed too, and is
    // not replaced.
    let slot: &NatSlot = unsafe { &*known.slot };
    known.claim.is_closed() || serving(slot.server, slot.server_generation, epoch).is_err()
}

/// The server a flow belongs to, unless its drain is over or its index names another server now.
#[inline(always)]
pub fn serving(index: u32, generation: u32, epoch: u32) -> Result<&'static Server, DropReason> {
    let server = maps::server(index, epoch).ok_or(DropReason::MapInconsistent)?;
    if server.state != STATE_SERVING || server.generation != generation {
        return Err(DropReason::ServerGone);
    }
    Ok(server)
}

/// Gives a new flow a server and a slot.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "values of one packet, inlined into one program; a struct would be copied"
)]
fn create(
    ctx: &XdpContext,
    key: &FlowKey,
    place: Found,
    flow_hash: u64,
    ethernet: &Ethernet,
    settings: &Settings,
    epoch: u32,
    vip_index: u32,
    vip: &Vip,
    now: u32,
) -> Result<Known, DropReason> {
    let table_hash = if vip.choice == BY_SOURCE {
        hash::source_hash(maps::flow_hash_key(), key.client)
    } else {
        flow_hash
    };
    let entry = maps::maglev(vip.table, table_hash).ok_or(DropReason::MapInconsistent)?;
    if entry == NO_SERVER {
        return Err(DropReason::NoServer);
    }
    let server_index = entry as u32;
    let server = maps::server(server_index, epoch).ok_or(DropReason::MapInconsistent)?;
    // The prefix's size, bounded away from zero for the divisions in `nat`.
    let addresses = (!settings.nat_mask.get()).wrapping_add(1);
    if addresses == 0 || settings.nat_mask.bits() == 0 {
        return Err(DropReason::MapInconsistent);
    }
    let (index, taken) = flow::take_slot(key, flow_hash, addresses, now)?;
    let (offset, nat_port) = nat::slot_address(index, addresses);
    // SAFETY: the claim is ours, so the fields are.
    let slot = unsafe { &mut *taken.slot };
    slot.key = *key;
    slot.server_address = server.address;
    slot.server_port = server.port;
    slot.nat_address = forwarder_common::address::Be32::new(settings.nat_base.get() + offset);
    slot.nat_port = nat_port;
    slot.server = server_index;
    slot.server_generation = server.generation;
    slot.vip = vip_index;
    slot.client_ifindex = ctx.ingress_ifindex() as u32;
    slot.client_mac = ethernet.source;
    slot.own_mac = ethernet.destination;
    flow::publish(&taken)?;
    flow::enter(key, place, index, &taken)?;
    count::vip(vip_index, |counters| counters.flows += 1);
    count::server(server_index, |counters| counters.flows += 1);
    Ok(Known { slot: taken.slot, claim: taken.claim.published() })
}
