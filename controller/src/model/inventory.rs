//! What servers refer to by id: instances with their interfaces, and functions (D-5, SG-39, SG-70).

use super::{RegionName, VpcName, VswitchName};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Machines and functions that groups may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Machines, by id.
    pub instances: BTreeMap<String, Instance>,
    /// Interfaces, bound or not, by id.
    pub interfaces: BTreeMap<String, NetworkInterface>,
    /// Functions, by ARN without qualifier.
    pub functions: BTreeMap<String, Function>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// Which type of server it is.
    pub kind: InstanceKind,
    /// Interfaces by id, the primary one first; at least one.
    pub interfaces: Vec<String>,
}

/// Kinds of machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceKind {
    /// An ordinary instance.
    Ecs,
    /// A container instance.
    Eci,
}

/// A network interface of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkInterface {
    /// Its id.
    pub id: String,
    /// The instance it is bound to; only bound ones can be servers (SG-39).
    pub instance: Option<String>,
    /// Its network.
    pub vpc: VpcName,
    /// Its subnet, and so its zone.
    pub vswitch: VswitchName,
    /// Primary private IPv4 address first, then secondary ones (SG-36).
    pub addresses: Vec<IpAddr>,
    /// IPv6 addresses.
    pub ipv6_addresses: Vec<IpAddr>,
}

/// A function (SG-70, SG-71, D-9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// ARN without qualifier.
    pub arn: String,
    /// Name within its region.
    pub name: String,
    /// Its region, the balancer's (SG-70).
    pub region: RegionName,
    /// Version of the platform.
    pub platform: FunctionPlatform,
    /// What its code handles.
    pub handler: FunctionHandler,
    /// Trigger of each version or alias; `LATEST` is one.
    pub triggers: BTreeMap<String, FunctionTrigger>,
}

/// Versions of the function platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionPlatform {
    /// 2.0
    V2,
    /// 3.0
    V3,
}

/// What a function's code handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionHandler {
    /// HTTP requests.
    Http,
    /// Events; needs an HTTP trigger on platform 2.0.
    Event,
}

/// Where a function is called: `http://AUTHORITY/PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionTrigger {
    /// Whether the URL is `https`.
    pub tls: bool,
    /// Host and port as written in the URL; sent as Host.
    pub authority: String,
    /// Path that requests' paths are appended to; no `/` at its end, empty for the root.
    pub path_prefix: String,
}
