//! Rules of names, references, load balancers and listeners.

use super::*;

// Holds SG-1, SG-5
#[test]
fn lists_what_is_defined_where_a_reference_leads_nowhere() {
    assert_eq!(
        errors(&[("transit_router: tr-chengdu}", "transit_router: router}")])[0],
        "[ResourceNotFound.TransitRouter] VPC \"vpc1\", route 192.168.0.0/16: transit router \"router\": no transit router of that name is defined; \
         defined transit routers: \"tr-chengdu\", \"tr-hangzhou\""
    );
    assert_eq!(
        errors(&[("{vpc: vpc2,", "{vpc: vcp2,")])[0],
        "[ResourceNotFound.Vpc] transit router \"tr-hangzhou\", attachment vcp2: VPC \"vcp2\": no VPC of that name is defined; \
         did you mean \"vpc2\"? defined VPCs: \"vpc1\", \"vpc2\""
    );
    assert_eq!(
        errors(&[("{peer: tr-hangzhou}", "{peer: nowhere}")]),
        [
            "[ResourceNotFound.TransitRouter] transit router \"tr-chengdu\", attachment nowhere: transit router \"nowhere\": no transit router of that \
          name is defined; defined transit routers: \"tr-chengdu\", \"tr-hangzhou\""
        ]
    );
    assert_eq!(
        errors(&[("vswitch: vsw1", "vswitch: vsw9")]),
        [
            "[ResourceNotFound.VSwitch] load balancer \"alb1\", zone chengdu-a: vSwitch \"vsw9\": no vSwitch of that name is defined; \
          did you mean \"vsw1\"? defined vSwitches: \"vsw1\", \"vsw2\""
        ]
    );
    assert_eq!(
        errors(&[
            ("name: http, load_balancer: alb1", "name: http, load_balancer: nlb"),
            ("server_group: web", "server_group: api")
        ]),
        [
            "[ResourceNotFound.LoadBalancer] listener \"http\": load balancer \"nlb\": no load balancer of that name is defined; \
             defined load balancers: \"alb1\"",
            "[ResourceNotFound.ServerGroup] listener \"http\": server group \"api\": no server group of that name is defined; \
             defined server groups: \"tcp-web\", \"web\"",
        ]
    );
    assert_eq!(
        errors(&[(
            "    type: Ip\n    vpc: vpc1\n    protocol: HTTP",
            "    type: Ip\n    vpc: net\n    protocol: HTTP"
        )]),
        [
            "[ResourceNotFound.Vpc] server group \"web\": VPC \"net\": no VPC of that name is defined; defined VPCs: \"vpc1\", \"vpc2\""
        ]
    );
}

#[test]
fn refuses_two_things_of_one_kind_with_one_name() {
    for (old, new, noun) in [
        ("name: vpc2\n", "name: vpc1\n", "VPC"),
        ("{name: vsw4,", "{name: vsw3,", "vSwitch"),
        ("- name: tr-hangzhou\n", "- name: tr-chengdu\n", "transit router"),
        ("name: tcp-web\n", "name: web\n", "server group"),
        ("{name: tcp,", "{name: http,", "listener"),
    ] {
        let errors = errors(&[(old, new)]);
        assert!(errors.iter().any(|line| line.contains(&format!("another {noun} on line"))), "{errors:?}");
    }
}

// Holds SG-4
#[test]
fn holds_names_to_their_rule() {
    for name in ["x", "-web", "we/b", "\"we\\nb\""] {
        let errors = errors(&[("name: tcp,", &format!("name: {name},"))]);
        assert!(errors[0].contains("a name has 2 to 128 characters"), "{errors:?}");
    }
    warnings(&[("name: tcp,", "name: 二号 tcp.v-2_b,")]);
}

#[test]
fn refuses_a_firewall_edition() {
    assert_eq!(
        errors(&[("edition: Standard", "edition: StandardWithWaf")]),
        [
            "[IllegalParam.LoadBalancerEdition] load balancer \"alb1\": edition StandardWithWaf: there is no web \
          application firewall in this program; write Basic or Standard"
        ]
    );
}

// Holds SG-132, SG-152
#[test]
fn moving_to_edition_basic_names_each_feature_it_has_not() {
    assert_eq!(
        errors(&[("edition: Standard", "edition: Basic")]),
        [
            "[OperationDenied.SlowStartWithBasicEdition] listener \"tcp\": server group \"tcp-web\": slow start is on, \
             and load balancer \"alb1\" is of edition Basic; turn slow start off, or write `edition: Standard`",
            "[OperationDenied.ConnectionDrainWithBasicEdition] listener \"tcp\": server group \"tcp-web\": connection \
             draining is on, and load balancer \"alb1\" is of edition Basic; turn connection draining off, or write \
             `edition: Standard`",
        ]
    );
}

// Holds SG-22
#[test]
fn refuses_a_group_of_another_protocol() {
    assert_eq!(
        errors(&[
            ("server_group: web}", "server_group: tcp-web}"),
            ("port: 9000, server_group: tcp-web", "port: 9000, server_group: web")
        ]),
        [
            "[Mismatch.Protocol] listener \"http\": server group \"tcp-web\": its protocol is TCP; a listener of \
             protocol HTTP takes HTTP, HTTPS; name a group with `protocol: HTTP` or `protocol: HTTPS`",
            "[Mismatch.Protocol] listener \"tcp\": server group \"web\": its protocol is HTTP; a listener of protocol \
             TCP takes TCP; name a group with `protocol: TCP`",
        ]
    );
    assert_eq!(
        errors(&[("    protocol: HTTP\n    scheduler: Wrr", "    protocol: gRPC\n    scheduler: Wrr")]),
        [
            "[Mismatch.Protocol] listener \"http\": server group \"web\": its protocol is gRPC; a listener of protocol \
          HTTP takes HTTP, HTTPS; name a group with `protocol: HTTP` or `protocol: HTTPS`"
        ]
    );
}

// Holds SG-1
#[test]
fn a_listener_forwards_to_a_group() {
    assert_eq!(
        errors(&[(", server_group: web}", "}")]),
        [
            "[MissingParam.ServerGroupId] listener \"http\": `server_group` is missing; name the server group it forwards to"
        ]
    );
}

// Holds SG-88
#[test]
fn believes_the_proxies_that_are_listed() {
    let http = |rest: &str| {
        network_with(
            &[&group_yaml("Ip", "")],
            &[&format!(
                "{{name: l1, load_balancer: alb1, protocol: HTTP, port: 80, server_group: g1{rest}}}"
            )],
        )
    };
    let trusted = |rest: &str| {
        http(rest).unwrap().value.listeners.into_values().next().and_then(|listener| listener.trusted_proxies)
    };
    assert_eq!(trusted(""), None);
    assert_eq!(
        trusted(", trusted_proxies: [10.0.0.0/8, \"2001:db8::/32\", 192.0.2.7/32]"),
        Some(["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"].map(|text| text.parse().unwrap()).to_vec())
    );
    let field = "IllegalParam.XForwardedForClientSourceIpsTrusted | listener \"l1\" | trusted_proxies";
    for (list, value) in
        [("[]", ""), ("[10.0.0.1/8]", " 10.0.0.1/8"), ("[10.0.0.1]", " 10.0.0.1"), ("all", " all")]
    {
        assert_eq!(
            told(&http(&format!(", trusted_proxies: {list}")).unwrap_err()),
            [format!("{field}{value}")]
        );
    }
}

// Holds SG-173
#[test]
fn warns_of_a_zone_that_a_group_without_cross_zone_balancing_does_not_serve() {
    let warnings = |weight: u32| {
        let group = group_yaml(
            "Ip",
            &format!(
                "cross_zone_enabled: false, servers: [{{address: 172.16.1.20, port: 80}}, \
                 {{address: 172.16.2.20, port: 80, weight: {weight}}}]"
            ),
        );
        let listener = "{name: l1, load_balancer: alb1, protocol: HTTP, port: 80, server_group: g1}";
        sentences(network_with(&[&group], &[listener]).unwrap().warnings.findings())
    };
    assert_eq!(warnings(1), [""; 0]);
    assert_eq!(
        warnings(0),
        [
            "listener \"l1\": server group \"g1\": it has no server with a weight in zone chengdu-b, and cross-zone \
          balancing is off: what enters there is not served; add a server in that zone, or turn cross-zone \
          balancing on"
        ]
    );
}

// Holds XR-21
#[test]
fn needs_two_local_addresses_in_every_zone() {
    assert_eq!(
        errors(&[("[172.16.1.11, 172.16.1.12]", "[172.16.1.11]")]),
        [
            "[IllegalParam.Ipv4LocalAddresses] load balancer \"alb1\", zone chengdu-a: 1 local address: a zone needs at least 2: connections to servers \
          come from them; write `local_addresses: [..., ...]`"
        ]
    );
}

// Holds XR-20
#[test]
fn holds_local_addresses_to_their_vswitch() {
    assert_eq!(
        errors(&[("[172.16.1.11, 172.16.1.12]", "[172.16.2.13, 172.16.1.255]")]),
        [
            "[IllegalParam.Ipv4LocalAddresses] load balancer \"alb1\", zone chengdu-a: local address 172.16.2.13: not inside the vSwitch's CIDR \
             172.16.1.0/24; choose a free address of 172.16.1.0/24",
            "[IllegalParam.Ipv4LocalAddresses] load balancer \"alb1\", zone chengdu-a: local address 172.16.1.255: the network's own or its broadcast \
             address; choose another address",
        ]
    );
}

/// Edits that turn the tutorial into the second variant of D-1.
const BACK_TO_ORIGIN: [(&str, &str); 3] = [
    (
        "dns_name: alb1.causeway.test",
        "dns_name: alb1.causeway.test\n    back_to_origin_prefix: 100.64.0.0/24",
    ),
    ("[172.16.1.11, 172.16.1.12]", "[100.64.0.1, 100.64.0.2]"),
    ("[172.16.2.11, 172.16.2.12]", "[100.64.0.3, 100.64.0.4]"),
];

// Holds XR-20, XR-24
#[test]
fn takes_local_addresses_from_a_back_to_origin_prefix() {
    assert_eq!(warnings(&BACK_TO_ORIGIN), [""; 0]);
    assert_eq!(
        errors(&BACK_TO_ORIGIN[..2]),
        ["172.16.2.11", "172.16.2.12"].map(|address| format!(
            "[IllegalParam.Ipv4LocalAddresses] load balancer \"alb1\", zone chengdu-b: local address {address}: not inside the back_to_origin_prefix \
             100.64.0.0/24; choose a free address of 100.64.0.0/24"
        ))
    );
}

// Holds XR-62, XR-101
#[test]
fn refuses_overlapping_back_to_origin_prefixes() {
    let second = "  - name: alb2
    vpc: vpc1
    dns_name: alb2.causeway.test
    back_to_origin_prefix: 100.64.0.128/25
    zone_mappings:
      - {zone: chengdu-a, vswitch: vsw1, vip: 203.0.113.20, local_addresses: [100.64.0.131, 100.64.0.132]}
      - {zone: chengdu-b, vswitch: vsw2, vip: 203.0.113.21, local_addresses: [100.64.0.133, 100.64.0.134]}
server_groups:
";
    let edits = [&BACK_TO_ORIGIN[..], &[("server_groups:\n", second)]].concat();
    assert_eq!(
        errors(&edits),
        [
            "[Conflict.BackToOriginPrefix] load balancer \"alb2\": back_to_origin_prefix 100.64.0.128/25: overlaps that of load balancer \"alb1\" \
          (100.64.0.0/24); answers could go to either; give each load balancer its own prefix"
        ]
    );
}

#[test]
fn refuses_a_back_to_origin_prefix_inside_a_vpc() {
    let edits = [(
        "dns_name: alb1.causeway.test",
        "dns_name: alb1.causeway.test\n    back_to_origin_prefix: 172.16.1.0/24",
    )];
    assert_eq!(
        errors(&edits),
        [
            "[Conflict.BackToOriginPrefix] load balancer \"alb1\": back_to_origin_prefix 172.16.1.0/24: overlaps VPC \"vpc1\" (172.16.0.0/12); use a \
          prefix outside every VPC, such as one of 100.64.0.0/10, or leave it out to use local addresses of the \
          vSwitches",
            "[IllegalParam.Ipv4LocalAddresses] load balancer \"alb1\", zone chengdu-b: local address 172.16.2.11: not inside the back_to_origin_prefix \
          172.16.1.0/24; choose a free address of 172.16.1.0/24",
            "[IllegalParam.Ipv4LocalAddresses] load balancer \"alb1\", zone chengdu-b: local address 172.16.2.12: not inside the back_to_origin_prefix \
          172.16.1.0/24; choose a free address of 172.16.1.0/24"
        ]
    );
}

#[test]
fn gives_every_address_one_use() {
    assert_eq!(
        errors(&[
            ("203.0.113.11", "203.0.113.10"),
            ("[172.16.1.11, 172.16.1.12]", "[172.16.1.11, 172.16.1.254]")
        ]),
        [
            "[Conflict.Address] transit router \"tr-chengdu\", next hop \"tr-chengdu-a\": address 172.16.1.254: it is a local address of \
             load balancer \"alb1\" in zone chengdu-a already; give each its own address",
            "[Conflict.Address] load balancer \"alb1\", zone chengdu-b: address 203.0.113.10: it is the VIP of load balancer \"alb1\" in \
             zone chengdu-a already; give each its own address",
        ]
    );
}

#[test]
fn refuses_a_vip_that_no_host_can_have() {
    assert_eq!(
        errors(&[("vip: 203.0.113.10", "vip: 224.0.0.1")]),
        [
            "[IllegalParam.Address] load balancer \"alb1\", zone chengdu-a: vip 224.0.0.1: no address of a host; choose another address"
        ]
    );
}

// Holds XR-11
#[test]
fn refuses_a_vswitch_of_another_zone() {
    assert_eq!(
        errors(&[("vswitch: vsw1, vip", "vswitch: vsw2, vip")])[0],
        "[Mismatch.ZoneId] load balancer \"alb1\", zone chengdu-a: vswitch \"vsw2\": it is in zone chengdu-b, not chengdu-a; \
         name a vSwitch of this zone"
    );
}

// Holds XR-11
#[test]
fn warns_of_a_single_zone_and_refuses_none() {
    let second = "      - {zone: chengdu-b, vswitch: vsw2, vip: 203.0.113.11, local_addresses: [172.16.2.11, 172.16.2.12]}\n";
    assert_eq!(
        warnings(&[(second, "")]),
        [
            "load balancer \"alb1\": one zone: with a single zone, its loss is the loss of the service; add a second zone"
        ]
    );
    let first = "\n      - {zone: chengdu-a, vswitch: vsw1, vip: 203.0.113.10, local_addresses: [172.16.1.11, 172.16.1.12]}\n";
    assert_eq!(
        errors(&[(second, ""), (first, " []\n")]),
        [
            "[IllegalParam.ZoneMappings] load balancer \"alb1\": 0 zones: a load balancer is in 1 to 10 zones; change `zone_mappings`"
        ]
    );
}

#[test]
fn refuses_two_listeners_on_one_port() {
    assert_eq!(
        errors(&[("port: 9000", "port: 80")]),
        [
            "[ResourceAlreadyExist.Listener] listener \"tcp\": port 80: listener \"http\" has this port of load balancer \"alb1\"; choose another port"
        ]
    );
}

#[test]
fn refuses_a_group_of_another_vpc() {
    let errors = errors(&[("    vpc: vpc1\n    dns_name", "    vpc: vpc2\n    dns_name")]);
    let expected = "[Mismatch.VpcId] listener \"http\": server group \"web\": it belongs to VPC \"vpc1\", load balancer \"alb1\" to VPC \
                    \"vpc2\"; use a group of the load balancer's VPC; servers elsewhere join it with `remote_ip: true`";
    assert!(errors.iter().any(|line| line == expected), "{errors:#?}");
}
