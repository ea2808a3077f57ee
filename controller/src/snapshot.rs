//! What the L7 engine is told: one immutable snapshot, as versioned bytes with a sequence number.
//!
//! The engine decodes it, takes it into force and acknowledges the sequence; a configuration counts as applied when
//! every live worker has. It is bytes even while engine and controller are one process, so that no part can come to
//! lean on the other's memory. Absent here: time (a ramp's start is data) and file descriptors (sockets travel apart,
//! named by [`ListenerSnapshot::id`]).

use crate::model::{AclKind, Actions, Condition, ForwardedHeaders, LoopDetection, TlsVersion};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

/// First bytes of an encoded snapshot.
const MAGIC: [u8; 4] = *b"CWSN";
/// Raised when the meaning of the bytes changes; a worker refuses any other.
const FORMAT: u16 = 5;
/// Magic, format, sequence.
const HEADER_BYTES: usize = 4 + 2 + 8;

/// Everything the engine needs to serve requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// L7 listeners, one for each zone that this node serves, ids distinct.
    pub listeners: Vec<ListenerSnapshot>,
    /// Certificates of listeners, which name them by position.
    pub certificates: Vec<CertificateSnapshot>,
    /// Tells this installation's loops from those of others (LR-112).
    pub installation: String,
    /// Server groups; listeners name them by position.
    pub groups: Vec<GroupSnapshot>,
    /// What sticky cookies are sealed with, the current key first; older ones still open.
    pub cookie_keys: Vec<CookieKey>,
    /// Requests that are to end, whether or not their server is still in a group.
    pub cuts: Vec<Cut>,
}

/// One L7 listener in one zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerSnapshot {
    /// Stable for the listener's life; names its sockets and counters.
    pub id: u32,
    /// Name, for logs.
    pub name: String,
    /// Name of its load balancer.
    pub load_balancer: String,
    /// Addresses it accepts on: the zone's VIP of each family.
    pub addresses: Vec<SocketAddr>,
    /// What clients speak.
    pub protocol: DownstreamProtocol,
    /// Position in [`Snapshot::groups`] of the default action's group, as seen from this zone.
    pub group: u32,
    /// Request rules in the order in which they are asked (LR-63); groups by position in [`Snapshot::groups`].
    pub rules: Vec<RuleSnapshot>,
    /// Response rules, likewise.
    pub response_rules: Vec<RuleSnapshot>,
    /// Idle client connections are closed after this, milliseconds.
    pub idle_timeout_ms: u32,
    /// A request must arrive, and its response begin, within this, milliseconds.
    pub request_timeout_ms: u32,
    /// Requests after which a client's connection is closed (LR-52); `None`: as many as its protocol has it.
    pub requests_per_connection: Option<NonZeroU32>,
    /// What servers are told about the client.
    pub forwarded: ForwardedHeaders,
    /// Proxies whose X-Forwarded-For is believed (LR-44, SG-88); `None`: the peer is the client.
    pub trusted_proxies: Option<Vec<IpNet>>,
    /// Whether responses are compressed (LR-14).
    pub gzip: bool,
    /// UDP port that Alt-Svc advertises for HTTP/3 (LR-29).
    pub alt_svc_port: Option<u16>,
    /// Headers that loops are known by (LR-112), each of which is read and written. Not empty.
    pub trace_headers: Vec<String>,
    /// Who is served; `None`: everybody.
    pub acl: Option<AclSnapshot>,
    /// Request headers that the access log records (LR-54), in lower case.
    pub logged_headers: Vec<String>,
    /// Sources of connections to servers; those of a server's family are used in turn. Not empty.
    pub local_addresses: Vec<IpAddr>,
}

impl ListenerSnapshot {
    /// An HTTP listener whose default action is the first group, everything else at its default.
    pub fn new(
        id: u32,
        name: impl Into<String>,
        addresses: Vec<SocketAddr>,
        local_addresses: Vec<IpAddr>,
    ) -> ListenerSnapshot {
        ListenerSnapshot {
            id,
            name: name.into(),
            load_balancer: String::new(),
            addresses,
            protocol: DownstreamProtocol::Http,
            group: 0,
            rules: Vec::new(),
            response_rules: Vec::new(),
            idle_timeout_ms: 15_000,
            request_timeout_ms: 60_000,
            requests_per_connection: None,
            forwarded: ForwardedHeaders::default(),
            trusted_proxies: None,
            gzip: false,
            alt_svc_port: None,
            trace_headers: LoopDetection::default().headers(),
            acl: None,
            logged_headers: Vec::new(),
            local_addresses,
        }
    }
}

/// What clients speak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownstreamProtocol {
    /// HTTP/1.1 and 1.0.
    Http,
    /// The same, and HTTP/2 if it is on, over TLS.
    Https(TlsSnapshot),
    /// HTTP/3.
    Quic(TlsSnapshot),
}

/// How a listener speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSnapshot {
    /// Positions in [`Snapshot::certificates`]; the first is the default, the others are chosen by name (LR-24).
    pub certificates: Vec<u32>,
    /// Versions served.
    pub versions: Vec<TlsVersion>,
    /// Suites served, as rustls names them (`TLS13_AES_128_GCM_SHA256`), in order of preference.
    pub suites: Vec<String>,
    /// Certificates of the authorities that client certificates come from, PEM; `None`: clients need none (LR-26).
    pub client_authorities: Option<String>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

/// A certificate with its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateSnapshot {
    /// Name, for logs.
    pub name: String,
    /// The certificate and those between it and an authority, PEM.
    pub chain: String,
    /// Its private key, PEM.
    pub key: String,
}

impl std::fmt::Debug for CertificateSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertificateSnapshot {{ name: {:?}, .. }}", self.name)
    }
}

/// Who is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclSnapshot {
    /// What `entries` are.
    pub kind: AclKind,
    /// Sources; none at all: everybody is served (LR-31).
    pub entries: Vec<IpNet>,
}

/// One rule; its place in the list is its priority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSnapshot {
    /// Name, for logs, metrics and loop detection: unique in the load balancer.
    pub id: String,
    /// All of them must hold.
    pub conditions: Vec<Condition>,
    /// What is done; groups by position in [`Snapshot::groups`].
    pub actions: Actions<u32>,
}

/// One server group as seen from one zone (or from all, where traffic may cross), health already applied: every server
/// listed may be picked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSnapshot {
    /// Name, for logs.
    pub name: String,
    /// What its servers speak.
    pub protocol: UpstreamProtocol,
    /// Whether idle connections to servers are kept (SG-100).
    pub keepalive: bool,
    /// True while no server is healthy and traffic goes to all of them (SG-93).
    pub fail_open: bool,
    /// How one of `servers` is picked.
    pub scheduler: SchedulerSnapshot,
    /// How clients stay with their server.
    pub sticky: Option<StickySnapshot>,
    /// The function called; then `servers` holds one entry, where it answers.
    pub function: Option<FunctionSnapshot>,
    /// Servers that take new requests; empty means 503 (SG-94).
    pub servers: Vec<ServerSnapshot>,
}

impl GroupSnapshot {
    /// Healthy HTTP servers taken in turn over kept connections.
    pub fn new(name: impl Into<String>, servers: Vec<ServerSnapshot>) -> GroupSnapshot {
        GroupSnapshot {
            name: name.into(),
            protocol: UpstreamProtocol::Http,
            keepalive: true,
            fail_open: false,
            scheduler: SchedulerSnapshot::Wrr,
            sticky: None,
            function: None,
            servers,
        }
    }
}

/// What servers speak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https {
        /// `None`: any certificate will do (SG-27).
        verification: Option<VerificationSnapshot>,
    },
    /// gRPC over HTTP/2 without TLS.
    Grpc,
}

/// How certificates of servers are verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationSnapshot {
    /// Certificates of the authorities trusted, PEM.
    pub ca_certificates: String,
    /// Name the certificate must bear; `None`: the server's address.
    pub server_name: Option<String>,
}

/// How a server is picked; see [`crate::model::Scheduler`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchedulerSnapshot {
    /// Weighted round robin.
    Wrr,
    /// Weighted least connections.
    Wlc,
    /// Consistent hash of the client's address.
    SchSourceIp,
    /// Consistent hash of this parameter of the URL.
    SchUrlParameter(String),
}

/// How clients stay with their server; see [`crate::model::StickySession`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StickySnapshot {
    /// By our cookie.
    Insert {
        /// Life of a session without requests, seconds.
        timeout_secs: u32,
    },
    /// By the application's cookie of this name.
    Server {
        /// Its name.
        cookie: String,
    },
}

/// A function in place of servers (SG-70); see [`crate::model::FunctionTrigger`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionSnapshot {
    /// Sent as Host.
    pub authority: String,
    /// Put before every request's path.
    pub path_prefix: String,
}

/// One server that takes new requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSnapshot {
    /// Stable for the server's life; names its counters.
    pub id: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// Configured weight, 1 to 100.
    pub weight: u32,
    /// Set while the server is in slow start; evaluated when a server is picked.
    pub ramp: Option<Ramp>,
}

/// A key that sticky cookies are sealed with (D-15).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CookieKey {
    /// Names it in cookies.
    pub id: u8,
    /// The key.
    pub key: [u8; 32],
}

impl std::fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CookieKey {{ id: {}, .. }}", self.id)
    }
}

/// The end of a drain (SG-155): requests to `server` begun before `begun_before_ns` are cut at `at_ns`. A cut that is
/// no longer listed was cancelled, unless it had come due; `server` and `begun_before_ns` name it. List it from the
/// drain's beginning on: requests under way when a worker first sees it count as begun before, since some begin a
/// little later on the snapshot before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cut {
    /// Id of the server.
    pub server: u32,
    /// CLOCK_MONOTONIC nanoseconds.
    pub begun_before_ns: u64,
    /// CLOCK_MONOTONIC nanoseconds; may be past.
    pub at_ns: u64,
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
    use crate::model::{Final, Forward, GroupShare, Ordered, Pattern};

    fn snapshot() -> Snapshot {
        Snapshot {
            listeners: vec![ListenerSnapshot {
                protocol: DownstreamProtocol::Https(TlsSnapshot {
                    certificates: vec![0],
                    versions: vec![TlsVersion::Tls12, TlsVersion::Tls13],
                    suites: vec!["TLS13_AES_128_GCM_SHA256".into()],
                    client_authorities: Some("PEM".into()),
                    http2: true,
                }),
                rules: vec![RuleSnapshot {
                    id: "api".into(),
                    conditions: vec![Condition::Path(vec![Pattern::glob("/api/*")])],
                    actions: Actions {
                        extensions: vec![],
                        last: Some(Ordered {
                            order: 1,
                            action: Final::Forward(Forward {
                                groups: vec![GroupShare { group: 0, weight: 100 }],
                                sticky_secs: Some(1000),
                            }),
                        }),
                    },
                }],
                trusted_proxies: Some(vec!["10.0.0.0/8".parse().unwrap()]),
                acl: Some(AclSnapshot {
                    kind: AclKind::Black,
                    entries: vec!["10.9.0.0/16".parse().unwrap()],
                }),
                ..ListenerSnapshot::new(
                    7,
                    "web",
                    vec!["203.0.113.10:443".parse().unwrap()],
                    vec!["172.16.1.11".parse().unwrap()],
                )
            }],
            certificates: vec![CertificateSnapshot {
                name: "www".into(),
                chain: "PEM".into(),
                key: "PEM".into(),
            }],
            installation: "node".into(),
            groups: vec![GroupSnapshot {
                name: "web".into(),
                protocol: UpstreamProtocol::Http,
                keepalive: true,
                fail_open: false,
                scheduler: SchedulerSnapshot::Wrr,
                sticky: Some(StickySnapshot::Insert { timeout_secs: 1000 }),
                function: None,
                servers: vec![ServerSnapshot {
                    id: 3,
                    address: "172.16.1.20:80".parse().unwrap(),
                    weight: 100,
                    ramp: Some(Ramp { start_ns: 5, duration_ms: 30_000 }),
                }],
            }],
            cookie_keys: vec![CookieKey { id: 1, key: [7; 32] }],
            cuts: vec![Cut { server: 9, begun_before_ns: 5, at_ns: 6 }],
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
