//! Servers of groups of type Instance.

use super::*;
use crate::model::{ServerId, ZoneName};

/// The one server of a group of type Instance, as `ID address zone`.
#[track_caller]
fn member(entry: &str) -> String {
    let group = group("Instance", &format!("servers: [{entry}]"));
    let [server] = group.servers.as_slice() else { panic!("{group:?}") };
    let zone = server.zone.as_ref().map_or("-", ZoneName::as_str);
    format!("{} {} {zone}", server.id, server.address)
}

#[track_caller]
fn refused(entry: &str, expected: &str) {
    assert_eq!(
        group_errors("Instance", &format!("servers: [{entry}]")),
        [expected.replace(" | ", " | server group \"g1\", server ").replace(" / ", " | ")]
    );
}

// Holds SG-6, SG-30, SG-31, SG-175
#[test]
fn takes_addresses_from_the_inventory() {
    assert_eq!(member("{ecs: i-web1, port: 80}"), "ecs i-web1 172.16.1.20:80 chengdu-a");
    assert_eq!(member("{eni: eni-web1, port: 80}"), "eni eni-web1 172.16.1.20:80 chengdu-a");
    assert_eq!(member("{eni: eni-web1b, port: 81}"), "eni eni-web1b 172.16.2.20:81 chengdu-b");
    assert_eq!(member("{eci: i-box1, port: 80}"), "eci i-box1 172.16.2.30:80 chengdu-b");
    let group = group("Instance", "servers: [{ecs: i-web1, port: 80, weight: 7, description: first}]");
    let server = &group.servers[0];
    assert_eq!((&server.id, server.weight.get()), (&ServerId::Ecs("i-web1".to_owned()), 7));
    assert_eq!(server.description.as_deref(), Some("first"));
}

// Holds SG-36
#[test]
fn takes_a_secondary_address_that_is_named() {
    assert_eq!(
        member("{eni: eni-web1, address: 172.16.1.21, port: 80}"),
        "eni eni-web1 172.16.1.21:80 chengdu-a"
    );
    assert_eq!(
        group_warnings("Instance", "servers: [{eni: eni-web1, address: 172.16.1.21, port: 80}]"),
        [""; 0]
    );
    assert_eq!(
        member("{ecs: i-web1, address: 172.16.2.20, port: 80}"),
        "ecs i-web1 172.16.2.20:80 chengdu-b"
    );
}

// Holds SG-32
#[test]
fn takes_what_fits_the_type_of_the_group() {
    refused("{address: 172.16.1.20, port: 80}", "Mismatch.ServerType | 172.16.1.20:80 / address");
    refused("{function: resize, port: 80}", "Mismatch.ServerType | resize:80 / function");
    refused("{eci: i-web1, port: 80}", "Mismatch.ServerType | i-web1:80 / id i-web1");
    refused("{ecs: i-box1, port: 80}", "Mismatch.ServerType | i-box1:80 / id i-box1");
    refused("{port: 80}", "MissingParam.ServerId | 80 / ");
    refused(
        "{ecs: i-web1, eni: eni-web1, port: 80}",
        "IllegalParam.ServerType | i-web1:eni-web1:80 / ecs, eni",
    );
    for (key, id) in [("ecs", "i-web1"), ("eni", "eni-web1"), ("eci", "i-box1"), ("function", "resize")] {
        assert_eq!(
            group_errors("Ip", &format!("servers: [{{{key}: {id}, port: 80}}]")),
            [format!("Mismatch.ServerType | server group \"g1\", server {id}:80 | {key}")]
        );
    }
    assert_eq!(
        group_errors("Fc", "servers: [{ecs: i-web1}]"),
        ["Mismatch.ServerType | server group \"g1\", server i-web1 | ecs"]
    );
}

// Holds SG-33
#[test]
fn needs_a_port() {
    refused("{ecs: i-web1}", "MissingParam.Port | i-web1 / ");
    refused("{ecs: i-web1, port: 65536}", "IllegalParam.Port | i-web1:65536 / port 65536");
}

// Holds SG-6
#[test]
fn refuses_instances_of_another_vpc() {
    refused("{ecs: i-far1, port: 80}", "Mismatch.VpcId | i-far1:80 / VPC \"vpc2\"");
    refused("{eni: eni-far1, port: 80}", "Mismatch.VpcId | eni-far1:80 / VPC \"vpc2\"");
}

// Holds SG-39
#[test]
fn refuses_interfaces_that_are_bound_to_nothing() {
    refused("{eni: eni-spare, port: 80}", "IncorrectStatus.Eni | eni-spare:80 / id eni-spare");
}

#[test]
fn refuses_what_the_inventory_has_not() {
    refused("{ecs: i-wbe1, port: 80}", "ResourceNotFound.Ecs | i-wbe1:80 / id i-wbe1");
    refused("{eni: eni-9, port: 80}", "ResourceNotFound.Eni | eni-9:80 / id eni-9");
    refused("{eci: i-9, port: 80}", "ResourceNotFound.Eci | i-9:80 / id i-9");
    let text = network_text(&[&group_yaml("Instance", "servers: [{ecs: i-wbe1, port: 80}]")], &[]);
    let error = sentences(parse_resources(&text, "r.yaml").unwrap_err().findings()).remove(0);
    assert!(error.ends_with("did you mean i-web1? defined: \"i-far1\", \"i-web1\""), "{error}");
}

// Holds SG-50, XR-2
#[test]
fn refuses_remote_members() {
    refused(
        "{ecs: i-web1, port: 80, remote_ip: true}",
        "IllegalParam.RemoteIpEnabled | i-web1:80 / remote_ip true",
    );
    assert_eq!(member("{ecs: i-web1, port: 80, remote_ip: false}"), "ecs i-web1 172.16.1.20:80 chengdu-a");
    assert_eq!(
        group_errors("Fc", "servers: [{function: resize, remote_ip: true}]"),
        ["IllegalParam.RemoteIpEnabled | server group \"g1\", server resize | remote_ip true"]
    );
}

// Holds SG-38
#[test]
fn refuses_one_address_and_port_under_two_names() {
    assert_eq!(
        group_errors("Instance", "servers: [{ecs: i-web1, port: 80}, {eni: eni-web1, port: 80}]"),
        ["DuplicatedParam.Server | server group \"g1\", server eni-web1:80 | "]
    );
    let two = group("Instance", "servers: [{ecs: i-web1, port: 80}, {ecs: i-web1, port: 81}]");
    assert_eq!(two.servers.len(), 2);
}

// Holds SG-40
#[test]
fn keeps_an_address_that_the_inventory_no_longer_has_and_says_so() {
    for (entry, id) in [
        ("{ecs: i-web1, address: 172.16.1.99, port: 80}", "ecs i-web1"),
        ("{eni: eni-web1, address: 172.16.1.99, port: 80}", "eni eni-web1"),
        ("{ecs: i-gone, address: 172.16.1.99, port: 80}", "ecs i-gone"),
        ("{eni: eni-gone, address: 172.16.1.99, port: 80}", "eni eni-gone"),
    ] {
        assert_eq!(member(entry), format!("{id} 172.16.1.99:80 chengdu-a"));
        let warnings = group_warnings("Instance", &format!("servers: [{entry}]"));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("probed"), "{warnings:?}");
    }
    refused(
        "{ecs: i-web1, address: 192.168.1.99, port: 80}",
        "IllegalParam.ServerIp | i-web1:192.168.1.99:80 / address 192.168.1.99",
    );
    refused(
        "{ecs: i-gone, address: 8.8.8.8, port: 80}",
        "IllegalParam.ServerIp | i-gone:8.8.8.8:80 / address 8.8.8.8",
    );
}

// Holds SG-60, SG-64
#[test]
fn mixes_families_where_ipv6_is_on() {
    let v6 = "{ecs: i-web1, address: \"2001:db8:16:1::20\", port: 80}";
    let both = group("Instance", &format!("ipv6_enabled: true, servers: [{v6}, {{ecs: i-web1, port: 80}}]"));
    let addresses: Vec<String> = both.servers.iter().map(|server| server.address.to_string()).collect();
    assert_eq!(addresses, ["[2001:db8:16:1::20]:80", "172.16.1.20:80"]);
    refused(
        v6,
        "OperationDenied.ServerGroupNotSupportIpv6 | i-web1:[2001:db8:16:1::20]:80 / address 2001:db8:16:1::20",
    );
    assert_eq!(
        group_errors(
            "Instance",
            "ipv6_enabled: true, servers: [{ecs: i-web1, address: \"fd00::1\", port: 80}]"
        ),
        ["IllegalParam.ServerIp | server group \"g1\", server i-web1:[fd00::1]:80 | address fd00::1"]
    );
}
