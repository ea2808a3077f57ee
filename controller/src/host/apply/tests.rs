use super::super::desired::desired;
use super::super::desired::tests::{dual_stack, node, resources};
use super::super::test_namespace::{Namespace, in_namespace, root_or_skip};
use super::*;
use crate::health::{FailureReason, Outcome};
use crate::host::sysctl;
use crate::model::{HealthCheck, HealthCheckProtocol, Resources, ServerAddress};
use crate::probe::{Target, TargetId, probe};
use std::collections::BTreeSet;
use std::time::Duration;

fn wanted(resources: &Resources) -> HostState {
    desired(&node(), resources, &BTreeSet::new())
}

/// The tutorial's balancer, each foot in a network with one neighbour: clients, ECS01 and the endpoint of zone A, the
/// endpoint of zone B.
fn balancer() -> (Namespace, Namespace) {
    let (ours, others) = (Namespace::new(), Namespace::new());
    ours.ip("link set lo up");
    for (interface, address, peer, peer_addresses) in [
        ("eth0", "203.0.113.2/24", "client", &["203.0.113.1/24"][..]),
        ("eth1", "172.16.1.10/24", "vsw1", &["172.16.1.20/24", "172.16.1.254/24"]),
        ("eth2", "172.16.2.10/24", "vsw2", &["172.16.2.254/24"]),
    ] {
        ours.ip(&format!("link add {interface} type veth peer name {peer} netns {}", others.name()));
        ours.ip(&format!("link set {interface} up"));
        ours.ip(&format!("addr add {address} dev {interface}"));
        others.ip(&format!("link set {peer} up"));
        for address in peer_addresses {
            others.ip(&format!("addr add {address} dev {peer}"));
        }
    }
    ours.ip("route add default via 203.0.113.1");
    (ours, others)
}

fn everything(namespace: &Namespace) -> String {
    ["addr show scope host", "rule show", "route show table all type unicast", "route show type blackhole"]
        .map(|what| namespace.output(what))
        .concat()
}

// Holds XR-100, XR-102
#[test]
fn makes_what_is_wanted_once_and_takes_it_out_again() {
    if root_or_skip("makes_what_is_wanted_once_and_takes_it_out_again") {
        return;
    }
    let (ours, _others) = balancer();
    let before = everything(&ours);
    in_namespace(&ours, async {
        let host = Host::open().unwrap();
        assert_eq!(host.current().await.unwrap(), HostState::default());
        let state = wanted(&resources());
        let made = host.apply(&state).await.unwrap();
        assert_eq!(made.len(), 16);
        assert_eq!(host.current().await.unwrap(), state);
        assert_eq!(host.apply(&state).await.unwrap(), []);
        assert_ne!(everything(&ours), before);
        assert_eq!(host.remove_all().await.unwrap().len(), 16);
        assert_eq!(host.current().await.unwrap(), HostState::default());
        assert_eq!(host.remove_all().await.unwrap(), []);
    });
    assert_eq!(everything(&ours), before);
}

// Holds SG-62
#[test]
fn addresses_of_a_dual_stack_balancer_serve_at_once_and_are_nobodys_source_unasked() {
    if root_or_skip("addresses_of_a_dual_stack_balancer_serve_at_once_and_are_nobodys_source_unasked") {
        return;
    }
    let (ours, others) = balancer();
    // The operator's own address is there before.
    ours.ip("-6 addr add fd00:16:0:1::2/64 dev eth1 nodad");
    ours.ip("-6 addr add 2001:db8::2/64 dev eth0 nodad");
    others.ip("-6 addr add fd00:16:0:1::20/64 dev vsw1 nodad");
    others.ip("-6 addr add 2001:db8::1/64 dev client nodad");
    let everything = |namespace: &Namespace| {
        [
            "-6 rule show",
            "-6 route show table all proto 97",
            "-6 addr show to fd00:16::/32",
            "-6 addr show to 2001:db8::/64",
        ]
        .map(|what| namespace.output(what))
        .concat()
    };
    let before = everything(&ours);
    in_namespace(&ours, async {
        let host = Host::open().unwrap();
        let state = wanted(&dual_stack());
        host.apply(&state).await.unwrap();
        assert_eq!(host.current().await.unwrap(), state);
        assert_eq!(host.apply(&state).await.unwrap(), []);
        assert_ne!(everything(&ours), before);
        // No duplicate address detection keeps a socket from binding, as a VIP or as a source.
        tokio::net::TcpListener::bind("[2001:db8::10]:80").await.unwrap();
        let socket = tokio::net::UdpSocket::bind("[fd00:16:0:1::11]:0").await.unwrap();
        socket.send_to(b"?", "[fd00:16:0:1::20]:9").await.unwrap();
        let way = |query: &str| ours.output(&format!("-6 route get {query}"));
        let direct = way("fd00:16:0:1::20 from fd00:16:0:1::11");
        assert!(direct.contains("dev eth1 table 97000"), "{direct}");
        let own = way("fd00:16:0:1::20");
        assert!(own.contains("src fd00:16:0:1::2 "), "{own}");
        assert!(!ours.output("-6 route show").contains("::11"), "{}", ours.output("-6 route show"));

        // An interface that goes down loses its IPv6 addresses, which are put back.
        ours.ip("link set eth1 down");
        ours.ip("link set eth1 up");
        assert_ne!(host.apply(&state).await.unwrap(), []);
        assert_eq!(host.current().await.unwrap(), state);
        host.remove_all().await.unwrap();
        assert_eq!(host.current().await.unwrap(), HostState::default());
    });
    ours.ip("-6 addr add fd00:16:0:1::2/64 dev eth1 nodad");
    assert_eq!(everything(&ours), before);
}

// Holds SG-54, XR-13, XR-103
#[test]
fn traffic_of_local_addresses_follows_the_vpcs_routes_and_no_other_does() {
    if root_or_skip("traffic_of_local_addresses_follows_the_vpcs_routes_and_no_other_does") {
        return;
    }
    let (ours, _others) = balancer();
    in_namespace(&ours, async {
        let host = Host::open().unwrap();
        host.apply(&wanted(&resources())).await.unwrap();
    });
    let way = |query: &str| ours.output(&format!("route get {query}"));
    for from in ["172.16.1.11", "172.16.2.11"] {
        let remote = way(&format!("192.168.3.20 from {from}"));
        assert!(remote.contains("via 172.16.1.254 dev eth1 table 97000"), "{remote}");
        assert!(remote.contains("mtu 1450"), "{remote}");
        // Also from the other zone, a server in VSW1 is a neighbour.
        let direct = way(&format!("172.16.1.20 from {from}"));
        assert!(direct.contains("dev eth1 table 97000") && !direct.contains("via"), "{direct}");
    }
    // The host's own traffic takes the default route and the primary address.
    let own = way("192.168.3.20");
    assert!(own.contains("via 203.0.113.1 dev eth0 src 203.0.113.2"), "{own}");
    assert!(way("172.16.1.20").contains("dev eth1 src 172.16.1.10"));
    // Answers to clients leave as before.
    assert!(way("203.0.113.1 from 203.0.113.10").contains("dev eth0"));
    // The first zone's interface goes down: the other zone's hop takes over; without it nothing leaks to the default.
    ours.ip("link set eth1 down");
    let remote = way("192.168.3.20 from 172.16.2.11");
    assert!(remote.contains("via 172.16.2.254 dev eth2"), "{remote}");
    ours.ip("link set eth2 down");
    let code = std::process::Command::new("ip")
        .args(["-n", ours.name(), "route", "get", "192.168.3.20", "from", "172.16.2.11"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&code.stderr).contains("No route to host"), "{code:?}");
}

#[test]
fn answers_for_vips_and_local_addresses_and_not_for_nat_addresses() {
    if root_or_skip("answers_for_vips_and_local_addresses_and_not_for_nat_addresses") {
        return;
    }
    let (ours, others) = balancer();
    let mut node = node();
    node.nat_prefix = Some("172.16.1.128/28".parse().unwrap());
    in_namespace(&ours, async {
        let host = Host::open().unwrap();
        host.apply(&desired(&node, &resources(), &BTreeSet::new())).await.unwrap();
    });
    in_namespace(&others, async {
        // A datagram makes the kernel ask who has the address; whoever answers gets it.
        let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await.unwrap();
        let asked =
            ["203.0.113.10", "203.0.113.11", "172.16.1.11", "172.16.1.12", "172.16.2.11", "172.16.1.130"];
        for address in asked {
            socket.send_to(b"?", (address, 9)).await.unwrap();
        }
        let state = |address: &str| others.output(&format!("neigh show {address}"));
        let is_settled =
            |address: &&str| state(address).contains("lladdr") || state(address).contains("FAILED");
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        while !asked.iter().all(is_settled) {
            assert!(tokio::time::Instant::now() < deadline, "{}", others.output("neigh show"));
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        for address in &asked[..5] {
            assert!(state(address).contains("lladdr"), "{}", state(address));
        }
        assert!(state("172.16.1.130").contains("FAILED"), "{}", state("172.16.1.130"));
    });
}

// Holds XR-100, XR-102
#[test]
fn a_changed_configuration_changes_only_what_differs() {
    if root_or_skip("a_changed_configuration_changes_only_what_differs") {
        return;
    }
    let (ours, _others) = balancer();
    in_namespace(&ours, async {
        let host = Host::open().unwrap();
        host.apply(&wanted(&resources())).await.unwrap();
        let mut resources = resources();
        resources.transit_routers.values_mut().next().unwrap().next_hops[1].mtu = 1400;
        let balancer = resources.load_balancers.values_mut().next().unwrap();
        balancer.zone_mappings[0].local_addresses[1] = "172.16.1.13".parse().unwrap();
        let state = wanted(&resources);
        // Two routes with the new MTU, one address and rule in, one of each out.
        assert_eq!(host.apply(&state).await.unwrap().len(), 6);
        assert_eq!(host.current().await.unwrap(), state);
    });
}

// Holds XR-100, XR-102
#[test]
fn what_others_made_stays_theirs() {
    if root_or_skip("what_others_made_stays_theirs") {
        return;
    }
    let (ours, _others) = balancer();
    // An address we want as well, and a route, a rule and an address beside ours.
    ours.ip("addr add 172.16.1.11/32 dev eth1 scope host");
    ours.ip("addr add 172.16.1.99/32 dev eth1");
    ours.ip("rule add from 172.16.1.99 lookup 97000 priority 98");
    ours.ip("route add 10.0.0.0/8 via 172.16.1.254 table 97000");
    let before = everything(&ours);
    in_namespace(&ours, async {
        let host = Host::open().unwrap();
        let state = wanted(&resources());
        assert_eq!(host.apply(&state).await.unwrap().len(), 15);
        assert_eq!(host.apply(&state).await.unwrap(), []);
        host.remove_all().await.unwrap();
    });
    assert_eq!(everything(&ours), before);
}

#[test]
fn an_endpoint_behind_a_gateway_is_reached_by_that_gateway() {
    if root_or_skip("an_endpoint_behind_a_gateway_is_reached_by_that_gateway") {
        return;
    }
    let (ours, _others) = balancer();
    ours.ip("route add 10.9.0.0/16 via 172.16.1.254");
    let mut resources = resources();
    let hops = &mut resources.transit_routers.values_mut().next().unwrap().next_hops;
    hops.truncate(1);
    hops[0].address = "10.9.9.9".parse().unwrap();
    in_namespace(&ours, async {
        let host = Host::open().unwrap();
        let state = wanted(&resources);
        host.apply(&state).await.unwrap();
        assert_eq!(host.apply(&state).await.unwrap(), []);
    });
    let way = ours.output("route get 192.168.3.20 from 172.16.1.11");
    assert!(way.contains("via 172.16.1.254 dev eth1 table 97000"), "{way}");
}

#[test]
fn names_an_interface_that_does_not_exist() {
    if root_or_skip("names_an_interface_that_does_not_exist") {
        return;
    }
    let ours = Namespace::new();
    in_namespace(&ours, async {
        let host = Host::open().unwrap();
        let error = host.apply(&wanted(&resources())).await.unwrap_err().to_string();
        assert_eq!(error, "interface \"eth0\" does not exist; name an interface that `ip link` lists");
    });
}

#[test]
fn describes_an_interface() {
    if root_or_skip("describes_an_interface") {
        return;
    }
    let (ours, _others) = balancer();
    ours.ip("link set eth1 mtu 1400 address 02:00:00:00:00:01");
    in_namespace(&ours, async {
        let host = Host::open().unwrap();
        let eth1 = host.interface("eth1").await.unwrap();
        assert_eq!((eth1.mtu, eth1.mac, eth1.is_up), (1400, Some([2, 0, 0, 0, 0, 1]), true));
        assert_eq!(eth1.driver.as_deref(), Some("veth"));
        assert_eq!(eth1.addresses, ["172.16.1.10/24".parse::<ipnet::Ipv4Net>().unwrap()]);
        assert_eq!(host.interface("lo").await.unwrap().driver, None);
        assert!(matches!(host.interface("eth9").await, Err(HostError::NoInterface(name)) if name == "eth9"));
    });
}

// Holds XR-105
#[test]
fn answers_by_the_other_interface_arrive_also_where_the_filter_was_strict() {
    if root_or_skip("answers_by_the_other_interface_arrive_also_where_the_filter_was_strict") {
        return;
    }
    let (ours, others) = balancer();
    let mut listener = None;
    // ECS01 answers a local address of zone B inside VSW2, so what leaves by eth1 comes back by eth2.
    in_namespace(&others, async {
        listener = Some(std::net::TcpListener::bind("172.16.1.20:0").unwrap());
    });
    let port = listener.as_ref().unwrap().local_addr().unwrap().port();
    in_namespace(&ours, async {
        let host = Host::open().unwrap();
        host.apply(&wanted(&resources())).await.unwrap();
        let target = |timeout| Target {
            id: TargetId(1),
            server: ServerAddress { ip: [172, 16, 1, 20].into(), port: port.try_into().unwrap() },
            source: [172, 16, 2, 11].into(),
            check: HealthCheck {
                protocol: HealthCheckProtocol::Tcp,
                connect_port: None,
                interval: Duration::from_secs(2),
                timeout,
                healthy_threshold: 3,
                unhealthy_threshold: 3,
            },
        };
        std::fs::write("/proc/sys/net/ipv4/conf/eth2/rp_filter", "1").unwrap();
        let silent = probe(&target(Duration::from_millis(300))).await;
        assert!(matches!(silent, Outcome::Failed(f) if f.reason == FailureReason::ConnectTimeout));
        let changed = sysctl::loosen(&node()).unwrap();
        assert_eq!(changed.len(), 1);
        assert_eq!(probe(&target(Duration::from_secs(20))).await, Outcome::Passed);
        sysctl::restore(&changed).unwrap();
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/conf/eth2/rp_filter").unwrap(), "1\n");
    });
}
