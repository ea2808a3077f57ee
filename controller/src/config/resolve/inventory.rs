//! Instances and interfaces that servers refer to by id (SG-39, D-5).

use super::rules::list;
use super::{Declared, VswitchFacts};
use crate::config::ErrorFamily::{Conflict, IllegalParam, MissingParam, OperationDenied};
use crate::config::decode::{At, Field, Head, Report};
use crate::config::file::{InstanceEntry, InterfaceEntry, ResourcesFile};
use crate::model::{Instance, InstanceKind, Inventory, NetworkInterface, VpcName, VswitchName};
use ipnet::IpNet;
use serde_saphyr::Location;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Instances and interfaces, as far as they could be made out; functions are added by [`super::functions`].
pub(super) fn resolve_inventory(
    file: &ResourcesFile,
    declared: &Declared,
    report: &mut Report<'_>,
) -> Inventory {
    let mut inventory = Inventory::default();
    let mut addresses = Addresses::default();
    for entry in file.instances.items() {
        let Some((instance, interfaces)) = resolve_instance(entry, declared, &mut addresses, report) else {
            continue;
        };
        inventory
            .interfaces
            .extend(interfaces.into_iter().map(|interface| (interface.id.clone(), interface)));
        inventory.instances.insert(instance.id.clone(), instance);
    }
    for entry in file.network_interfaces.items() {
        let vpc = report
            .required(&entry.head, "vpc", &entry.vpc, "name the VPC the interface belongs to")
            .and_then(|text| report.reference(&entry.head, "VPC", text, &declared.vpcs));
        let interface = resolve_interface(entry, vpc.as_deref(), None, declared, &mut addresses, report);
        inventory.interfaces.extend(interface.map(|interface| (interface.id.clone(), interface)));
    }
    inventory
}

fn resolve_instance(
    entry: &InstanceEntry,
    declared: &Declared,
    addresses: &mut Addresses,
    report: &mut Report<'_>,
) -> Option<(Instance, Vec<NetworkInterface>)> {
    let head = &entry.head;
    let id = report.label(head, "id", &entry.id);
    let kinds = [("Ecs", InstanceKind::Ecs), ("Eci", InstanceKind::Eci)];
    let kind = report.choice_or(head, "type", &entry.instance_type, InstanceKind::Ecs, &kinds, &[]);
    let vpc = report
        .required(head, "vpc", &entry.vpc, "name the VPC the instance lives in")
        .and_then(|text| report.reference(head, "VPC", text, &declared.vpcs));
    if entry.interfaces.items().is_empty() && !matches!(entry.interfaces, Field::Bad) {
        report.error(
            head.code(MissingParam, "interfaces"),
            head.at,
            &head.subject,
            "",
            "an instance has at least one interface",
            "write `interfaces: [{id: ..., vswitch: ..., address: ...}]`, the primary one first",
        );
    }
    let interfaces: Vec<NetworkInterface> = entry
        .interfaces
        .items()
        .iter()
        .filter_map(|interface| {
            if let Some(at) = interface.vpc.at() {
                let code = interface.head.code(IllegalParam, "vpc");
                let rule = "interfaces of an instance are in its VPC";
                report.error(code, at, &interface.head.subject, "vpc", rule, "remove it");
            }
            resolve_interface(interface, vpc.as_deref(), id.as_deref(), declared, addresses, report)
        })
        .collect();
    let ids: Vec<String> = interfaces.iter().map(|interface| interface.id.clone()).collect();
    Some((Instance { id: id?, kind: kind?, interfaces: ids }, interfaces))
}

fn resolve_interface(
    entry: &InterfaceEntry,
    vpc: Option<&str>,
    instance: Option<&str>,
    declared: &Declared,
    addresses: &mut Addresses,
    report: &mut Report<'_>,
) -> Option<NetworkInterface> {
    let head = &entry.head;
    let id = report.label(head, "id", &entry.id);
    let vswitch_text = report.required(head, "vswitch", &entry.vswitch, "name the vSwitch it is in");
    let vswitch = match (vpc, vswitch_text) {
        (Some(vpc), Some(text)) => {
            let of_vpc = declared.vswitches.get(vpc).cloned().unwrap_or_default();
            report.reference(head, "vSwitch", text, &of_vpc)
        }
        _ => None,
    };
    let facts = vpc.zip(vswitch.as_deref()).and_then(|(vpc, name)| declared.vswitch(vpc, name));
    let primary = report.required(head, "address", &entry.address, "write its primary private IPv4 address");
    let secondary = entry.secondary_addresses.items();
    let v4_keys = std::iter::once("address").chain(std::iter::repeat("secondary_addresses"));
    let v4: Vec<(&str, At<IpAddr>)> =
        v4_keys.zip(primary.into_iter().chain(secondary).map(At::from)).collect();
    let v6: Vec<(&str, At<IpAddr>)> =
        entry.ipv6_addresses.items().iter().map(|address| ("ipv6_addresses", At::from(address))).collect();
    for (key, address) in v4.iter().chain(&v6) {
        check_address(head, key, address, facts, report);
        if let Some(vpc) = vpc {
            addresses.claim(head, vpc, address, report);
        }
    }
    primary?;
    Some(NetworkInterface {
        id: id?,
        instance: instance.map(str::to_owned),
        vpc: VpcName::new(vpc?),
        vswitch: VswitchName::new(vswitch?),
        addresses: v4.into_iter().map(|(_, address)| address.value).collect(),
        ipv6_addresses: v6.into_iter().map(|(_, address)| address.value).collect(),
    })
}

/// Whether the address lies in the interface's vSwitch.
fn check_address(
    head: &Head,
    key: &str,
    address: &At<IpAddr>,
    vswitch: Option<&VswitchFacts>,
    report: &mut Report<'_>,
) {
    let Some(vswitch) = vswitch else { return };
    let network = match address.value {
        IpAddr::V4(_) => vswitch.cidr.map(IpNet::V4),
        IpAddr::V6(_) if !vswitch.has_ipv6 => {
            report.error(
                OperationDenied.of("VSwitchNotSupportIpv6"),
                address.at,
                &head.subject,
                format!("{key} {}", address.value),
                "its vSwitch has no IPv6 CIDR",
                "write the vSwitch's `ipv6_cidr`",
            );
            return;
        }
        IpAddr::V6(_) => vswitch.ipv6_cidr.map(IpNet::V6),
    };
    if let Some(network) = network.filter(|network| !network.contains(&address.value)) {
        report.error(
            head.code(IllegalParam, key),
            address.at,
            &head.subject,
            format!("{key} {}", address.value),
            format!("not inside the vSwitch's CIDR {network}"),
            format!("write an address of {network}, or name another vSwitch"),
        );
    }
}

/// Who has which address of a VPC.
#[derive(Default)]
struct Addresses(BTreeMap<(String, IpAddr), Location>);

impl Addresses {
    fn claim(&mut self, head: &Head, vpc: &str, address: &At<IpAddr>, report: &mut Report<'_>) {
        if let Some(first) = self.0.insert((vpc.to_owned(), address.value), address.at) {
            report.error(
                Conflict.of("Address"),
                address.at,
                &head.subject,
                format!("address {}", address.value),
                format!("an interface of VPC {} has it already, on line {}", list([vpc]), first.line()),
                "give each interface its own addresses",
            );
        }
    }
}
