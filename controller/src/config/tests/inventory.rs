//! Instances and interfaces.

use super::*;
use crate::model::{InstanceKind, VswitchName};
use std::net::IpAddr;

/// Errors where `NETWORK` is edited.
#[track_caller]
fn edited(edits: &[(&str, &str)]) -> Vec<String> {
    told(&parse_resources(&edit(NETWORK, edits), "r.yaml").expect_err("it should be refused"))
}

// Holds SG-36, SG-39
#[test]
fn knows_instances_by_their_interfaces() {
    let inventory = parse_resources(NETWORK, "r.yaml").unwrap().value.inventory;
    let instance = &inventory.instances["i-web1"];
    assert_eq!(instance.kind, InstanceKind::Ecs);
    assert_eq!(instance.interfaces, ["eni-web1", "eni-web1b"]);
    assert_eq!(inventory.instances["i-box1"].kind, InstanceKind::Eci);
    let interface = &inventory.interfaces["eni-web1"];
    assert_eq!(
        (interface.instance.as_deref(), &interface.vswitch),
        (Some("i-web1"), &VswitchName::new("vsw1"))
    );
    assert_eq!(
        interface.addresses,
        ["172.16.1.20", "172.16.1.21"].map(|text| text.parse::<IpAddr>().unwrap())
    );
    assert_eq!(interface.ipv6_addresses, ["2001:db8:16:1::20"].map(|text| text.parse::<IpAddr>().unwrap()));
    assert_eq!(inventory.interfaces["eni-spare"].instance, None);
}

#[test]
fn ids_are_distinct_and_well_formed() {
    assert_eq!(
        edited(&[("- id: i-box1", "- id: i-web1")]),
        ["DuplicatedParam.InstanceId | instance i-web1 | id \"i-web1\""]
    );
    assert_eq!(
        edited(&[("id: eni-spare", "id: eni-web1")]),
        ["DuplicatedParam.NetworkInterfaceId | interface eni-web1 | id \"eni-web1\""]
    );
    assert_eq!(
        edited(&[("- id: i-box1", "- id: \"i box\"")]),
        ["IllegalParam.InstanceId | instance i box | id \"i box\""]
    );
    assert_eq!(
        edited(&[("    type: Eci\n", "    type: Eks\n")]),
        ["IllegalParam.InstanceType | instance i-box1 | type Eks"]
    );
}

#[test]
fn addresses_are_distinct_within_a_vpc_and_inside_their_vswitch() {
    let interface = "instance i-box1, interface eni-box1";
    for taken in ["172.16.2.20", "172.16.1.21"] {
        assert!(
            edited(&[("address: 172.16.2.30", &format!("address: {taken}"))])
                .contains(&format!("Conflict.Address | {interface} | address {taken}"))
        );
    }
    assert_eq!(
        edited(&[("address: 172.16.2.30", "address: 172.16.3.30")]),
        [format!("IllegalParam.PrimaryIpAddress | {interface} | address 172.16.3.30")]
    );
    assert_eq!(
        edited(&[("secondary_addresses: [172.16.1.21]", "secondary_addresses: [172.16.2.21]")]),
        ["IllegalParam.PrivateIpAddresses | instance i-web1, interface eni-web1 | \
             secondary_addresses 172.16.2.21"]
    );
    assert_eq!(
        edited(&[("[\"2001:db8:16:1::20\"]", "[\"2001:db8:16:2::20\"]")]),
        ["IllegalParam.Ipv6Addresses | instance i-web1, interface eni-web1 | \
             ipv6_addresses 2001:db8:16:2::20"]
    );
    assert_eq!(
        edited(&[("eni-far1, vswitch: vsw3,", "eni-far1, vswitch: vsw3, ipv6_addresses: [\"fd00::1\"],")]),
        [
            "OperationDenied.VSwitchNotSupportIpv6 | instance i-far1, interface eni-far1 | ipv6_addresses fd00::1"
        ]
    );
    let same_elsewhere = [(
        "{id: eni-far1, vswitch: vsw3, address: 192.168.1.20}",
        "{id: eni-far1, vswitch: vsw3, address: 192.168.1.30}",
    )];
    parse_resources(&edit(NETWORK, &same_elsewhere), "r.yaml").unwrap();
}

#[test]
fn names_what_is_missing_or_unknown() {
    assert_eq!(
        edited(&[("    interfaces: [{id: eni-box1, vswitch: vsw2, address: 172.16.2.30}]\n", "")]),
        ["MissingParam.NetworkInterfaces | instance i-box1 | "]
    );
    assert_eq!(
        edited(&[("{id: eni-box1, vswitch: vsw2, address: 172.16.2.30}", "{id: eni-box1, vpc: vpc1}")]),
        [
            "MissingParam.VSwitchId | instance i-box1, interface eni-box1 | ",
            "MissingParam.PrimaryIpAddress | instance i-box1, interface eni-box1 | ",
            "IllegalParam.VpcId | instance i-box1, interface eni-box1 | vpc",
        ]
    );
    assert_eq!(
        edited(&[("{id: eni-box1, vswitch: vsw2,", "{id: eni-box1, vswitch: vsw3,")]),
        ["ResourceNotFound.VSwitch | instance i-box1, interface eni-box1 | vSwitch \"vsw3\""]
    );
    assert_eq!(
        edited(&[("{id: eni-spare, vpc: vpc1,", "{id: eni-spare, vpc: vpc9,")]),
        ["ResourceNotFound.Vpc | interface eni-spare | VPC \"vpc9\""]
    );
    assert_eq!(
        edited(&[("{id: eni-spare, vpc: vpc1,", "{id: eni-spare,")]),
        ["MissingParam.VpcId | interface eni-spare | "]
    );
}

#[test]
fn a_wrong_entry_is_one_error_and_not_also_one_for_each_server_that_names_it() {
    let text = edit(
        &network_text(
            &[&group_yaml("Instance", "servers: [{eci: i-box1, port: 80}, {eni: eni-box1, port: 81}]")],
            &[],
        ),
        &[("address: 172.16.2.30", "address: nonsense")],
    );
    assert_eq!(
        told(&parse_resources(&text, "r.yaml").unwrap_err()),
        ["IllegalParam.PrimaryIpAddress | instance i-box1, interface eni-box1 | address nonsense"]
    );
}
