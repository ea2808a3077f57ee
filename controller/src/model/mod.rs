//! What is configured, resolved and valid: every value here satisfies the rules of its type, every name refers to
//! something that exists. Only [`crate::config`] builds these from files.
//!
//! Absent here: how anything was written, any state (health, counters), and any time.

mod health_check;
mod inventory;
mod listener;
mod load_balancer;
mod name;
mod node;
mod quota;
mod server_group;
mod transit_router;
mod vpc;

pub use health_check::{
    GrpcMethod, HealthCheck, HealthCheckMethod, HealthCheckProtocol, HealthCheckTemplate, HttpVersion,
    StatusClass,
};
pub use inventory::{
    Function, FunctionHandler, FunctionPlatform, FunctionTrigger, Instance, InstanceKind, Inventory,
    NetworkInterface,
};
pub use listener::{Listener, ListenerProtocol, ListenerTimeouts};
pub use load_balancer::{AddressType, Edition, IpVersion, LoadBalancer, ZoneMapping};
pub use name::{
    HealthCheckTemplateName, ListenerName, LoadBalancerName, NextHopName, RegionName, ServerGroupName,
    TransitRouterName, VpcName, VswitchName, ZoneName,
};
pub use node::{AdmissionMode, Node, NodeZone, Tunnel};
pub use quota::Quotas;
pub use server_group::{
    ConnectionDrain, GroupProtocol, HashFactor, Scheduler, Server, ServerAddress, ServerGroup,
    ServerGroupType, ServerId, SlowStart, StickySession, TlsVerification, Weight,
};
pub use transit_router::{Attachment, AttachmentKind, Encapsulation, NextHop, TransitRouter};
pub use vpc::{Route, Vpc, Vswitch};

use std::collections::BTreeMap;

/// Everything an operator declares, one revision of it. Ordered by name, so that equal resources are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Networks, with their vSwitches and system route tables.
    pub vpcs: BTreeMap<VpcName, Vpc>,
    /// One router per region, with attachments and next hops.
    pub transit_routers: BTreeMap<TransitRouterName, TransitRouter>,
    /// Load balancers.
    pub load_balancers: BTreeMap<LoadBalancerName, LoadBalancer>,
    /// Server groups.
    pub server_groups: BTreeMap<ServerGroupName, ServerGroup>,
    /// Listeners.
    pub listeners: BTreeMap<ListenerName, Listener>,
    /// Machines and functions that servers refer to by id.
    pub inventory: Inventory,
    /// Reusable health checks (SG-194).
    pub health_check_templates: BTreeMap<HealthCheckTemplateName, HealthCheckTemplate>,
}
