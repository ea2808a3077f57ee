//! Listeners.

use super::{ListenerName, LoadBalancerName, ServerGroupName};
use ipnet::IpNet;
use std::num::NonZeroU16;
use std::time::Duration;

/// An address and port of a load balancer on which traffic is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: ListenerName,
    /// The load balancer; the listener is on each of its VIPs.
    pub load_balancer: LoadBalancerName,
    /// Protocol (LR-1; TCP is ours, D-17).
    pub protocol: ListenerProtocol,
    /// Port (LR-2).
    pub port: NonZeroU16,
    /// Group of the default action (LR-8), or of an L4 listener.
    pub server_group: ServerGroupName,
    /// Timeouts of an HTTP listener.
    pub timeouts: ListenerTimeouts,
    /// Whether X-Forwarded-For is written (LR-40).
    pub x_forwarded_for: bool,
    /// Proxies whose X-Forwarded-For is believed: the client's address is then the rightmost one there that is none of
    /// these (LR-44, SG-88). `None`: the peer is the client.
    pub trusted_proxies: Option<Vec<IpNet>>,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenerProtocol {
    /// Terminated by the L7 engine.
    Http,
    /// The same over TLS. Configuration refuses it until the engine terminates TLS.
    Https,
    /// HTTP/3. Configuration refuses it likewise.
    Quic,
    /// Balanced in XDP.
    Tcp,
}

impl ListenerProtocol {
    /// Whether it is balanced in XDP.
    pub fn is_l4(self) -> bool {
        self == ListenerProtocol::Tcp
    }
}

impl std::fmt::Display for ListenerProtocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ListenerProtocol::Http => "HTTP",
            ListenerProtocol::Https => "HTTPS",
            ListenerProtocol::Quic => "QUIC",
            ListenerProtocol::Tcp => "TCP",
        })
    }
}

/// Timeouts of an HTTP listener (LR-11, LR-12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// A client connection without a request for this long is closed; 1 to 600 s, default 15.
    pub idle: Duration,
    /// No response, or no complete request, within this: 504, or 408; 1 to 600 s, default 60.
    pub request: Duration,
}
