//! Address translation of TCP over IPv4: old headers in, new headers out.

use crate::address::{Be16, Be32};
use crate::checksum::Change;
use crate::headers::{Ipv4, Tcp};

/// Sender and receiver of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Sender's address.
    pub source: Be32,
    /// Receiver's address.
    pub destination: Be32,
    /// Sender's port.
    pub source_port: Be16,
    /// Receiver's port.
    pub destination_port: Be16,
}

/// The headers with other endpoints, one hop less to live and checksums to match. `payload` is what else changed under
/// the TCP checksum. The caller has checked that the TTL is above 1.
#[inline(always)]
pub fn tcp(ip: &Ipv4, tcp: &Tcp, to: Endpoints, payload: Change) -> (Ipv4, Tcp) {
    let addresses = Change::none().double(ip.source, to.source).double(ip.destination, to.destination);
    let ttl = ip.ttl.wrapping_sub(1);
    let word = |ttl: u8| Be16::from_bits(u16::from_ne_bytes([ttl, ip.protocol]));
    let new_ip = Ipv4 {
        ttl,
        source: to.source,
        destination: to.destination,
        checksum: addresses.word(word(ip.ttl), word(ttl)).apply(ip.checksum),
        ..*ip
    };
    let new_tcp = Tcp {
        source: to.source_port,
        destination: to.destination_port,
        checksum: payload
            .double(ip.source, to.source)
            .double(ip.destination, to.destination)
            .word(tcp.source, to.source_port)
            .word(tcp.destination, to.destination_port)
            .apply(tcp.checksum),
        ..*tcp
    };
    (new_ip, new_tcp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum;
    use crate::headers::{IPV4_WITHOUT_OPTIONS, PROTOCOL_TCP};
    use bytemuck::Zeroable;

    /// Checksum over pseudo header and a TCP header without payload.
    fn tcp_checksum(ip: &Ipv4, tcp: &Tcp) -> u16 {
        let mut sum = u32::from(PROTOCOL_TCP) + 20;
        for address in [{ ip.source }, { ip.destination }] {
            sum += (address.get() >> 16) + (address.get() & 0xffff);
        }
        let tcp = Tcp { checksum: Be16::new(0), ..*tcp };
        for pair in bytemuck::bytes_of(&tcp).chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        !checksum::fold(sum)
    }

    #[test]
    fn translated_packets_have_valid_checksums_and_one_hop_less() {
        for seed in 0..5_000u32 {
            let word =
                |n: u32| Be32::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(n.wrapping_mul(0x85eb_ca6b)));
            let port = |n: u32| Be16::new(word(n).get() as u16);
            let mut ip = Ipv4 {
                version_and_length: IPV4_WITHOUT_OPTIONS,
                ttl: (seed % 254) as u8 + 2,
                protocol: PROTOCOL_TCP,
                total_length: Be16::new(40),
                source: word(1),
                destination: word(2),
                ..Ipv4::zeroed()
            };
            ip.checksum = checksum::ipv4_header(&ip);
            let mut header =
                Tcp { source: port(3), destination: port(4), sequence: word(5), ..Tcp::zeroed() };
            header.checksum = Be16::new(tcp_checksum(&ip, &header));
            let to = Endpoints {
                source: word(6),
                destination: word(7),
                source_port: port(8),
                destination_port: port(9),
            };
            let (new_ip, new_tcp) = tcp(&ip, &header, to, Change::none());
            assert_eq!({ new_ip.checksum }, checksum::ipv4_header(&new_ip));
            assert_eq!({ new_tcp.checksum }.get(), tcp_checksum(&new_ip, &new_tcp));
            assert_eq!(new_ip.ttl, ip.ttl - 1);
            assert_eq!(({ new_ip.source }, { new_tcp.destination }), (to.source, to.destination_port));
            assert_eq!({ new_tcp.sequence }, { header.sequence });
        }
    }
}
