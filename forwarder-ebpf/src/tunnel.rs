//! Which tunnel packets are ours: the same for XDP and TC.

use crate::IP;
use crate::maps;
use crate::packet::Packet;
use forwarder_common::address::{Be16, Be32};
use forwarder_common::headers::{
    ETHERTYPE_IPV4, Ipv4, PROTOCOL_UDP, Udp, VXLAN_FLAGS, VXLAN_OVERHEAD, VxlanStack,
};
use forwarder_common::settings::Settings;
use forwarder_common::tunnel::{ANY_VNI, TunnelKey};
use forwarder_common::verdict::DropReason;

/// Bytes that are taken off an accepted packet.
pub const OVERHEAD: usize = VXLAN_OVERHEAD as usize;
/// Behind the outer headers stands the inner IP header.
const INNER_IP: usize = IP + OVERHEAD;
/// An ICMP error's header, behind which stands the start of the packet it is about.
const ICMP_HEADER: usize = 8;
/// The most of a packet that is looked at.
pub const INSPECTED: u32 = (INNER_IP + 2 * size_of::<Ipv4>() + ICMP_HEADER) as u32;

const PROTOCOL_ICMP: u8 = 1;
/// Destination unreachable, time exceeded, parameter problem: the errors that quote a packet (RFC 792).
const QUOTING_ICMP_TYPES: [u8; 3] = [3, 11, 12];

/// Looks at a packet of `length` bytes with outer header `ip`: `None`, not a tunnel packet of ours; the index of the
/// next hop whose tunnel it came through; or why it is refused.
///
/// Accepted are only: a configured outer source, sent to our tunnel address, with that hop's VNI, holding a packet for
/// a local or NAT address, from a destination that is routed through that very hop. On a shared port a packet whose
/// source or VNI is unknown is somebody else's and passes.
#[inline(always)]
pub fn inspect(
    packet: &Packet,
    length: usize,
    ip: &Ipv4,
    settings: &Settings,
    epoch: u32,
) -> Result<Option<u32>, DropReason> {
    if ip.protocol != PROTOCOL_UDP
        || settings.vxlan_port.bits() == 0
        || !settings.is_tunnel_address(ip.destination)
    {
        return Ok(None);
    }
    // A later fragment has no ports. Its first fragment is refused below, so it is never put together.
    if ip.fragment.bits() & Be16::new(0x1fff).bits() != 0 {
        return Ok(None);
    }
    let header = ((ip.version_and_length & 0x0f) as usize) * 4;
    let Some(udp) = packet.read::<Udp>(IP + header) else {
        return refuse_unless_shared(settings, DropReason::Truncated);
    };
    if udp.destination != settings.vxlan_port {
        return Ok(None);
    }
    let (source, destination) = (ip.source, ip.destination);
    let known = TunnelKey { outer_source: source, outer_destination: destination, vni: ANY_VNI };
    if maps::tunnel(&known).is_none() {
        return refuse_unless_shared(settings, DropReason::TunnelUnknownSource);
    }
    if header != size_of::<Ipv4>() || ip.is_fragment() {
        return Err(DropReason::TunnelMalformed);
    }
    let stack = packet.read::<VxlanStack>(IP).ok_or(DropReason::Truncated)?;
    let vni = stack.vxlan.vni.get() >> 8;
    let Some(hop) = maps::tunnel(&TunnelKey { vni, ..known }) else {
        return refuse_unless_shared(settings, DropReason::TunnelWrongVni);
    };
    // RFC 7348 section 5: the I flag must be set, the reserved ones are ignored.
    if stack.vxlan.flags.bits() & VXLAN_FLAGS.bits() == 0 || stack.inner.ethertype != ETHERTYPE_IPV4 {
        return Err(DropReason::TunnelMalformed);
    }
    let inner = packet.read::<Ipv4>(INNER_IP).ok_or(DropReason::Truncated)?;
    if inner.version_and_length >> 4 != 4 || inner.version_and_length & 0x0f < 5 {
        return Err(DropReason::TunnelMalformed);
    }
    if INNER_IP + inner.total_length.get() as usize > length
        || inner.total_length.get() < size_of::<Ipv4>() as u16
    {
        return Err(DropReason::Truncated);
    }
    let ours = settings.is_nat_address(inner.destination) || maps::is_local_address(inner.destination);
    if !ours {
        return Err(DropReason::TunnelInnerDestination);
    }
    let local = settings.route_local(inner.destination);
    if leads_through(local, inner.source, hop, epoch) || quotes_our_packet(packet, &inner, local, hop, epoch)
    {
        return Ok(Some(hop));
    }
    Err(DropReason::TunnelInnerSource)
}

/// Whether packets from `local` to `remote` may go through `hop`, so that answers may come through it.
#[inline(always)]
fn leads_through(local: Be32, remote: Be32, hop: u32, epoch: u32) -> bool {
    maps::route(local, remote, epoch).is_some_and(|group| group.identity != 0 && group.contains(hop as u16))
}

/// Whether `inner` is an ICMP error about a packet of ours. Routers on the way report from addresses of their own, so
/// what counts is that the quoted packet came from us and was routed through this hop.
#[inline(always)]
fn quotes_our_packet(packet: &Packet, inner: &Ipv4, local: Be32, hop: u32, epoch: u32) -> bool {
    if inner.protocol != PROTOCOL_ICMP || inner.version_and_length & 0x0f != 5 || inner.is_fragment() {
        return false;
    }
    const ICMP: usize = INNER_IP + size_of::<Ipv4>();
    let (Some(kind), Some(quoted)) = (packet.read::<u8>(ICMP), packet.read::<Ipv4>(ICMP + ICMP_HEADER))
    else {
        return false;
    };
    QUOTING_ICMP_TYPES.contains(&kind)
        && { quoted.source } == { inner.destination }
        && leads_through(local, quoted.destination, hop, epoch)
}

#[inline(always)]
fn refuse_unless_shared(settings: &Settings, reason: DropReason) -> Result<Option<u32>, DropReason> {
    if settings.shared_port != 0 { Ok(None) } else { Err(reason) }
}
