//! Clamping the MSS option, so that neither side sends what the path cannot carry.

use crate::IP;
use crate::packet::Packet;
use forwarder_common::address::Be16;
use forwarder_common::checksum::Change;
use forwarder_common::headers::{Ipv4, Tcp};

/// IP and TCP header without options: what the MSS leaves out (RFC 9293 section 3.7.1).
const HEADERS: u16 = 40;
const OPTIONS: usize = IP + size_of::<Ipv4>() + size_of::<Tcp>();
/// Room for options in a TCP header.
const OPTIONS_MAX: usize = 40;
/// Options looked at; a SYN carries at most half as many.
const ROUNDS: u32 = 10;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const MSS_LENGTH: u8 = 4;

/// Lowers the MSS option of a SYN to fit packets of `mtu` bytes; returns the change to the TCP checksum.
/// A SYN without the option means 536 (RFC 9293), which fits any path we serve.
#[inline(always)]
pub fn clamp(packet: &Packet, tcp: &Tcp, mtu: u16, change: Change) -> Change {
    let limit = mtu.saturating_sub(HEADERS);
    let options = (((tcp.data_offset >> 4) as usize) * 4).saturating_sub(size_of::<Tcp>());
    let mut offset = 0usize;
    let mut round = 0;
    while round < ROUNDS {
        round += 1;
        if offset + 4 > options || offset > OPTIONS_MAX {
            return change;
        }
        let Some(kind) = packet.read::<u8>(OPTIONS + offset) else { return change };
        match kind {
            END => return change,
            NOP => offset += 1,
            MSS => {
                // The value may stand at an odd offset: read and written by bytes. The whole option both times: one check
                // of bounds for the verifier to follow.
                let Some([_, length, high, low]) = packet.read::<[u8; 4]>(OPTIONS + offset) else {
                    return change;
                };
                let bytes = [high, low];
                // Of another length it is no MSS option, and receivers take it for none.
                if length != MSS_LENGTH || u16::from_be_bytes(bytes) <= limit {
                    return change;
                }
                let new = limit.to_be_bytes();
                if packet.write(OPTIONS + offset, &[MSS, MSS_LENGTH, new[0], new[1]]).is_none() {
                    return change;
                }
                return if offset & 1 == 0 {
                    change.word(Be16::new(u16::from_be_bytes(bytes)), Be16::new(limit))
                } else {
                    // Straddles two words of the sum: each byte counts in the other's place.
                    change.word(Be16::new(u16::from_le_bytes(bytes)), Be16::new(u16::from_le_bytes(new)))
                };
            }
            _ => {
                let Some(length) = packet.read::<u8>(OPTIONS + offset + 1) else { return change };
                if length < 2 || length as usize > OPTIONS_MAX {
                    return change;
                }
                offset += length as usize;
            }
        }
    }
    change
}
