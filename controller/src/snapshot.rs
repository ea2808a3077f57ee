//! What the L7 engine is told: one immutable snapshot, as versioned bytes with a sequence number.
//!
//! The engine decodes it, takes it into force and acknowledges the sequence; a configuration counts as applied when
//! every live worker has. It is bytes even while engine and controller are one process, so that no part can come to
//! lean on the other's memory. Absent here: time (a ramp's start is data) and file descriptors (sockets travel apart,
//! named by [`ListenerSnapshot::id`]).

use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddrV4};

/// First bytes of an encoded snapshot.
const MAGIC: [u8; 4] = *b"CWSN";
/// Raised when the meaning of the bytes changes; a worker refuses any other.
const FORMAT: u16 = 1;
/// Magic, format, sequence.
const HEADER_BYTES: usize = 4 + 2 + 8;

/// Everything the engine needs to serve requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// HTTP listeners, ids distinct.
    pub listeners: Vec<ListenerSnapshot>,
    /// Server groups; listeners name them by position.
    pub groups: Vec<GroupSnapshot>,
}

/// One HTTP listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerSnapshot {
    /// Stable for the listener's life; names its sockets and counters.
    pub id: u32,
    /// Name, for logs.
    pub name: String,
    /// Addresses it accepts on, one per VIP.
    pub addresses: Vec<SocketAddrV4>,
    /// Position in [`Snapshot::groups`] of the default action's group.
    pub group: u32,
    /// Idle client connections are closed after this, milliseconds.
    pub idle_timeout_ms: u32,
    /// A request must arrive, and its response begin, within this, milliseconds.
    pub request_timeout_ms: u32,
    /// Whether the peer is appended to X-Forwarded-For (LR-40).
    pub x_forwarded_for: bool,
    /// Sources of connections to servers, not empty; used in turn.
    pub local_addresses: Vec<Ipv4Addr>,
}

/// One server group, health already applied: every server listed may be picked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSnapshot {
    /// Name, for logs.
    pub name: String,
    /// Whether idle connections to servers are kept (SG-100).
    pub keepalive: bool,
    /// True while no server is healthy and traffic goes to all of them (SG-93).
    pub fail_open: bool,
    /// Servers that take new requests; empty means 503 (SG-94).
    pub servers: Vec<ServerSnapshot>,
}

/// One server that takes new requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSnapshot {
    /// Stable for the server's life; names its counters.
    pub id: u32,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Configured weight, 1 to 100.
    pub weight: u32,
    /// Set while the server is in slow start; evaluated when a server is picked.
    pub ramp: Option<Ramp>,
}

/// A slow start in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ramp {
    /// Start, CLOCK_MONOTONIC nanoseconds of this host.
    pub start_ns: u64,
    /// Length, milliseconds.
    pub duration_ms: u32,
}

/// Why bytes are not a snapshot this program understands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too short, or not begun by the magic.
    #[error("not a snapshot: {0} bytes without the expected header")]
    NotASnapshot(usize),
    /// Written by another release.
    #[error("snapshot format {found}, this program understands {FORMAT}")]
    Format {
        /// The format found.
        found: u16,
    },
    /// The body does not decode.
    #[error("snapshot body: {0}")]
    Body(postcard::Error),
}

impl Snapshot {
    /// The snapshot as bytes, numbered `sequence`.
    pub fn encode(&self, sequence: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 64 * self.listeners.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&sequence.to_le_bytes());
        postcard::to_extend(self, bytes).expect("a Vec grows, and every field serializes")
    }

    /// Sequence and snapshot from bytes of [`Snapshot::encode`].
    pub fn decode(bytes: &[u8]) -> Result<(u64, Snapshot), DecodeError> {
        let (header, body) = bytes
            .split_at_checked(HEADER_BYTES)
            .filter(|(header, _)| header[..4] == MAGIC)
            .ok_or(DecodeError::NotASnapshot(bytes.len()))?;
        let format = u16::from_le_bytes([header[4], header[5]]);
        if format != FORMAT {
            return Err(DecodeError::Format { found: format });
        }
        let sequence = u64::from_le_bytes(header[6..14].try_into().expect("the header is 14 bytes"));
        Ok((sequence, postcard::from_bytes(body).map_err(DecodeError::Body)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            listeners: vec![ListenerSnapshot {
                id: 7,
                name: "web".into(),
                addresses: vec!["203.0.113.10:80".parse().unwrap()],
                group: 0,
                idle_timeout_ms: 15_000,
                request_timeout_ms: 60_000,
                x_forwarded_for: true,
                local_addresses: vec![Ipv4Addr::new(172, 16, 1, 11)],
            }],
            groups: vec![GroupSnapshot {
                name: "web".into(),
                keepalive: true,
                fail_open: false,
                servers: vec![ServerSnapshot {
                    id: 3,
                    address: "172.16.1.20:80".parse().unwrap(),
                    weight: 100,
                    ramp: Some(Ramp { start_ns: 5, duration_ms: 30_000 }),
                }],
            }],
        }
    }

    #[test]
    fn survives_encoding() {
        assert_eq!(Snapshot::decode(&snapshot().encode(42)), Ok((42, snapshot())));
    }

    #[test]
    fn refuses_what_is_not_a_snapshot() {
        let good = snapshot().encode(1);
        assert_eq!(Snapshot::decode(&good[..10]), Err(DecodeError::NotASnapshot(10)));
        let mut other = good.clone();
        other[4] = 9;
        assert_eq!(Snapshot::decode(&other), Err(DecodeError::Format { found: 9 }));
        assert!(matches!(Snapshot::decode(&good[..good.len() - 1]), Err(DecodeError::Body(_))));
    }
}
