//! Protocol headers as they lie in packets.
//!
//! Alignment is 2: behind a 14-byte Ethernet header the IP header starts at an address that is even but not a multiple
//! of four, and with alignment 1 the compiler would fetch every field byte by byte.

use crate::address::{Be16, Be32, Mac};
use bytemuck::{Pod, Zeroable};

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: Be16 = Be16::new(0x0800);
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

/// Ethernet II, untagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, packed(2))]
pub struct Ethernet {
    /// Receiver.
    pub destination: Mac,
    /// Sender.
    pub source: Mac,
    /// What follows.
    pub ethertype: Be16,
}

/// IPv4 without options, RFC 791.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, packed(2))]
pub struct Ipv4 {
    /// Version (4) and header length in 32-bit words: 0x45 without options.
    pub version_and_length: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Header and payload, bytes.
    pub total_length: Be16,
    /// Identification.
    pub identification: Be16,
    /// Flags and fragment offset, see [`FRAGMENT_MASK`] and [`DONT_FRAGMENT`].
    pub fragment: Be16,
    /// Time to live.
    pub ttl: u8,
    /// What follows.
    pub protocol: u8,
    /// Header checksum.
    pub checksum: Be16,
    /// Sender.
    pub source: Be32,
    /// Receiver.
    pub destination: Be32,
}

/// `version_and_length` of a header without options.
pub const IPV4_WITHOUT_OPTIONS: u8 = 0x45;
/// The flag that forbids fragmentation.
pub const DONT_FRAGMENT: Be16 = Be16::new(0x4000);
/// Non-zero under this mask: the packet is a fragment (more-fragments flag or an offset).
pub const FRAGMENT_MASK: Be16 = Be16::new(0x3fff);

impl Ipv4 {
    /// Whether the packet is one of several fragments.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        self.fragment.bits() & FRAGMENT_MASK.bits() != 0
    }
}

/// UDP, RFC 768.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, packed(2))]
pub struct Udp {
    /// Sender's port.
    pub source: Be16,
    /// Receiver's port.
    pub destination: Be16,
    /// Header and payload, bytes.
    pub length: Be16,
    /// 0: none was computed.
    pub checksum: Be16,
}

/// TCP without options, RFC 9293.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, packed(2))]
pub struct Tcp {
    /// Sender's port.
    pub source: Be16,
    /// Receiver's port.
    pub destination: Be16,
    /// Sequence number.
    pub sequence: Be32,
    /// Acknowledgement number.
    pub acknowledgement: Be32,
    /// Header length in 32-bit words, in the upper four bits.
    pub data_offset: u8,
    /// See [`tcp_flags`].
    pub flags: u8,
    /// Window.
    pub window: Be16,
    /// Checksum over pseudo header, header and payload.
    pub checksum: Be16,
    /// Urgent pointer.
    pub urgent: Be16,
}

/// Bits of [`Tcp::flags`].
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// VXLAN, RFC 7348 section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, packed(2))]
pub struct Vxlan {
    /// [`VXLAN_FLAGS`] when the VNI is valid.
    pub flags: Be32,
    /// VNI in the upper 24 bits.
    pub vni: Be32,
}

/// The I flag alone.
pub const VXLAN_FLAGS: Be32 = Be32::new(0x0800_0000);

/// Everything VXLAN puts before an inner IPv4 packet, behind the outer Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, packed(2))]
pub struct VxlanStack {
    /// Outer IP.
    pub ip: Ipv4,
    /// Outer UDP.
    pub udp: Udp,
    /// VXLAN.
    pub vxlan: Vxlan,
    /// Inner Ethernet.
    pub inner: Ethernet,
}

/// Bytes that VXLAN over IPv4 adds to an inner IP packet.
pub const VXLAN_OVERHEAD: u16 = size_of::<VxlanStack>() as u16;

const _: () = assert!(size_of::<Ethernet>() == 14);
const _: () = assert!(size_of::<Ipv4>() == 20);
const _: () = assert!(size_of::<Udp>() == 8);
const _: () = assert!(size_of::<Tcp>() == 20);
const _: () = assert!(size_of::<VxlanStack>() == 50);
const _: () = assert!(align_of::<VxlanStack>() == 2);
