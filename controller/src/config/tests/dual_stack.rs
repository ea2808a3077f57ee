//! IPv6: VPCs, load balancers, groups of addresses.

use super::*;
use crate::model::{IpVersion, LoadBalancerName};

/// Errors where `NETWORK` is edited.
#[track_caller]
fn edited(edits: &[(&str, &str)]) -> Vec<String> {
    told(&parse_resources(&edit(NETWORK, edits), "r.yaml").expect_err("it should be refused"))
}

const ZONE: &str = "load balancer \"alb1\", zone chengdu-a";

#[test]
fn a_dual_stack_balancer_has_ipv6_addresses_in_every_zone() {
    let resources = parse_resources(NETWORK, "r.yaml").unwrap().value;
    let balancer = &resources.load_balancers[&LoadBalancerName::new("alb1")];
    assert_eq!(balancer.address_ip_version, IpVersion::DualStack);
    let mapping = &balancer.zone_mappings[0];
    assert_eq!(mapping.ipv6_vip, Some("2001:db8:203::10".parse().unwrap()));
    assert_eq!(
        mapping.ipv6_local_addresses,
        ["2001:db8:16:1::11", "2001:db8:16:1::12"].map(|text| text.parse::<std::net::Ipv6Addr>().unwrap())
    );
    assert_eq!(resources.load_balancers[&LoadBalancerName::new("alb4")].address_ip_version, IpVersion::Ipv4);

    assert_eq!(
        edited(&[("        ipv6_vip: 2001:db8:203::10\n", "")]),
        [format!("MissingParam.Ipv6Address | {ZONE} | ")]
    );
    let locals = "ipv6_local_addresses: [\"2001:db8:16:1::11\", \"2001:db8:16:1::12\"]";
    assert_eq!(
        edited(&[(&format!("        {locals}\n"), "")]),
        [format!("MissingParam.Ipv6LocalAddresses | {ZONE} | 0 IPv6 local addresses")]
    );
    assert_eq!(
        edited(&[(locals, "ipv6_local_addresses: [\"2001:db8:16:1::11\"]")]),
        [format!("IllegalParam.Ipv6LocalAddresses | {ZONE} | 1 IPv6 local address")]
    );
}

#[test]
fn ipv6_addresses_are_in_their_vswitch_and_of_hosts_and_distinct() {
    for wrong in ["2001:db8:16:2::99", "2001:db8:16:1::"] {
        assert_eq!(
            edited(&[(
                "[\"2001:db8:16:1::11\", \"2001:db8:16:1::12\"]",
                &format!("[\"2001:db8:16:1::11\", \"{wrong}\"]")
            )]),
            [format!("IllegalParam.Ipv6LocalAddresses | {ZONE} | IPv6 local address {wrong}")]
        );
    }
    for wrong in ["::1", "::", "ff02::1", "fe80::1", "::ffff:10.0.0.1"] {
        let written = format!("ipv6_vip: \"{wrong}\"");
        assert_eq!(
            edited(&[("ipv6_vip: 2001:db8:203::10", &written)]),
            [format!("IllegalParam.Ipv6Address | {ZONE} | ipv6_vip {wrong}")]
        );
    }
    assert_eq!(
        edited(&[("ipv6_vip: 2001:db8:203::11", "ipv6_vip: 2001:db8:203::10")]),
        ["Conflict.Address | load balancer \"alb1\", zone chengdu-b | address 2001:db8:203::10"]
    );
    assert_eq!(
        edited(&[("\"2001:db8:16:1::12\"]", "\"2001:db8:16:1::11\"]")]),
        [format!("Conflict.Address | {ZONE} | address 2001:db8:16:1::11")]
    );
}

#[test]
fn ipv6_settings_belong_to_dual_stack_balancers() {
    assert_eq!(
        edited(&[("    address_ip_version: DualStack\n", "")])[..2],
        [
            format!("IllegalParam.Ipv6Address | {ZONE} | ipv6_vip"),
            format!("IllegalParam.Ipv6LocalAddresses | {ZONE} | ipv6_local_addresses"),
        ]
    );
    assert_eq!(
        edited(&[("address_ip_version: DualStack", "address_ip_version: IPv6")]),
        ["IllegalParam.AddressIpVersion | load balancer \"alb1\" | address_ip_version IPv6"]
    );
}

// Holds SG-61
#[test]
fn dual_stack_needs_ipv6_in_the_vpc_and_its_vswitches() {
    assert_eq!(
        edited(&[("cidr: 172.16.2.0/24, ipv6_cidr: \"2001:db8:16:2::/64\"", "cidr: 172.16.2.0/24")]),
        ["OperationDenied.VSwitchNotSupportIpv6 | load balancer \"alb1\", zone chengdu-b | vswitch \"vsw2\""]
    );
    let errors = edited(&[("    ipv6_cidr: 2001:db8:16::/56\n", "")]);
    assert_eq!(
        errors,
        [
            "OperationDenied.VpcNotSupportIpv6 | VPC \"vpc1\", vSwitch \"vsw1\" | ipv6_cidr 2001:db8:16:1::/64",
            "OperationDenied.VpcNotSupportIpv6 | VPC \"vpc1\", vSwitch \"vsw2\" | ipv6_cidr 2001:db8:16:2::/64",
            "OperationDenied.VpcNotSupportIpv6 | load balancer \"alb1\" | address_ip_version DualStack",
        ]
    );
}

#[test]
fn ipv6_cidrs_are_networks_of_hosts_inside_each_other() {
    for wrong in ["2001:db8:16::1/56", "fe80::/64", "ff00::/8", "::/0", "::ffff:0.0.0.0/96"] {
        let errors = edited(&[("ipv6_cidr: 2001:db8:16::/56", &format!("ipv6_cidr: \"{wrong}\""))]);
        assert_eq!(errors, [format!("IllegalParam.Ipv6CidrBlock | VPC \"vpc1\" | ipv6_cidr {wrong}")]);
    }
    parse_resources(&NETWORK.replace("2001:db8:16:", "fd00:10:16:"), "r.yaml").unwrap();
    assert_eq!(
        edited(&[("cidr: 192.168.1.0/24}", "cidr: 192.168.1.0/24, ipv6_cidr: \"fd00::/64\"}")]),
        ["OperationDenied.VpcNotSupportIpv6 | VPC \"vpc2\", vSwitch \"vsw3\" | ipv6_cidr fd00::/64"]
    );
    let outside = edited(&[("\"2001:db8:16:2::/64\"", "\"2001:db8:17:2::/64\"")]);
    assert_eq!(
        outside[0],
        "IllegalParam.Ipv6CidrBlock | VPC \"vpc1\", vSwitch \"vsw2\" | ipv6_cidr 2001:db8:17:2::/64"
    );
    let twice = edited(&[("\"2001:db8:16:2::/64\"", "\"2001:db8:16:1::/64\"")]);
    assert_eq!(
        twice[0],
        "Conflict.Ipv6CidrBlock | VPC \"vpc1\", vSwitch \"vsw2\" | ipv6_cidr 2001:db8:16:1::/64"
    );
}

/// Errors of one server of an IPv6 group of addresses.
fn of_ipv6_group(server: &str) -> Vec<String> {
    let group = group_yaml("Ip", &format!("ipv6_enabled: true, servers: [{server}]"));
    network_with(&[&group], &[]).map_or_else(|errors| told(&errors), |_| vec![])
}

// Holds SG-41, SG-60, SG-63, XR-109
#[test]
fn an_ipv6_group_takes_addresses_of_the_vpc_only() {
    for inside in ["2001:db8:16::", "2001:db8:16:ff:ffff:ffff:ffff:ffff", "2001:db8:16:9::1"] {
        assert_eq!(of_ipv6_group(&format!("{{address: \"{inside}\", port: 80}}")), [""; 0]);
    }
    for outside in ["2001:db8:15:ffff::1", "2001:db8:16:100::", "fd00::1", "fe80::1", "::1"] {
        assert_eq!(
            of_ipv6_group(&format!("{{address: \"{outside}\", port: 80}}")),
            [format!(
                "IllegalParam.ServerIp | server group \"g1\", server [{outside}]:80 | address {outside}"
            )]
        );
    }
    assert_eq!(
        of_ipv6_group("{address: 172.16.1.20, port: 80}"),
        ["IllegalParam.ServerIp | server group \"g1\", server 172.16.1.20:80 | address 172.16.1.20"]
    );
    for remote in ["192.168.1.20", "\"2001:db8:16::1\""] {
        let errors = of_ipv6_group(&format!("{{address: {remote}, port: 80, remote_ip: true}}"));
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].starts_with("IllegalParam.RemoteIpEnabled | server group \"g1\", server"),
            "{errors:?}"
        );
    }
}

// Holds SG-60, SG-64
#[test]
fn a_group_without_ipv6_takes_no_ipv6_address() {
    assert!(!group("Ip", "").ipv6);
    for remote in ["", ", remote_ip: true"] {
        assert_eq!(
            group_errors("Ip", &format!("servers: [{{address: \"2001:db8:16::1\", port: 80{remote}}}]")),
            [
                "OperationDenied.ServerGroupNotSupportIpv6 | server group \"g1\", server [2001:db8:16::1]:80 | \
                 address 2001:db8:16::1"
            ]
        );
    }
}

// Holds SG-62
#[test]
fn an_ipv6_group_is_for_dual_stack_balancers() {
    let group = group_yaml("Ip", "ipv6_enabled: true");
    let listener = |balancer: &str| {
        format!("{{name: l1, load_balancer: {balancer}, protocol: HTTP, port: 80, server_group: g1}}")
    };
    network_with(&[&group], &[&listener("alb1")]).unwrap();
    let errors = network_with(&[&group], &[&listener("alb4")]).unwrap_err();
    assert_eq!(told(&errors), ["Mismatch.AddressIpVersion | listener \"l1\" | server group \"g1\""]);
}

// Holds SG-42
#[test]
fn an_ipv6_server_is_no_address_of_the_balancer() {
    assert_eq!(
        of_ipv6_group("{address: \"2001:db8:16:1::11\", port: 80}"),
        ["OperationDenied.ForwardingLoop | server group \"g1\", server [2001:db8:16:1::11]:80 | \
             address 2001:db8:16:1::11"]
    );
}
