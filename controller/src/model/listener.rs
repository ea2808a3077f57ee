//! Listeners.

use super::{
    CertificateName, ForwardedHeaders, ListenerAcl, ListenerName, LoadBalancerName, Rule, SecurityPolicyName,
    ServerGroupName,
};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::num::{NonZeroU16, NonZeroU32};
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
    /// Free text (LR-4).
    pub description: Option<String>,
    /// False: stopped; it accepts no connections (LR-5).
    pub enabled: bool,
    /// Timeouts of an L7 listener.
    pub timeouts: ListenerTimeouts,
    /// What servers are told about the client.
    pub forwarded: ForwardedHeaders,
    /// Proxies whose X-Forwarded-For is believed: the client's address is then the rightmost one there that is none of
    /// these (LR-44, SG-88). `None`: the peer is the client.
    pub trusted_proxies: Option<Vec<IpNet>>,
    /// Whether responses are compressed (LR-14).
    pub gzip: bool,
    /// Exactly where the protocol is HTTPS or QUIC.
    pub tls: Option<ListenerTls>,
    /// The QUIC listener that responses of this HTTPS listener advertise (LR-29).
    pub quic_upgrade: Option<ListenerName>,
    /// Requests of one client's connection, after which it is closed; `None`: none of HTTP/1.1, and 1,000 of HTTP/2 and
    /// HTTP/3 (LR-52).
    pub requests_per_connection: Option<NonZeroU32>,
    /// How requests that come round again are known.
    pub loops: LoopDetection,
    /// Who is served (LR-30). `None`: everybody.
    pub acl: Option<ListenerAcl>,
    /// Request headers that the access log records (LR-54), in lower case.
    pub logged_headers: Vec<String>,
    /// By direction and priority.
    pub rules: Vec<Rule>,
}

impl Listener {
    /// An HTTP listener with everything else at its default.
    pub fn new(
        name: impl Into<String>,
        load_balancer: &LoadBalancerName,
        port: NonZeroU16,
        server_group: &ServerGroupName,
    ) -> Listener {
        Listener {
            name: ListenerName::new(name),
            load_balancer: load_balancer.clone(),
            protocol: ListenerProtocol::Http,
            port,
            server_group: server_group.clone(),
            description: None,
            enabled: true,
            timeouts: ListenerTimeouts::default(),
            forwarded: ForwardedHeaders::default(),
            trusted_proxies: None,
            gzip: true,
            tls: None,
            quic_upgrade: None,
            requests_per_connection: None,
            loops: LoopDetection::default(),
            acl: None,
            logged_headers: Vec::new(),
            rules: Vec::new(),
        }
    }

    /// Every group that it sends to: that of the default action, then those that each rule forwards or mirrors to. A group
    /// is there once for each of these, as quotas count (SG-241).
    pub fn groups(&self) -> impl Iterator<Item = &ServerGroupName> {
        let of_rules = self.rules.iter().flat_map(|rule| rule.actions.groups().collect::<BTreeSet<_>>());
        std::iter::once(&self.server_group).chain(of_rules)
    }

    /// Whether it sends to `group`.
    pub fn uses(&self, group: &ServerGroupName) -> bool {
        self.groups().any(|used| used == group)
    }
}

/// The header in which requests carry the rules that they have passed, unless another is configured (LR-112).
const TRACE_HEADER: &str = "Causeway-Trace";
/// ALB's own.
const ALB_TRACE_HEADER: &str = "ALICLOUD-ALB-TRACE";

/// How requests that come round again are known (LR-110 to LR-113).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopDetection {
    /// The header in which requests carry the rules that they have passed.
    pub header: String,
    /// Whether ALB's header is read and written as well (LR-45).
    pub honours_alb: bool,
}

impl Default for LoopDetection {
    fn default() -> Self {
        LoopDetection { header: TRACE_HEADER.to_owned(), honours_alb: false }
    }
}

impl LoopDetection {
    /// The headers that are read and written: one or two.
    pub fn headers(&self) -> Vec<String> {
        let alb = self.honours_alb && !self.header.eq_ignore_ascii_case(ALB_TRACE_HEADER);
        std::iter::once(self.header.clone()).chain(alb.then(|| ALB_TRACE_HEADER.to_owned())).collect()
    }

    /// Whether a header, in any case, is left alone by rules (LR-113): the one configured, and those that others of us and
    /// ALB have unless configured otherwise, since a loop may lead over them.
    pub fn protects(&self, name: &str) -> bool {
        [self.header.as_str(), TRACE_HEADER, ALB_TRACE_HEADER]
            .iter()
            .any(|header| header.eq_ignore_ascii_case(name))
    }
}

/// How an HTTPS or QUIC listener speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// At least one; the first is the default, the others are chosen by name (LR-24).
    pub certificates: Vec<CertificateName>,
    /// Id of a system policy, or name of one of [`super::Resources::security_policies`] (LR-20).
    pub policy: SecurityPolicyName,
    /// Certificates of the authorities one of which must have signed the client's, PEM (LR-26). `None`: clients need
    /// none.
    pub client_authorities: Option<String>,
    /// Whether HTTP/2 is offered (LR-15); of no meaning for QUIC.
    pub http2: bool,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenerProtocol {
    /// Terminated by the L7 engine.
    Http,
    /// The same over TLS.
    Https,
    /// HTTP/3.
    Quic,
    /// Balanced in XDP.
    Tcp,
}

impl ListenerProtocol {
    /// Whether it is balanced in XDP.
    pub fn is_l4(self) -> bool {
        self == ListenerProtocol::Tcp
    }

    /// Whether clients reach it by UDP; else by TCP (LR-3).
    pub fn is_udp(self) -> bool {
        self == ListenerProtocol::Quic
    }

    /// Whether it speaks TLS, and so has certificates.
    pub fn is_tls(self) -> bool {
        matches!(self, ListenerProtocol::Https | ListenerProtocol::Quic)
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
    /// A client connection without a request for this long is closed; 1 to 600 s, default 15. A node may allow more.
    pub idle: Duration,
    /// No response, or no complete request, within this: 504, or 408; likewise, default 60.
    pub request: Duration,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        ListenerTimeouts { idle: Duration::from_secs(15), request: Duration::from_secs(60) }
    }
}
