//! Packets from a description, byte for byte, with right checksums unless told otherwise.
//!
//! ```
//! use tests::packet::tcp;
//! let syn = tcp("192.0.2.7:31337 -> 203.0.113.10:9000").syn().mss(1460);
//! assert_eq!(syn.bytes().len(), 14 + 20 + 24);
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};

/// Length of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Where the transport header of a packet without IP options stands.
pub const TRANSPORT: usize = ETHERNET + 20;
/// What VXLAN adds before an inner frame's IP header, behind the outer Ethernet header.
pub const VXLAN_OVERHEAD: usize = 50;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Sender of frames unless a test says otherwise.
pub const PEER_MAC: Mac = [0x02, 0, 0, 0, 0x99, 0x01];
/// Receiver of frames unless a test says otherwise.
pub const HOST_MAC: Mac = [0x02, 0, 0, 0, 0x99, 0x02];

/// FIN, as in the TCP header.
pub const FIN: u8 = 0x01;
/// SYN.
pub const SYN: u8 = 0x02;
/// RST.
pub const RST: u8 = 0x04;
/// ACK.
pub const ACK: u8 = 0x10;

/// A packet in the making.
#[derive(Clone, Debug)]
pub struct Packet {
    source_mac: Mac,
    destination_mac: Mac,
    vlan: Option<u16>,
    ethertype: u16,
    ip: Ip,
    transport: Transport,
    payload: Vec<u8>,
    padding: usize,
    length: Option<usize>,
}

#[derive(Clone, Debug)]
struct Ip {
    version: u8,
    traffic_class: u8,
    identification: u16,
    fragment: u16,
    ttl: u8,
    protocol: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    options: Vec<u8>,
    checksum: Option<u16>,
    total_length: Option<u16>,
}

#[derive(Clone, Debug)]
enum Transport {
    Tcp { ports: (u16, u16), sequence: u32, acknowledgement: u32, flags: u8, options: Vec<u8>, wrong: bool },
    Udp { ports: (u16, u16), checksum: Option<u16> },
    Icmp { kind: u8, code: u8, rest: u32 },
    None,
}

/// A TCP packet without flags; `"source:port -> destination:port"`.
pub fn tcp(endpoints: &str) -> Packet {
    let (from, to) = parse_endpoints(endpoints);
    Packet::new(
        6,
        *from.ip(),
        *to.ip(),
        Transport::Tcp {
            ports: (from.port(), to.port()),
            sequence: 0x1122_3344,
            acknowledgement: 0,
            flags: 0,
            options: Vec::new(),
            wrong: false,
        },
    )
}

/// A UDP packet; `"source:port -> destination:port"`.
pub fn udp(endpoints: &str) -> Packet {
    let (from, to) = parse_endpoints(endpoints);
    let transport = Transport::Udp { ports: (from.port(), to.port()), checksum: None };
    Packet::new(17, *from.ip(), *to.ip(), transport)
}

/// An ICMP packet; `"source -> destination"`. What it quotes, if anything, is its payload.
pub fn icmp(addresses: &str, kind: u8, code: u8) -> Packet {
    let (from, to) = parse_addresses(addresses);
    Packet::new(1, from, to, Transport::Icmp { kind, code, rest: 0 })
}

/// An IPv4 packet of another protocol; `"source -> destination"`.
pub fn ipv4(addresses: &str, protocol: u8) -> Packet {
    let (from, to) = parse_addresses(addresses);
    Packet::new(protocol, from, to, Transport::None)
}

/// `inner` in VXLAN as a router sends it: UDP from a port of the dynamic range to 4789, no UDP checksum.
pub fn vxlan(outer: &str, vni: u32, inner: &Packet) -> Packet {
    let (from, to) = parse_addresses(outer);
    let mut payload = vec![8, 0, 0, 0];
    payload.extend((vni << 8).to_be_bytes());
    payload.extend(inner.bytes());
    udp(&format!("{from}:51234 -> {to}:4789")).udp_checksum(0).payload(&payload)
}

/// A frame that holds no IPv4.
pub fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(HOST_MAC);
    bytes.extend(PEER_MAC);
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(payload);
    bytes
}

impl Packet {
    fn new(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, transport: Transport) -> Packet {
        Packet {
            source_mac: PEER_MAC,
            destination_mac: HOST_MAC,
            vlan: None,
            ethertype: 0x0800,
            ip: Ip {
                version: 4,
                traffic_class: 0,
                identification: 0,
                fragment: 0x4000,
                ttl: 64,
                protocol,
                source,
                destination,
                options: Vec::new(),
                checksum: None,
                total_length: None,
            },
            transport,
            payload: Vec::new(),
            padding: 0,
            length: None,
        }
    }

    /// Ethernet sender and receiver.
    pub fn ethernet(mut self, source: Mac, destination: Mac) -> Packet {
        (self.source_mac, self.destination_mac) = (source, destination);
        self
    }

    /// An 802.1Q tag.
    pub fn vlan(mut self, id: u16) -> Packet {
        self.vlan = Some(id);
        self
    }

    /// Another EtherType than IPv4's over the same bytes.
    pub fn ethertype(mut self, ethertype: u16) -> Packet {
        self.ethertype = ethertype;
        self
    }

    /// Another IP version in the header.
    pub fn version(mut self, version: u8) -> Packet {
        self.ip.version = version;
        self
    }

    /// DSCP and ECN.
    pub fn traffic_class(mut self, traffic_class: u8) -> Packet {
        self.ip.traffic_class = traffic_class;
        self
    }

    /// IP identification.
    pub fn identification(mut self, identification: u16) -> Packet {
        self.ip.identification = identification;
        self
    }

    /// A fragment at `offset` bytes (a multiple of 8). Its payload is what the datagram holds there: behind offset 0
    /// there is no transport header.
    pub fn fragment(mut self, offset: u16, more: bool) -> Packet {
        self.ip.fragment = (offset / 8) | if more { 0x2000 } else { 0 };
        if offset > 0 {
            self.transport = Transport::None;
        }
        self
    }

    /// Time to live.
    pub fn ttl(mut self, ttl: u8) -> Packet {
        self.ip.ttl = ttl;
        self
    }

    /// IP options, padded to words with zeros.
    pub fn ip_options(mut self, options: &[u8]) -> Packet {
        self.ip.options = options.to_vec();
        self.ip.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// A wrong or missing IP checksum.
    pub fn ip_checksum(mut self, checksum: u16) -> Packet {
        self.ip.checksum = Some(checksum);
        self
    }

    /// A total length that lies.
    pub fn total_length(mut self, length: u16) -> Packet {
        self.ip.total_length = Some(length);
        self
    }

    /// What stands behind the headers.
    pub fn payload(mut self, payload: &[u8]) -> Packet {
        self.payload = payload.to_vec();
        self
    }

    /// So many payload bytes that the IP packet is `length` long.
    pub fn ip_length(mut self, length: usize) -> Packet {
        self.payload.clear();
        let headers = self.untruncated().len() - ETHERNET;
        self.payload = (0..length - headers).map(|byte| byte as u8).collect();
        self
    }

    /// Bytes behind the IP packet, as Ethernet adds them to short ones.
    pub fn padding(mut self, bytes: usize) -> Packet {
        self.padding = bytes;
        self
    }

    /// Cut off after `length` bytes of the frame.
    pub fn truncated(mut self, length: usize) -> Packet {
        self.length = Some(length);
        self
    }

    /// TCP flags; see [`SYN`] and its like.
    pub fn flags(mut self, set: u8) -> Packet {
        if let Transport::Tcp { flags, .. } = &mut self.transport {
            *flags |= set;
        }
        self
    }

    /// SYN.
    pub fn syn(self) -> Packet {
        self.flags(SYN)
    }

    /// ACK, with some number.
    pub fn ack(mut self) -> Packet {
        if let Transport::Tcp { acknowledgement, .. } = &mut self.transport {
            *acknowledgement = 0x5566_7788;
        }
        self.flags(ACK)
    }

    /// FIN and ACK.
    pub fn fin(self) -> Packet {
        self.ack().flags(FIN)
    }

    /// RST.
    pub fn rst(self) -> Packet {
        self.flags(RST)
    }

    /// TCP options, padded to words with the end-of-list option.
    pub fn tcp_options(mut self, bytes: &[u8]) -> Packet {
        if let Transport::Tcp { options, .. } = &mut self.transport {
            *options = bytes.to_vec();
            options.resize(bytes.len().next_multiple_of(4), 0);
        }
        self
    }

    /// The MSS option alone.
    pub fn mss(self, mss: u16) -> Packet {
        let [high, low] = mss.to_be_bytes();
        self.tcp_options(&[2, 4, high, low])
    }

    /// A TCP checksum that is off by one.
    pub fn wrong_tcp_checksum(mut self) -> Packet {
        if let Transport::Tcp { wrong, .. } = &mut self.transport {
            *wrong = true;
        }
        self
    }

    /// A wrong or missing (0) UDP checksum.
    pub fn udp_checksum(mut self, value: u16) -> Packet {
        if let Transport::Udp { checksum, .. } = &mut self.transport {
            *checksum = Some(value);
        }
        self
    }

    /// UDP source port.
    pub fn source_port(mut self, port: u16) -> Packet {
        match &mut self.transport {
            Transport::Tcp { ports, .. } | Transport::Udp { ports, .. } => ports.0 = port,
            Transport::Icmp { .. } | Transport::None => {}
        }
        self
    }

    /// The second word of an ICMP header.
    pub fn icmp_rest(mut self, value: u32) -> Packet {
        if let Transport::Icmp { rest, .. } = &mut self.transport {
            *rest = value;
        }
        self
    }

    /// Its IP packet, without the Ethernet header: what an ICMP error quotes.
    pub fn quoted(&self, bytes: usize) -> Vec<u8> {
        let packet = &self.untruncated()[ETHERNET..];
        packet[..bytes.min(packet.len())].to_vec()
    }

    /// The frame.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.untruncated();
        bytes.truncate(self.length.unwrap_or(bytes.len()));
        bytes
    }

    fn untruncated(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.destination_mac);
        bytes.extend(self.source_mac);
        if let Some(id) = self.vlan {
            bytes.extend([0x81, 0x00]);
            bytes.extend(id.to_be_bytes());
        }
        bytes.extend(self.ethertype.to_be_bytes());
        let transport = self.transport_bytes();
        bytes.extend(self.ip_bytes(transport.len()));
        bytes.extend(transport);
        bytes.extend(std::iter::repeat_n(0, self.padding));
        bytes
    }

    fn ip_bytes(&self, behind: usize) -> Vec<u8> {
        let ip = &self.ip;
        let header = 20 + ip.options.len();
        let total = ip.total_length.unwrap_or((header + behind) as u16);
        let mut bytes = vec![ip.version << 4 | (header / 4) as u8, ip.traffic_class];
        bytes.extend(total.to_be_bytes());
        bytes.extend(ip.identification.to_be_bytes());
        bytes.extend(ip.fragment.to_be_bytes());
        bytes.extend([ip.ttl, ip.protocol, 0, 0]);
        bytes.extend(ip.source.octets());
        bytes.extend(ip.destination.octets());
        bytes.extend(&ip.options);
        let checksum = ip.checksum.unwrap_or_else(|| internet_checksum(&bytes));
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn transport_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match &self.transport {
            Transport::Tcp { ports, sequence, acknowledgement, flags, options, wrong } => {
                bytes.extend(ports.0.to_be_bytes());
                bytes.extend(ports.1.to_be_bytes());
                bytes.extend(sequence.to_be_bytes());
                bytes.extend(acknowledgement.to_be_bytes());
                bytes.extend([((20 + options.len()) / 4) as u8 * 16, *flags, 0xfa, 0xf0, 0, 0, 0, 0]);
                bytes.extend(options);
                bytes.extend(&self.payload);
                let checksum = self.pseudo_checksum(&bytes) ^ u16::from(*wrong);
                bytes[16..18].copy_from_slice(&checksum.to_be_bytes());
            }
            Transport::Udp { ports, checksum } => {
                bytes.extend(ports.0.to_be_bytes());
                bytes.extend(ports.1.to_be_bytes());
                bytes.extend(((8 + self.payload.len()) as u16).to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(&self.payload);
                let computed = || match self.pseudo_checksum(&bytes) {
                    0 => 0xffff,
                    sum => sum,
                };
                let checksum = checksum.unwrap_or_else(computed);
                bytes[6..8].copy_from_slice(&checksum.to_be_bytes());
            }
            Transport::Icmp { kind, code, rest } => {
                bytes.extend([*kind, *code, 0, 0]);
                bytes.extend(rest.to_be_bytes());
                bytes.extend(&self.payload);
                let checksum = internet_checksum(&bytes);
                bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
            }
            Transport::None => bytes.extend(&self.payload),
        }
        bytes
    }

    fn pseudo_checksum(&self, segment: &[u8]) -> u16 {
        transport_checksum(self.ip.source, self.ip.destination, self.ip.protocol, segment)
    }
}

/// RFC 1071.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u64 = words.sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Checksum of a TCP or UDP segment whose checksum field is zero, with its pseudo header.
pub fn transport_checksum(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, segment: &[u8]) -> u16 {
    let mut bytes = Vec::with_capacity(12 + segment.len());
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend([0, protocol]);
    bytes.extend((segment.len() as u16).to_be_bytes());
    bytes.extend(segment);
    internet_checksum(&bytes)
}

/// Sender and receiver of a TCP or UDP packet without IP options.
///
/// # Panics
/// When the frame is too short.
pub fn endpoints(frame: &[u8]) -> (SocketAddrV4, SocketAddrV4) {
    let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&frame[at..at + 4]).expect("four bytes"));
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    (
        SocketAddrV4::new(address(ETHERNET + 12), port(TRANSPORT)),
        SocketAddrV4::new(address(ETHERNET + 16), port(TRANSPORT + 2)),
    )
}

/// The inner frame of a VXLAN packet without outer IP options.
///
/// # Panics
/// When the frame is too short.
pub fn inner_frame(frame: &[u8]) -> &[u8] {
    &frame[VXLAN_OVERHEAD..]
}

fn parse_endpoints(text: &str) -> (SocketAddrV4, SocketAddrV4) {
    let (from, to) = split(text);
    let parse = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text:?} is no address:port"));
    (parse(from), parse(to))
}

fn parse_addresses(text: &str) -> (Ipv4Addr, Ipv4Addr) {
    let (from, to) = split(text);
    let parse = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text:?} is no address"));
    (parse(from), parse(to))
}

fn split(text: &str) -> (&str, &str) {
    text.split_once(" -> ").unwrap_or_else(|| panic!("{text:?} is not \"sender -> receiver\""))
}
