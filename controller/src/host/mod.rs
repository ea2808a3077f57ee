//! What the balancer needs of the host's kernel beyond BPF: addresses, policy rules, routes, resolved neighbours.
//!
//! - [`desired`]: node and resources → the state wanted (pure)
//! - [`difference`]: state found and state wanted → ordered changes (pure)
//! - [`apply`]: reads what is ours, makes the changes, takes everything out again
//! - [`neighbour`]: which interface and MAC leads to an address, kept resolved, and watched
//! - [`interface`], [`sysctl`]: facts and switches of interfaces
//!
//! Everything made here carries protocol number [`PROTOCOL`]; nothing without it is ever changed or removed.

pub mod apply;
pub mod desired;
pub mod difference;
pub mod interface;
pub mod neighbour;
pub mod sysctl;

#[cfg(test)]
mod test_namespace;

/// Marks our addresses (IFA_PROTO), rules (FRA_PROTOCOL), routes (rtm_protocol) and neighbours (NDA_PROTOCOL): XR-102.
/// No routing daemon uses it; FRR owns 186 to 199, BIRD 12.
pub const PROTOCOL: u8 = 97;

/// Priority of the rules `from LOCAL_ADDRESS`: after the kernel's `local` table, before what operators usually add.
pub const RULE_PRIORITY: u32 = 97;

/// Number of the private table of the first VPC by name; the others follow.
pub const TABLE_BASE: u32 = 97_000;

/// The kernel's main table.
pub const TABLE_MAIN: u32 = 254;

/// A request to the kernel failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The kernel refused a change or a question.
    #[error("{what}: {source}")]
    Kernel {
        /// What was tried.
        what: String,
        /// What it said.
        #[source]
        source: rtnetlink::Error,
    },
    /// The netlink socket could not be opened.
    #[error("open a netlink socket: {0}")]
    Open(#[source] std::io::Error),
    /// An interface of the node's settings does not exist.
    #[error("interface \"{0}\" does not exist; name an interface that `ip link` lists")]
    NoInterface(String),
    /// A next hop cannot be reached.
    #[error("next hop {endpoint}: {reason}")]
    Unreachable {
        /// Its address.
        endpoint: std::net::Ipv4Addr,
        /// Why.
        reason: String,
    },
    /// A route that cannot be written down.
    #[error("route to {destination}: {reason}")]
    Route {
        /// Where it leads.
        destination: ipnet::IpNet,
        /// Why.
        reason: String,
    },
    /// A file of /proc/sys.
    #[error("{path}: {source}")]
    Sysctl {
        /// The file.
        path: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The driver of an interface could not be asked for.
    #[error("driver of interface \"{interface}\": {source}")]
    Driver {
        /// The interface.
        interface: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
}

fn kernel(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> HostError {
    let what = what.into();
    |source| HostError::Kernel { what, source }
}
