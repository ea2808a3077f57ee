//! How other programs talk to a running controller: the native API over a Unix socket, and metrics over HTTP.
//!
//! The native API is newline-delimited JSON, one [`Response`] line for each [`Request`] line, on a socket that only
//! its owner may open. The server knows nothing of the program: it hands requests to the control loop over a channel
//! and sends back what the loop answers.

pub mod client;
pub mod metrics;
pub mod metrics_server;
pub mod server;
mod view;

#[cfg(test)]
mod tests;

pub use view::{
    AclView, CertificateView, DrainView, EventView, EvidenceView, FailureView, HashView,
    HealthCheckTemplateView, HealthCheckView, HealthStatus, InventoryView, LinkCounters, ListenerStatus,
    ListenerView, LoadBalancerView, NextHopView, PathView, RampView, ResourcesView, RevisionView,
    RouteTarget, RouteView, RuleView, SecurityPolicyView, ServerCounters, ServerGroupView, ServerView,
    StatusView, StickySessionView, TlsVerificationView, ZoneView,
};

use crate::config::edit::{Operation, Remark};
use crate::config::{CertificateChange, Change, ConfigErrors, Warnings};
use crate::proxy::explain::{Explanation, Question};
use crate::store::Revision;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Longest line either side sends, bytes: resources of a thousand servers are about 100 KB.
pub const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a client may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Take these resources into force; answered by [`Response::Applied`] when they are, or [`Response::Refused`].
    Apply {
        /// Names the text in messages.
        file_name: String,
        /// Resources, YAML.
        text: String,
        /// Whether servers follow the inventory to new addresses; else they keep those they have (D-5).
        #[serde(default)]
        follow: bool,
    },
    /// What [`Request::Apply`] would change; answered by [`Response::Difference`] or [`Response::Refused`].
    Diff {
        /// Names the text in messages.
        file_name: String,
        /// Resources, YAML.
        text: String,
        /// As for [`Request::Apply`].
        #[serde(default)]
        follow: bool,
    },
    /// Change the resources in force; answered by [`Response::Edited`] when that is done, or [`Response::Denied`].
    Edit {
        /// The change.
        operation: Operation,
    },
    /// Change the certificates that listeners can name; answered by [`Response::CertificateKept`] or
    /// [`Response::CertificateRemoved`] when that is on the disk and in force, or [`Response::Denied`].
    Certificate {
        /// The change.
        change: CertificateChange,
    },
    /// Seal sticky cookies with a new key from now on (D-15); answered by [`Response::CookieKeyRotated`].
    RotateCookieKey,
    /// How things of a kind stand; answered by [`Response::View`].
    Get {
        /// The kind.
        kind: Kind,
        /// Only the thing of this name: for servers and events the name of their group, for resources and history the number of
        /// a revision. Answered by [`Response::Denied`] if there is none.
        #[serde(default)]
        name: Option<String>,
    },
    /// How the program stands; answered by [`Response::Status`].
    Status,
    /// What would become of a request; answered by [`Response::Explained`] or [`Response::Failed`].
    Explain {
        /// The request.
        question: Question,
    },
}

/// Kinds of things that can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Load balancers with their names, addresses and listeners
    LoadBalancers,
    /// Listeners with their ports and server groups
    Listeners,
    /// Rules of listeners with what they ask and do; NAME is a listener
    Rules,
    /// Access control lists
    Acls,
    /// TLS security policies and what is served of them
    SecurityPolicies,
    /// Server groups with their settings and how many of their servers are healthy
    ServerGroups,
    /// Servers with weight, health and load; NAME is a group
    Servers,
    /// Routes of the VPCs that have a load balancer; NAME is a VPC
    Routes,
    /// Tunnel endpoints of transit routers with their counters
    NextHops,
    /// Health checks to apply to groups
    HealthCheckTemplates,
    /// Certificates of HTTPS and QUIC listeners, with names, end and key type
    Certificates,
    /// Instances, interfaces and functions that servers refer to by id
    Inventory,
    /// What happened to servers lately, newest last; NAME is a group
    Events,
    /// The resources in force as YAML, ready for `apply`; NAME is an older revision
    Resources,
    /// The last 20 revisions and what each changed; NAME is a revision
    History,
}

/// What the controller answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub enum Response {
    /// The resources are in force.
    Applied {
        /// Their number in the store.
        revision: Revision,
        /// What changed.
        changes: Vec<Change>,
        /// What is doubtful in them.
        warnings: Warnings,
        /// Servers that keep an address which the inventory no longer has for them.
        #[serde(default)]
        kept: Vec<KeptAddress>,
    },
    /// What applying would change.
    Difference {
        /// What would change.
        changes: Vec<Change>,
        /// What is doubtful in the new ones.
        warnings: Warnings,
        /// Servers that would keep an address which the inventory no longer has for them.
        #[serde(default)]
        kept: Vec<KeptAddress>,
    },
    /// The configuration is wrong; nothing was applied.
    Refused {
        /// Every error.
        errors: ConfigErrors,
    },
    /// The change is in force.
    Edited {
        /// The number of the resources with it.
        revision: Revision,
        /// What changed; nothing if it was so before.
        changes: Vec<Change>,
        /// What is doubtful in it.
        warnings: Vec<Remark>,
    },
    /// The change is wrong; nothing was changed.
    Denied {
        /// Everything that stands against it.
        denials: Vec<Remark>,
    },
    /// The certificate is kept, and served where a listener names it.
    CertificateKept {
        /// It.
        certificate: CertificateView,
        /// What is doubtful in it.
        warnings: Vec<Remark>,
    },
    /// The certificate is gone.
    CertificateRemoved,
    /// Sticky cookies are sealed with a new key; those of the two keys before it are still good.
    CookieKeyRotated,
    /// How things of a kind stand.
    View {
        /// The things.
        view: View,
    },
    /// How the program stands.
    Status {
        /// It.
        status: StatusView,
    },
    /// What would become of a request.
    Explained {
        /// It.
        explanation: Explanation,
    },
    /// The request is sound, but could not be carried out; nothing was applied.
    Failed {
        /// Why, and what to do.
        message: String,
    },
}

/// A server that keeps its address although the inventory has another for it (D-5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAddress {
    /// Its group.
    pub group: String,
    /// What it is: `ecs i-web1`.
    pub server: String,
    /// Where it was, and stays.
    pub address: SocketAddr,
    /// Where the inventory has it now.
    pub inventory: IpAddr,
}

/// Things of one kind, in the order of their names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "items", rename_all = "kebab-case")]
pub enum View {
    /// [`Kind::LoadBalancers`]
    LoadBalancers(Vec<LoadBalancerView>),
    /// [`Kind::Listeners`]
    Listeners(Vec<ListenerView>),
    /// [`Kind::Rules`], by listener, direction and priority
    Rules(Vec<RuleView>),
    /// [`Kind::Acls`]
    Acls(Vec<AclView>),
    /// [`Kind::SecurityPolicies`], those of the file first
    SecurityPolicies(Vec<SecurityPolicyView>),
    /// [`Kind::ServerGroups`]
    ServerGroups(Vec<ServerGroupView>),
    /// [`Kind::Servers`]
    Servers(Vec<ServerView>),
    /// [`Kind::Routes`]
    Routes(Vec<RouteView>),
    /// [`Kind::NextHops`]
    NextHops(Vec<NextHopView>),
    /// [`Kind::HealthCheckTemplates`]
    HealthCheckTemplates(Vec<HealthCheckTemplateView>),
    /// [`Kind::Certificates`]
    Certificates(Vec<CertificateView>),
    /// [`Kind::Inventory`]
    Inventory(Vec<InventoryView>),
    /// [`Kind::Events`], oldest first
    Events(Vec<EventView>),
    /// [`Kind::Resources`]
    Resources(ResourcesView),
    /// [`Kind::History`], newest first
    History(Vec<RevisionView>),
}

impl View {
    /// What it shows.
    pub fn kind(&self) -> Kind {
        match self {
            Self::LoadBalancers(_) => Kind::LoadBalancers,
            Self::Listeners(_) => Kind::Listeners,
            Self::Rules(_) => Kind::Rules,
            Self::Acls(_) => Kind::Acls,
            Self::SecurityPolicies(_) => Kind::SecurityPolicies,
            Self::ServerGroups(_) => Kind::ServerGroups,
            Self::Servers(_) => Kind::Servers,
            Self::Routes(_) => Kind::Routes,
            Self::NextHops(_) => Kind::NextHops,
            Self::HealthCheckTemplates(_) => Kind::HealthCheckTemplates,
            Self::Certificates(_) => Kind::Certificates,
            Self::Inventory(_) => Kind::Inventory,
            Self::Events(_) => Kind::Events,
            Self::Resources(_) => Kind::Resources,
            Self::History(_) => Kind::History,
        }
    }
}
