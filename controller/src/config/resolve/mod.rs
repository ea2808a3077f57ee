//! From files as written to the model: defaults, names, ranges, and the rules between things.
//!
//! Entries are resolved one by one; a bad one is reported and left out. Rules between things then run over what
//! could be made out, so that one pass reports everything.

mod acl;
mod addresses;
mod attachment;
mod connectivity;
mod forwarding;
mod functions;
mod health_check;
mod inventory;
mod listener;
mod load_balancer;
mod node;
mod quotas;
mod rules;
mod scheduler;
mod security_policy;
mod server_group;
mod servers;
mod sticky_session;
mod tags;
mod tls_verification;
mod together;
mod transit_router;
mod vpc;

pub(super) use node::resolve_node;
pub(super) use together::check_together;

use super::code::ErrorCode;
use super::decode::{Field, Report};
use super::error::{Finding, Place};
use super::file::{ResourcesFile, VpcEntry};
use crate::model::{
    AclName, ListenerName, LoadBalancerName, NextHopName, Resources, RuleDirection, SecurityPolicyName,
    ServerAddress, ServerGroupName, TransitRouterName, VpcName, ZoneName,
};
use ipnet::{Ipv4Net, Ipv6Net};
use serde_saphyr::Location;
use std::collections::BTreeMap;

/// What was declared, whether or not it is right: a reference to a wrong entry is not one more error.
struct Declared {
    vpcs: BTreeMap<String, Location>,
    vpc_facts: BTreeMap<String, VpcFacts>,
    /// By VPC, then by name.
    vswitches: BTreeMap<String, BTreeMap<String, Location>>,
    vswitch_facts: BTreeMap<(String, String), VswitchFacts>,
    transit_routers: BTreeMap<String, Location>,
    load_balancers: BTreeMap<String, Location>,
    server_groups: BTreeMap<String, Location>,
    instances: BTreeMap<String, Location>,
    interfaces: BTreeMap<String, Location>,
    listeners: BTreeMap<String, Location>,
    acls: BTreeMap<String, Location>,
    security_policies: BTreeMap<String, Location>,
}

/// What a load balancer needs to know of a vSwitch.
struct VswitchFacts {
    zone: Option<String>,
    cidr: Option<Ipv4Net>,
    ipv6_cidr: Option<Ipv6Net>,
    /// Whether an IPv6 CIDR is written, right or wrong.
    has_ipv6: bool,
}

/// What servers need to know of their VPC.
#[derive(Clone, Copy)]
struct VpcFacts {
    cidr: Option<Ipv4Net>,
    ipv6_cidr: Option<Ipv6Net>,
    /// As in [`VswitchFacts`].
    has_ipv6: bool,
}

impl Declared {
    fn vswitch(&self, vpc: &str, name: &str) -> Option<&VswitchFacts> {
        self.vswitch_facts.get(&(vpc.to_owned(), name.to_owned()))
    }

    fn collect(file: &ResourcesFile, report: &mut Report<'_>) -> Self {
        // Entries of different kinds may share a name; two of one kind may not.
        macro_rules! names {
            ($noun:literal, $entries:expr) => {
                report.distinct(
                    ($noun, "name"),
                    $entries.items().iter().map(|entry| (&entry.head, &entry.name)),
                )
            };
        }
        let mut declared = Self {
            vpcs: names!("VPC", file.vpcs),
            vpc_facts: BTreeMap::new(),
            vswitches: BTreeMap::new(),
            vswitch_facts: BTreeMap::new(),
            transit_routers: names!("transit router", file.transit_routers),
            load_balancers: names!("load balancer", file.load_balancers),
            server_groups: names!("server group", file.server_groups),
            instances: report.distinct(
                ("instance", "id"),
                file.instances.items().iter().map(|entry| (&entry.head, &entry.id)),
            ),
            interfaces: BTreeMap::new(),
            listeners: names!("listener", file.listeners),
            acls: names!("ACL", file.acls),
            security_policies: names!("security policy", file.security_policies),
        };
        let bound = file.instances.items().iter().flat_map(|instance| instance.interfaces.items());
        let interfaces = bound.chain(file.network_interfaces.items());
        declared.interfaces =
            report.distinct(("interface", "id"), interfaces.map(|entry| (&entry.head, &entry.id)));
        names!("health check template", file.health_check_templates);
        let hops = file.transit_routers.items().iter().flat_map(|router| router.next_hops.items());
        report.distinct(("next hop", "name"), hops.map(|hop| (&hop.head, &hop.name)));
        for vpc in file.vpcs.items() {
            declared.collect_vpc(vpc);
        }
        declared
    }

    fn collect_vpc(&mut self, vpc: &VpcEntry) {
        let Some(name) = vpc.name.good().map(|name| name.value.clone()) else { return };
        let facts = VpcFacts {
            cidr: vpc.cidr.good().map(|cidr| cidr.value.trunc()),
            ipv6_cidr: vpc.ipv6_cidr.good().map(|cidr| cidr.value.trunc()),
            has_ipv6: !matches!(vpc.ipv6_cidr, Field::Absent),
        };
        self.vpc_facts.insert(name.clone(), facts);
        for vswitch in vpc.vswitches.items() {
            let Some(text) = vswitch.name.good() else { continue };
            self.vswitches.entry(name.clone()).or_default().insert(text.value.clone(), text.at);
            let facts = VswitchFacts {
                zone: vswitch.zone.good().map(|zone| zone.value.clone()),
                cidr: vswitch.cidr.good().map(|cidr| cidr.value.trunc()),
                ipv6_cidr: vswitch.ipv6_cidr.good().map(|cidr| cidr.value.trunc()),
                has_ipv6: !matches!(vswitch.ipv6_cidr, Field::Absent),
            };
            self.vswitch_facts.insert((name.clone(), text.value.clone()), facts);
        }
    }
}

/// The resources, as far as they could be made out; whole if nothing was reported.
pub(super) fn resolve_resources(
    file: &ResourcesFile,
    places: &mut Places,
    report: &mut Report<'_>,
) -> Resources {
    let declared = Declared::collect(file, report);
    let mut resources = Resources::default();
    for entry in file.vpcs.items() {
        let vpc = vpc::resolve_vpc(entry, &declared, places, report);
        resources.vpcs.extend(vpc.map(|vpc| (vpc.name.clone(), vpc)));
    }
    for entry in file.transit_routers.items() {
        let router = transit_router::resolve_transit_router(entry, &declared, places, report);
        resources.transit_routers.extend(router.map(|router| (router.name.clone(), router)));
    }
    for entry in file.load_balancers.items() {
        let balancer = load_balancer::resolve_load_balancer(entry, &declared, places, report);
        resources.load_balancers.extend(balancer.map(|balancer| (balancer.name.clone(), balancer)));
    }
    resources.inventory = inventory::resolve_inventory(file, &declared, report);
    let functions = functions::Functions::collect(file, &mut resources.inventory, report);
    for entry in file.health_check_templates.items() {
        let template = health_check::resolve_template(entry, report);
        resources.health_check_templates.extend(template.map(|template| (template.name.clone(), template)));
    }
    for entry in file.server_groups.items() {
        let known = servers::Known { declared: &declared, resources: &resources, functions: &functions };
        let group = server_group::resolve_server_group(entry, &known, places, report);
        resources.server_groups.extend(group.map(|group| (group.name.clone(), group)));
    }
    acl::resolve_acls(file, &mut resources, places, report);
    security_policy::resolve_security_policies(file, &mut resources, places, report);
    for entry in file.listeners.items() {
        let listener = listener::resolve_listener(entry, &declared, places, report);
        resources.listeners.extend(listener.map(|listener| (listener.name.clone(), listener)));
    }
    if file.listeners.items().is_empty() {
        report.warning(file.head.at, "", "no listeners", "nothing is served", "add `listeners`");
    }
    let mut checks = Checks::new([&*places]);
    connectivity::check_connectivity(&resources, &mut checks);
    addresses::check_addresses(&resources, &mut checks);
    listener::check_listeners(&resources, &mut checks);
    forwarding::check_rules(&resources, &mut checks);
    report.errors.append(&mut checks.errors);
    report.warnings.append(&mut checks.warnings);
    resources
}

/// Something in the model whose place in a file a later message may need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    NatPrefix,
    NodeZone(ZoneName),
    TunnelAddress(ZoneName),
    VpcCidr(VpcName),
    Route(VpcName, Ipv4Net),
    Attachment(TransitRouterName, VpcName),
    NextHop(NextHopName),
    HopAddress(NextHopName),
    LoadBalancer(LoadBalancerName),
    Zone(LoadBalancerName, ZoneName),
    Vip(LoadBalancerName, ZoneName),
    Ipv6Vip(LoadBalancerName, ZoneName),
    LocalAddress(LoadBalancerName, ZoneName, usize),
    Ipv6LocalAddress(LoadBalancerName, ZoneName, usize),
    BackToOriginPrefix(LoadBalancerName),
    ServerGroup(ServerGroupName),
    Server(ServerGroupName, ServerAddress),
    /// A server whose address is not written but the inventory's.
    Follower(ServerGroupName, ServerAddress),
    Listener(ListenerName),
    ListenerPort(ListenerName),
    ListenerGroup(ListenerName),
    IdleTimeout(ListenerName),
    RequestTimeout(ListenerName),
    SecurityPolicyOf(ListenerName),
    CaCertificates(ListenerName),
    Certificates(ListenerName),
    QuicUpgrade(ListenerName),
    AclOf(ListenerName),
    Rule(ListenerName, RuleDirection, u16),
    Acl(AclName),
    SecurityPolicy(SecurityPolicyName),
}

/// Where the things of one file stand, and how messages name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    spots: BTreeMap<Spot, (Place, String)>,
    /// For what has no place of its own.
    start: Place,
}

impl Places {
    pub(super) fn new(start: Place) -> Self {
        Self { spots: BTreeMap::new(), start }
    }

    pub(super) fn get(&self, spot: &Spot) -> Option<&(Place, String)> {
        self.spots.get(spot)
    }

    fn set(&mut self, spot: Spot, place: Place, subject: &str) {
        self.spots.insert(spot, (place, subject.to_owned()));
    }
}

/// Collects findings of rules that run over the model.
pub(super) struct Checks<'a> {
    places: Vec<&'a Places>,
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
}

impl<'a> Checks<'a> {
    /// `places`: of each file involved, at least one.
    pub(super) fn new<const N: usize>(places: [&'a Places; N]) -> Self {
        const { assert!(N > 0) };
        Self { places: places.to_vec(), errors: Vec::new(), warnings: Vec::new() }
    }

    pub(super) fn error(
        &mut self,
        code: ErrorCode,
        spot: &Spot,
        value: impl Into<String>,
        rule: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let finding = self.finding(spot, value.into(), rule.into(), remedy.into());
        self.errors.push(Finding { code: Some(code), ..finding });
    }

    pub(super) fn warning(
        &mut self,
        spot: &Spot,
        value: impl Into<String>,
        rule: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let finding = self.finding(spot, value.into(), rule.into(), remedy.into());
        self.warnings.push(finding);
    }

    fn finding(&self, spot: &Spot, value: String, rule: String, remedy: String) -> Finding {
        let known = self.places.iter().find_map(|places| places.spots.get(spot));
        let (place, subject) =
            known.cloned().unwrap_or_else(|| (self.places[0].start.clone(), String::new()));
        Finding { code: None, place, subject, value, rule, remedy }
    }
}
