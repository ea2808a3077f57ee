//! Rules of connected networks: CIDRs, attachments, tunnels, routes.

use super::*;

// Holds XR-4, XR-101
#[test]
fn refuses_overlapping_cidrs_of_connected_vpcs() {
    let third = "  - {name: vpc3, region: hangzhou, cidr: 172.20.0.0/16, vswitches: [{name: vsw5, zone: x, cidr: 172.20.1.0/24}]}\n";
    let lone = edit(RESOURCES, &[("transit_routers:\n", &format!("{third}transit_routers:\n"))]);
    assert!(parse_resources(&lone, "r.yaml").is_ok(), "VPCs that are not connected may overlap");
    let joined = edit(
        &lone,
        &[(
            "      - {peer: tr-chengdu}",
            "      - {peer: tr-chengdu}\n      - {vpc: vpc3, vswitches: [vsw5]}",
        )],
    );
    assert_eq!(
        sentences(parse_resources(&joined, "r.yaml").unwrap_err().findings()),
        [
            "[Conflict.CidrBlock] VPC \"vpc3\": cidr 172.20.0.0/16: overlaps VPC \"vpc1\" (172.16.0.0/12), to which transit routers connect \
          it; give connected VPCs CIDRs without common addresses, or remove the attachment"
        ]
    );
}

// Holds XR-4
#[test]
fn follows_connections_through_routers_in_between_and_one_sided_peers() {
    let text = "\
vpcs:
  - {name: vpc-a, region: ra, cidr: 10.0.0.0/16, vswitches: [{name: vsw, zone: a, cidr: 10.0.1.0/24}]}
  - {name: vpc-c, region: rc, cidr: 10.0.128.0/17, vswitches: [{name: vsw, zone: c, cidr: 10.0.200.0/24}]}
transit_routers:
  - {name: tr-a, region: ra, attachments: [{vpc: vpc-a, vswitches: [vsw]}]}
  - {name: tr-b, region: rb, attachments: [{peer: tr-a}]}
  - {name: tr-c, region: rc, attachments: [{vpc: vpc-c, vswitches: [vsw]}, {peer: tr-b}]}
";
    let errors = parse_resources(text, "r.yaml").unwrap_err();
    assert_eq!(errors.findings().len(), 1, "{errors}");
    assert_eq!(errors.findings()[0].place.to_string(), "r.yaml:3:37");
}

// Holds XR-10
#[test]
fn refuses_vswitches_outside_their_vpc_or_over_each_other() {
    assert_eq!(
        errors(&[("cidr: 192.168.1.0/24", "cidr: 192.169.1.0/24")]),
        [
            "[IllegalParam.CidrBlock] VPC \"vpc2\", vSwitch \"vsw3\": cidr 192.169.1.0/24: not inside the VPC's CIDR 192.168.0.0/16; \
          choose a part of 192.168.0.0/16"
        ]
    );
    assert_eq!(
        errors(&[("cidr: 192.168.2.0/24", "cidr: 192.168.0.0/23")]),
        [
            "[Conflict.CidrBlock] VPC \"vpc2\", vSwitch \"vsw4\": cidr 192.168.0.0/23: overlaps vSwitch \"vsw3\" (192.168.1.0/24); \
          choose CIDRs without common addresses"
        ]
    );
}

#[test]
fn refuses_host_bits_and_public_vpcs() {
    assert_eq!(
        errors(&[("cidr: 192.168.1.0/24", "cidr: 192.168.1.7/24")]),
        [
            "[IllegalParam.CidrBlock] VPC \"vpc2\", vSwitch \"vsw3\": cidr 192.168.1.7/24: the address has bits set beyond the prefix length; \
          write 192.168.1.0/24, or 192.168.1.7/32 for the one address"
        ]
    );
    assert_eq!(
        errors(&[("cidr: 172.16.0.0/12", "cidr: 172.0.0.0/8")]),
        ["[IllegalParam.CidrBlock] VPC \"vpc1\": cidr 172.0.0.0/8: not a private range; \
          use a CIDR inside 10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12 or 192.168.0.0/16"]
    );
}

#[test]
fn refuses_routes_into_the_vpc_and_repeated_ones() {
    let route = "- {destination: 192.168.0.0/16, transit_router: tr-chengdu}";
    assert_eq!(
        errors(&[(
            route,
            &format!("{route}\n      - {{destination: 172.31.0.0/16, transit_router: tr-chengdu}}")
        )]),
        [
            "[Conflict.DestinationCidrBlock] VPC \"vpc1\", route 172.31.0.0/16: destination 172.31.0.0/16: overlaps the VPC's own CIDR 172.16.0.0/12, \
          which is always local; route only what lies outside the VPC"
        ]
    );
    assert_eq!(
        errors(&[(route, &format!("{route}\n      {route}"))]),
        [
            "[DuplicatedParam.DestinationCidrBlock] VPC \"vpc1\", route 192.168.0.0/16: destination 192.168.0.0/16: another route of this VPC has the same \
          destination; keep one of them"
        ]
    );
}

// Holds XR-50
#[test]
fn refuses_a_route_over_a_router_that_the_vpc_is_not_attached_to() {
    assert_eq!(
        errors(&[("transit_router: tr-chengdu}", "transit_router: tr-hangzhou}")]),
        [
            "[Mismatch.VpcId] VPC \"vpc1\", route 192.168.0.0/16: transit_router \"tr-hangzhou\": VPC \"vpc1\" is not attached to it; \
          add `{vpc: vpc1, vswitches: [...]}` to the router's attachments"
        ]
    );
}

#[test]
fn warns_of_a_route_over_a_router_without_next_hops() {
    let (start, end) =
        (RESOURCES.find("    next_hops:").unwrap(), RESOURCES.find("  - name: tr-hangzhou").unwrap());
    let text = format!("{}{}", &RESOURCES[..start], &RESOURCES[end..]);
    let parsed = parse_resources(&text, "r.yaml").unwrap();
    assert_eq!(
        sentences(parsed.warnings.findings()),
        [
            "VPC \"vpc1\", route 192.168.0.0/16: transit_router \"tr-chengdu\": it has no next hops: load balancers of \
          this VPC cannot send over this route; add `next_hops` to the transit router"
        ]
    );
}

// Holds XR-31
#[test]
fn attachments_join_one_known_thing_once() {
    assert_eq!(
        errors(&[
            ("{vpc: vpc2, vswitches: [vsw3, vsw4]}", "{vpc: vpc2, vswitches: [vsw3, vsw5]}"),
            (
                "      - {peer: tr-chengdu}",
                "      - {peer: tr-hangzhou}\n      - {}\n      - {vpc: vpc2, vswitches: []}"
            ),
        ]),
        [
            "[ResourceNotFound.VSwitch] transit router \"tr-hangzhou\", attachment vpc2: vSwitch \"vsw5\": no vSwitch of that name is defined; \
             did you mean \"vsw3\"? defined vSwitches: \"vsw3\", \"vsw4\"",
            "[IllegalParam.PeerTransitRouterId] transit router \"tr-hangzhou\", attachment tr-hangzhou: peer \"tr-hangzhou\": a transit router is no peer \
             of itself; name the router of the other region",
            "[IllegalParam.Attachment] transit router \"tr-hangzhou\", attachment #3: an attachment joins either a VPC or a peer; \
             write `vpc: ...` with `vswitches: [...]`, or `peer: ...`",
            "[MissingParam.VSwitchIds] transit router \"tr-hangzhou\", attachment vpc2: vswitches: a VPC is entered through at least one \
             vSwitch; name one vSwitch for each zone: `vswitches: [...]`",
            "[DuplicatedParam.Attachment] transit router \"tr-hangzhou\", attachment vpc2: attached twice; \
             keep one attachment for it, with all its vSwitches",
        ]
    );
}

// Holds XR-30
#[test]
fn refuses_a_vpc_attached_to_another_regions_router() {
    assert_eq!(
        errors(&[("region: hangzhou\n    cidr", "region: beijing\n    cidr")]),
        [
            "[Mismatch.RegionId] transit router \"tr-hangzhou\", attachment vpc2: the VPC is in region beijing, the transit router in \
          hangzhou; attach it to the router of its region, and join the routers as peers"
        ]
    );
}

// Holds XR-101
#[test]
fn refuses_a_tunnel_endpoint_routed_through_its_own_tunnel() {
    assert_eq!(
        errors(&[("address: 172.16.1.254", "address: 192.168.1.254")]),
        [
            "[OperationDenied.NextHopThroughItself] transit router \"tr-chengdu\", next hop \"tr-chengdu-a\": address 192.168.1.254: route 192.168.0.0/16 of \
          VPC \"vpc1\" leads to this address through this very tunnel; use an endpoint inside the VPC, or narrow the \
          route"
        ]
    );
}

#[test]
fn warns_of_a_tunnel_endpoint_outside_its_zones_vswitch() {
    assert_eq!(
        warnings(&[("address: 172.16.1.254", "address: 172.16.2.253")]),
        [
            "transit router \"tr-chengdu\", next hop \"tr-chengdu-a\": address 172.16.2.253: outside every vSwitch of \
          zone chengdu-a; an endpoint there has an address of vsw1 (172.16.1.0/24)"
        ]
    );
}

#[test]
fn refuses_a_next_hop_in_an_unknown_zone() {
    assert_eq!(
        errors(&[("{name: tr-chengdu-a, zone: chengdu-a", "{name: tr-chengdu-a, zone: chengdu-z")]),
        [
            "[Mismatch.ZoneId] transit router \"tr-chengdu\", next hop \"tr-chengdu-a\": zone chengdu-z: no VPC attached to this transit \
          router has a vSwitch in that zone; zones there: chengdu-a, chengdu-b"
        ]
    );
}

#[test]
fn bounds_the_settings_of_a_next_hop() {
    assert_eq!(
        errors(&[(
            "vni: 101, mac: \"02:00:00:00:01:01\"}, mtu: 1500, weight: 100",
            "vni: 16777216, mac: nonsense}, mtu: 575, weight: 101"
        )]),
        [
            "[IllegalParam.Vni] transit router \"tr-chengdu\", next hop \"tr-chengdu-a\", vxlan: vni 16777216: outside 1 to 16777215; \
             write a number from 1 to 16777215",
            "[IllegalParam.Mac] transit router \"tr-chengdu\", next hop \"tr-chengdu-a\", vxlan: mac \"nonsense\": not the Ethernet \
             address of one device; write the address of the router's VXLAN device, as `ip link show` prints it",
            "[IllegalParam.Mtu] transit router \"tr-chengdu\", next hop \"tr-chengdu-a\": mtu 575: outside 576 to 65535; \
             write a number from 576 to 65535",
            "[IllegalParam.Weight] transit router \"tr-chengdu\", next hop \"tr-chengdu-a\": weight 101: outside 0 to 100; \
             write a number from 0 to 100",
        ]
    );
    assert_eq!(
        errors(&[("vni: 102", "vni: 0")]),
        [
            "[IllegalParam.Vni] transit router \"tr-chengdu\", next hop \"tr-chengdu-b\", vxlan: vni 0: outside 1 to 16777215; \
          write a number from 1 to 16777215"
        ]
    );
}

#[test]
fn refuses_next_hops_that_cannot_be_told_apart() {
    assert_eq!(
        errors(&[(
            "zone: chengdu-b, address: 172.16.2.254, vxlan: {vni: 102, mac: \"02:00:00:00:01:02\"}",
            "zone: chengdu-a, address: 172.16.1.254, vxlan: {vni: 101, mac: \"02:00:00:00:01:01\"}"
        )]),
        [
            "[DuplicatedParam.NextHop] transit router \"tr-chengdu\", next hop \"tr-chengdu-b\": address 172.16.1.254 with VNI 101: next hop \
          \"tr-chengdu-a\" has this endpoint and VNI; give each tunnel its own VNI"
        ]
    );
    assert_eq!(
        errors(&[("name: tr-chengdu-b,", "name: tr-chengdu-a,")]),
        [
            "[DuplicatedParam.NextHopName] transit router \"tr-chengdu\", next hop \"tr-chengdu-a\": name \"tr-chengdu-a\": another next hop on line 24 \
          has this name; rename or remove one of them"
        ]
    );
}

#[test]
fn bounds_the_next_hops_of_a_router() {
    let hop = |n: u32| {
        format!(
            "      - {{name: hop-{n}, zone: chengdu-b, address: 172.16.2.{}, vxlan: {{vni: {n}, mac: \"02:00:00:00:00:02\"}}}}\n",
            100 + n
        )
    };
    let more: String = (1..=7).map(hop).collect();
    assert_eq!(
        errors(&[("  - name: tr-hangzhou", &format!("{more}  - name: tr-hangzhou"))]),
        [
            "[QuotaExceeded.NextHopsNum] transit router \"tr-chengdu\": 9 next hops: a transit router has at most 8 next hops; keep 8 of them"
        ]
    );
}
