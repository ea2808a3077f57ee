//! What is configured, resolved and valid: every value here satisfies the rules of its type, every name refers to
//! something that exists. Only [`crate::config`] builds these from files.
//!
//! Absent here: how anything was written, any state (health, counters), and any time.

mod acl;
mod forwarded;
mod health_check;
mod inventory;
mod listener;
mod load_balancer;
mod name;
mod node;
mod quota;
mod rule;
mod security_policy;
mod server_group;
mod template;
mod transit_router;
mod vpc;

pub use acl::{Acl, AclEntry, AclKind, ListenerAcl};
pub use forwarded::{ForwardedHeaders, XForwardedFor};
pub use health_check::{
    GrpcMethod, HealthCheck, HealthCheckMethod, HealthCheckProtocol, HealthCheckTemplate, HttpVersion,
    StatusClass,
};
pub use inventory::{
    Function, FunctionHandler, FunctionPlatform, FunctionTrigger, Instance, InstanceKind, Inventory,
    NetworkInterface,
};
pub use listener::{Listener, ListenerProtocol, ListenerTimeouts, ListenerTls, LoopDetection};
pub use load_balancer::{AddressType, Edition, IpVersion, LoadBalancer, ZoneMapping};
pub use name::{
    AclName, CertificateName, HealthCheckTemplateName, ListenerName, LoadBalancerName, NextHopName,
    RegionName, RuleName, SecurityPolicyName, ServerGroupName, TransitRouterName, VpcName, VswitchName,
    ZoneName,
};
pub use node::{AdmissionMode, Node, NodeZone, Tunnel};
pub use quota::Quotas;
pub use rule::{
    Actions, Condition, Cors, Extension, FieldCondition, Final, FixedResponse, Forward, GroupShare,
    HeaderValue, InsertHeader, Ordered, Origins, Pair, Pattern, Redirect, Rewrite, Rule, RuleDirection,
    StatusPattern, SystemValue, TrafficLimit,
};
pub use security_policy::{SecurityPolicy, TlsVersion};
pub use server_group::{
    ConnectionDrain, GroupProtocol, HashFactor, Scheduler, Server, ServerAddress, ServerGroup,
    ServerGroupType, ServerId, SlowStart, StickySession, TlsVerification, Weight,
};
pub use template::{Piece, Template};
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
    /// Listeners, with their rules.
    pub listeners: BTreeMap<ListenerName, Listener>,
    /// Access control lists that listeners refer to.
    pub acls: BTreeMap<AclName, Acl>,
    /// TLS policies beyond those of the system (LR-22).
    pub security_policies: BTreeMap<SecurityPolicyName, SecurityPolicy>,
    /// Machines and functions that servers refer to by id.
    pub inventory: Inventory,
    /// Reusable health checks (SG-194).
    pub health_check_templates: BTreeMap<HealthCheckTemplateName, HealthCheckTemplate>,
}
