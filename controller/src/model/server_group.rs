//! Server groups and their servers.

use super::{FunctionTrigger, HealthCheck, ServerGroupName, VpcName, ZoneName};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

/// A named set of servers that listeners send to (SG-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerGroup {
    /// Its name (SG-4).
    pub name: ServerGroupName,
    /// What its servers are (SG-2).
    pub group_type: ServerGroupType,
    /// The network it belongs to (SG-5); `None` for groups of type [`ServerGroupType::Fc`] only.
    pub vpc: Option<VpcName>,
    /// What the servers speak (SG-20; TCP is ours, D-17).
    pub protocol: GroupProtocol,
    /// How a server is picked (SG-80).
    pub scheduler: Scheduler,
    /// `None`: checks are off and every server counts as usable (SG-190).
    pub health_check: Option<HealthCheck>,
    /// `None`: off (SG-110).
    pub sticky_session: Option<StickySession>,
    /// `None`: off (SG-130).
    pub slow_start: Option<SlowStart>,
    /// `None`: off (SG-150).
    pub connection_drain: Option<ConnectionDrain>,
    /// Whether idle connections to servers are kept (SG-100).
    pub upstream_keepalive: bool,
    /// False: traffic that enters a zone stays in it (SG-170, SG-171).
    pub cross_zone: bool,
    /// Whether servers may have IPv6 addresses (SG-60).
    pub ipv6: bool,
    /// How certificates of HTTPS servers are verified; `None`: not at all (SG-27).
    pub tls_verification: Option<TlsVerification>,
    /// Opaque label of an ingress controller (SG-10).
    pub service_name: Option<String>,
    /// Opaque, without documented values (SG-65).
    pub ip_version_affinity_mode: Option<String>,
    /// Opaque; the account's default group where absent (SG-12).
    pub resource_group: Option<String>,
    /// At most 20 (SG-11).
    pub tags: BTreeMap<String, String>,
    /// Servers in the order written; addresses and identities are distinct (SG-38).
    pub servers: Vec<Server>,
}

impl ServerGroup {
    /// A group of addresses in `vpc` without servers, every setting at its default in our file: protocol HTTP, Wrr,
    /// keepalive and cross-zone on; no checks, and all else off.
    pub fn new(name: impl Into<String>, vpc: &VpcName) -> ServerGroup {
        ServerGroup {
            name: ServerGroupName::new(name),
            group_type: ServerGroupType::Ip,
            vpc: Some(vpc.clone()),
            protocol: GroupProtocol::Http,
            scheduler: Scheduler::Wrr,
            health_check: None,
            sticky_session: None,
            slow_start: None,
            connection_drain: None,
            upstream_keepalive: true,
            cross_zone: true,
            ipv6: false,
            tls_verification: None,
            service_name: None,
            ip_version_affinity_mode: None,
            resource_group: None,
            tags: BTreeMap::new(),
            servers: Vec::new(),
        }
    }

    /// Whether it stands behind L4 listeners.
    pub fn is_l4(&self) -> bool {
        self.protocol == GroupProtocol::Tcp
    }
}

/// What the servers of a group are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerGroupType {
    /// Instances of the inventory and their interfaces.
    Instance,
    /// Addresses, the only type that may hold remote ones (XR-2).
    Ip,
    /// One function (SG-70).
    Fc,
}

/// What servers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupProtocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// gRPC over HTTP/2.
    Grpc,
    /// Any TCP, for TCP listeners.
    Tcp,
}

impl std::fmt::Display for GroupProtocol {
    /// As the API spells it (SG-20).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            GroupProtocol::Http => "HTTP",
            GroupProtocol::Https => "HTTPS",
            GroupProtocol::Grpc => "gRPC",
            GroupProtocol::Tcp => "TCP",
        })
    }
}

/// How a server is picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// Weighted round robin (SG-81); a weighted Maglev table by 5-tuple at L4 (D-17).
    Wrr,
    /// Weighted least connections (SG-83); not at L4 (D-17).
    Wlc,
    /// Consistent hash (SG-84, D-14); a weighted Maglev table by source address at L4 (D-17).
    Sch(HashFactor),
}

/// What a consistent hash is taken of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashFactor {
    /// The client's address.
    SourceIp,
    /// The raw value of this parameter in the URL's query; the client's address where it is absent (SG-85, SG-86).
    UrlParameter(String),
}

/// A server in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// What it is, as configured.
    pub id: ServerId,
    /// Where it listens; with `id` its identity within the group (SG-38).
    pub address: ServerAddress,
    /// Share of traffic (SG-34).
    pub weight: Weight,
    /// Whether it is declared to lie outside the group's VPC (SG-50).
    pub remote_ip: bool,
    /// Zone of the vSwitch that holds its address; `None` outside every vSwitch (SG-175).
    pub zone: Option<ZoneName>,
    /// Free text.
    pub description: Option<String>,
    /// How a function is called; exactly in groups of type [`ServerGroupType::Fc`].
    pub trigger: Option<FunctionTrigger>,
}

impl Server {
    /// A server of a group of addresses, in no known zone.
    pub fn new(address: ServerAddress, weight: Weight) -> Server {
        Server {
            id: ServerId::Ip,
            address,
            weight,
            remote_ip: false,
            zone: None,
            description: None,
            trigger: None,
        }
    }
}

/// What a server is (SG-30, SG-31).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerId {
    /// An instance of the inventory.
    Ecs(String),
    /// An interface of an instance.
    Eni(String),
    /// A container instance of the inventory.
    Eci(String),
    /// The address itself.
    Ip,
    /// A function, by ARN.
    Fc(String),
}

impl std::fmt::Display for ServerId {
    /// `ecs i-web1`; `address` where the address says all.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ServerId::Ecs(id) => write!(f, "ecs {id}"),
            ServerId::Eni(id) => write!(f, "eni {id}"),
            ServerId::Eci(id) => write!(f, "eci {id}"),
            ServerId::Ip => f.write_str("address"),
            ServerId::Fc(arn) => write!(f, "fc {arn}"),
        }
    }
}

/// Address and port of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerAddress {
    /// Private address (SG-41, D-10).
    pub ip: IpAddr,
    /// Port (SG-33).
    pub port: NonZeroU16,
}

impl From<ServerAddress> for std::net::SocketAddr {
    fn from(address: ServerAddress) -> Self {
        Self::new(address.ip, address.port.get())
    }
}

impl std::str::FromStr for ServerAddress {
    type Err = String;

    /// `172.16.1.20:80` or `[fd00:16:1::20]:80`; port 0 is none.
    fn from_str(text: &str) -> Result<Self, String> {
        let address: std::net::SocketAddr =
            text.parse().map_err(|_| format!("{text:?} is not an address and a port"))?;
        let port = NonZeroU16::new(address.port()).ok_or_else(|| format!("{text:?} has port 0"))?;
        Ok(Self { ip: address.ip(), port })
    }
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::net::SocketAddr::from(*self).fmt(f)
    }
}

/// A share of traffic relative to its siblings', 0 to 100 (SG-34); 0 takes no new traffic (SG-90).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u8);

impl Weight {
    /// The largest weight, and the default.
    pub const MAX: Weight = Weight(100);
    /// Takes no new traffic.
    pub const ZERO: Weight = Weight(0);

    /// `None` above 100.
    pub fn new(weight: u32) -> Option<Weight> {
        u8::try_from(weight).ok().filter(|weight| *weight <= 100).map(Weight)
    }

    /// The number, 0 to 100.
    pub fn get(self) -> u32 {
        u32::from(self.0)
    }
}

/// How a client stays with its server (SG-112).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StickySession {
    /// By a cookie of ours (SG-114).
    Insert {
        /// 1 to 86,400 s without a request end the session (SG-113).
        timeout: Duration,
    },
    /// By the application's own cookie, whose value carries the server (SG-118).
    Server {
        /// The cookie's name (SG-117).
        cookie: String,
    },
}

/// How certificates of servers are verified (SG-27).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsVerification {
    /// Certificates of the authorities trusted, PEM.
    pub ca_certificates: String,
    /// Name the certificate must bear; `None`: the server's address.
    pub server_name: Option<String>,
}

/// Weight grows over `duration` after a server becomes healthy (SG-130, SG-133).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart {
    /// 30 to 900 s.
    pub duration: Duration,
}

/// What is in flight may finish for `timeout` after a server leaves or fails (SG-150).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionDrain {
    /// 0 to 900 s; 0 cuts at once.
    pub timeout: Duration,
}
