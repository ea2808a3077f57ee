//! What differs between two frames, field by field.

use crate::packet::{internet_checksum, transport_checksum};
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Fails with the fields in which two frames differ, and both frames.
///
/// # Panics
/// When they differ.
#[track_caller]
pub fn assert_same_frame(found: &[u8], expected: &[u8]) {
    if found != expected {
        panic!("{}", difference(found, expected));
    }
}

/// The fields in which two frames differ, then both frames as bytes.
pub fn difference(found: &[u8], expected: &[u8]) -> String {
    let (left, right) = (fields(found), fields(expected));
    let mut text = String::from("frames differ: found | expected\n");
    let names =
        left.iter().chain(right.iter().filter(|(name, _)| left.iter().all(|(other, _)| other != name)));
    for (name, _) in names {
        let value = |side: &[(String, String)]| {
            side.iter().find(|(other, _)| other == name).map_or("absent".into(), |(_, value)| value.clone())
        };
        let (found, expected) = (value(&left), value(&right));
        if found != expected {
            let _ = writeln!(text, "  {name}: {found} | {expected}");
        }
    }
    let _ = writeln!(text, "found    ({} bytes) {}", found.len(), hex(found));
    let _ = writeln!(text, "expected ({} bytes) {}", expected.len(), hex(expected));
    text
}

/// The fields of a frame by name, outermost first; as far as it goes.
pub fn fields(frame: &[u8]) -> Vec<(String, String)> {
    let mut fields = Fields { found: Vec::new(), prefix: String::new() };
    fields.add("length", frame.len());
    fields.ethernet(frame);
    fields.found
}

struct Fields {
    found: Vec<(String, String)>,
    prefix: String,
}

impl Fields {
    fn add(&mut self, name: &str, value: impl ToString) {
        self.found.push((format!("{}{name}", self.prefix), value.to_string()));
    }

    fn rest(&mut self, name: &str, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.add(name, hex(bytes));
        }
    }

    fn ethernet(&mut self, bytes: &[u8]) {
        let Some((header, behind)) = bytes.split_at_checked(14) else { return self.rest("ethernet", bytes) };
        self.add("ethernet.destination", hex(&header[..6]));
        self.add("ethernet.source", hex(&header[6..12]));
        self.add("ethernet.type", hex(&header[12..]));
        if header[12..] == [8, 0] { self.ipv4(behind) } else { self.rest("ethernet.payload", behind) }
    }

    fn ipv4(&mut self, bytes: &[u8]) {
        let Some(fixed) = bytes.get(..20) else { return self.rest("ip", bytes) };
        let header = usize::from(fixed[0] & 15) * 4;
        let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let address = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
        let (source, destination) = (address(12), address(16));
        self.add("ip.version_and_length", format!("{:#04x}", fixed[0]));
        self.add("ip.traffic_class", fixed[1]);
        self.add("ip.total_length", word(2));
        self.add("ip.identification", word(4));
        self.add("ip.fragment", format!("{:#06x}", word(6)));
        self.add("ip.ttl", fixed[8]);
        self.add("ip.protocol", fixed[9]);
        self.add("ip.source", source);
        self.add("ip.destination", destination);
        let right = bytes.get(..header).is_some_and(|header| internet_checksum(header) == 0);
        self.add("ip.checksum", format!("{:#06x} {}", word(10), verdict(right)));
        let Some(options) = bytes.get(20..header) else { return };
        self.rest("ip.options", options);
        let end = usize::from(word(2)).clamp(header, bytes.len());
        let (segment, padding) = (&bytes[header..end], &bytes[end..]);
        let sum = || transport_checksum(source, destination, fixed[9], segment) == 0;
        match fixed[9] {
            6 => self.tcp(segment, sum()),
            17 => self.udp(segment, sum()),
            _ => self.rest("ip.payload", segment),
        }
        self.rest("padding", padding);
    }

    fn tcp(&mut self, bytes: &[u8], right: bool) {
        let Some(fixed) = bytes.get(..20) else { return self.rest("tcp", bytes) };
        let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        self.add("tcp.source", word(0));
        self.add("tcp.destination", word(2));
        self.add("tcp.sequence", hex(&fixed[4..8]));
        self.add("tcp.acknowledgement", hex(&fixed[8..12]));
        self.add("tcp.data_offset", fixed[12] >> 4);
        self.add("tcp.flags", format!("{:#04x}", fixed[13]));
        self.add("tcp.window", word(14));
        self.add("tcp.checksum", format!("{:#06x} {}", word(16), verdict(right)));
        let header = (usize::from(fixed[12] >> 4) * 4).clamp(20, bytes.len());
        self.rest("tcp.options", &bytes[20..header]);
        self.rest("tcp.payload", &bytes[header..]);
    }

    fn udp(&mut self, bytes: &[u8], right: bool) {
        let Some((fixed, behind)) = bytes.split_at_checked(8) else { return self.rest("udp", bytes) };
        let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        self.add("udp.source", word(0));
        self.add("udp.destination", word(2));
        self.add("udp.length", word(4));
        let state = if word(6) == 0 { "none" } else { verdict(right) };
        self.add("udp.checksum", format!("{:#06x} {state}", word(6)));
        match behind.split_at_checked(8) {
            Some((vxlan, inner)) if word(2) == 4789 => {
                self.add("vxlan.flags", hex(&vxlan[..4]));
                self.add("vxlan.vni", u32::from_be_bytes([0, vxlan[4], vxlan[5], vxlan[6]]));
                self.prefix = format!("{}inner ", self.prefix);
                self.ethernet(inner);
            }
            _ => self.rest("udp.payload", behind),
        }
    }
}

fn verdict(right: bool) -> &'static str {
    if right { "right" } else { "WRONG" }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{tcp, vxlan};

    #[test]
    fn builds_a_known_packet() {
        let syn = tcp("192.0.2.7:31337 -> 203.0.113.10:9000").syn().mss(1460).bytes();
        assert_eq!(internet_checksum(&syn[14..34]), 0);
        assert_eq!(syn.len(), 58);
        let all = fields(&syn);
        assert!(
            all.iter().any(|(name, value)| name == "tcp.checksum" && value.ends_with("right")),
            "{all:?}"
        );
    }

    #[test]
    fn names_the_fields_that_differ_also_inside_a_tunnel() {
        let inner = tcp("192.168.1.20:80 -> 172.16.100.1:2000").ack();
        let one = vxlan("172.16.1.254 -> 172.16.1.10", 101, &inner).bytes();
        let other = vxlan("172.16.1.254 -> 172.16.1.10", 101, &inner.clone().ttl(63)).bytes();
        let text = difference(&one, &other);
        assert!(text.contains("inner ip.ttl: 64 | 63"), "{text}");
        assert!(!text.contains("tcp.source"), "{text}");
    }

    #[test]
    fn sees_a_wrong_checksum() {
        let all = fields(&tcp("192.0.2.7:1 -> 192.0.2.8:2").syn().wrong_tcp_checksum().bytes());
        assert!(
            all.iter().any(|(name, value)| name == "tcp.checksum" && value.ends_with("WRONG")),
            "{all:?}"
        );
    }
}
