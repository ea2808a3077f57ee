//! The commands that lay out the two regions, as data: what runs where, in order. Nothing here runs them.

use crate::layout::{
    BACK_TO_ORIGIN_PREFIX, CLIENT, CLIENT_ADDRESSES, CROWD, CROWD_PREFIX, DNS_ADDRESS, ECS01, ECS01_ADDRESS,
    ECS02, ECS02_ADDRESS, HOSTS, LB, LB_CLIENT_SIDE, LB_VSW1, LB_VSW2, LB2, LB2_CLIENT_SIDE, LB2_NAT_PREFIX,
    Layout, NAT_PREFIX, NET, SW1, SW2, TR1, TR2, VSW1_V6, VSW2_V6, Variant, ipv6_of,
};
use crate::options::{Balancers, LabOptions, Offloads, ServerKind};
use std::fmt;
use std::net::Ipv4Addr;

/// One command inside one host's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) host: String,
    pub(crate) words: Vec<String>,
}

impl Step {
    /// `line` is split at spaces: no argument of ours holds one.
    fn new(host: &str, line: impl fmt::Display) -> Step {
        Step {
            host: host.to_owned(),
            words: line.to_string().split_whitespace().map(str::to_owned).collect(),
        }
    }
}

/// Inner next hop of the return path on VXLAN device `vxa` and `vxb`; nobody holds these addresses.
const RETURN_HOPS: [(&str, &str); 2] = [("vxa", "169.254.101.2"), ("vxb", "169.254.102.2")];
/// The balancer decapsulates before its kernel looks at the inner MAC, so one constant does.
const LB_INNER_MAC: &str = "02:00:00:00:00:0a";

/// The transit router's addresses in VSW1 and VSW2, where it is also the VPC's own router.
const GATEWAYS: [Ipv4Addr; 2] = [Ipv4Addr::new(172, 16, 1, 254), Ipv4Addr::new(172, 16, 2, 254)];

/// Every host of this lab, the extra servers last.
pub(crate) fn hosts(options: &LabOptions) -> Vec<String> {
    let second = (options.balancers == Balancers::HostPerZone).then_some(LB2);
    let extra = options.extra_servers.iter().map(|server| server.name.clone());
    HOSTS.into_iter().chain(second).map(str::to_owned).chain(extra).collect()
}

/// The host that serves chengdu-b.
fn host_b(options: &LabOptions) -> &'static str {
    match options.balancers {
        Balancers::OneHost => LB,
        Balancers::HostPerZone => LB2,
    }
}

/// A server of VSW1 or VSW2, as far as its network goes.
struct LocalServer<'a> {
    name: &'a str,
    address: Ipv4Addr,
    /// 0 for VSW1, 1 for VSW2.
    zone: usize,
}

fn local_servers(options: &LabOptions) -> impl Iterator<Item = LocalServer<'_>> {
    let first = LocalServer { name: ECS01, address: ECS01_ADDRESS, zone: 0 };
    let extra = options.extra_servers.iter().map(|server| LocalServer {
        name: &server.name,
        address: server.address,
        zone: usize::from(server.is_in_vsw2()),
    });
    std::iter::once(first).chain(extra)
}

/// Everything between empty namespaces and two regions that reach each other.
pub(crate) fn steps(layout: &Layout, options: &LabOptions) -> Vec<Step> {
    let mut steps = Vec::new();
    for host in hosts(options) {
        kernel_settings(&mut steps, &host, options);
    }
    links(&mut steps, layout, options);
    addresses(&mut steps, options);
    tunnels(&mut steps);
    for (host, port) in cables_ends(options) {
        steps.push(Step::new(&host, format!("ip link set {port} up")));
    }
    routes(&mut steps, options);
    if options.balancers == Balancers::HostPerZone {
        routes_between_zones(&mut steps);
    }
    if options.ipv6 {
        ipv6(&mut steps, options);
    }
    if let Some(server) = options.extra_servers.iter().find(|server| server.kind == ServerKind::Crowd) {
        crowd(&mut steps, options, server.address);
    }
    offloads(&mut steps, options);
    steps
}

/// The routes that vanish from `tr1` when the inter-region link goes down, and must be put back (XR-111).
pub(crate) fn link_routes() -> Vec<Step> {
    // The source is for what the router itself sends: Hangzhou knows VPC1, not the link's own addresses.
    vec![Step::new(TR1, "ip route replace 192.168.0.0/16 via 10.255.0.2 src 172.16.1.254")]
}

fn kernel_settings(steps: &mut Vec<Step>, host: &str, options: &LabOptions) {
    steps.push(Step::new(host, "ip link set lo up"));
    // Loose: answers to the balancer's addresses of one zone may come in by another interface (XR-105).
    steps.push(Step::new(host, "sysctl -qw net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.default.rp_filter=2"));
    // Not the balancer: a stock host does not forward, and ours must work on one.
    if [TR1, TR2].contains(&host) {
        steps.push(Step::new(host, "sysctl -qw net.ipv4.ip_forward=1"));
        // What leads nowhere is answered, so that a link that is down differs from one that is silent. The kernel still
        // sends no more than one such answer a second per source, after a burst of five (`ip_error`), by a limit that
        // no network namespace has to itself.
        steps.push(Step::new(host, "sysctl -qw net.ipv4.icmp_ratemask=0"));
    }
    if options.ipv6 && ![NET, SW1, SW2].contains(&host) {
        // Addresses are usable at once, and nobody asks for routers: there is none to answer.
        let quiet = ["all", "default"].map(|scope| {
            let of = |name| format!("net.ipv6.conf.{scope}.{name}=0");
            ["accept_dad", "accept_ra", "autoconf", "router_solicitations"].map(of).join(" ")
        });
        steps.push(Step::new(host, format!("sysctl -qw {}", quiet.join(" "))));
        if host == TR1 {
            steps.push(Step::new(host, "sysctl -qw net.ipv6.conf.all.forwarding=1"));
        }
        return;
    }
    // The tutorial is IPv4; without this, router solicitations and DAD move the packet counters that tests read.
    steps.push(Step::new(host, "sysctl -qwe net.ipv6.conf.all.disable_ipv6=1"));
}

/// Cables: (host, port) and (host, port). A port on a switch joins the switch's bridge.
fn cables(options: &LabOptions) -> Vec<((String, String), (String, String))> {
    let second = match options.balancers {
        Balancers::OneHost => vec![(LB, "eth2", SW2, "p-lb")],
        Balancers::HostPerZone => vec![(LB2, "eth2", SW2, "p-lb2"), (LB2, "eth0", NET, "p-lb2")],
    };
    let fixed = [
        (CLIENT, "eth0", NET, "p-client"),
        (LB, "eth0", NET, "p-lb"),
        (LB, "eth1", SW1, "p-lb"),
        (ECS01, "eth0", SW1, "p-ecs01"),
        (TR1, "eth1", SW1, "p-tr1"),
        (TR1, "eth2", SW2, "p-tr1"),
        (TR1, "w1", TR2, "w2"),
        (ECS02, "eth0", TR2, "eth1"),
    ];
    let end = |host: &str, port: &str| (host.to_owned(), port.to_owned());
    let extra = options.extra_servers.iter().map(|server| {
        let switch = if server.is_in_vsw2() { SW2 } else { SW1 };
        (end(&server.name, "eth0"), end(switch, &format!("p-{}", server.name)))
    });
    fixed.iter().chain(&second).map(|(a, b, c, d)| (end(a, b), end(c, d))).chain(extra).collect()
}

/// Hosts whose bridge must forward on every port before packets pass.
pub(crate) const SWITCHES: [&str; 3] = [NET, SW1, SW2];

fn cables_ends(options: &LabOptions) -> impl Iterator<Item = (String, String)> {
    cables(options).into_iter().flat_map(|(one, other)| [one, other])
}

fn links(steps: &mut Vec<Step>, layout: &Layout, options: &LabOptions) {
    for switch in SWITCHES {
        // Snooping would hold IPv6's neighbour discovery back until it has heard who listens.
        steps.push(Step::new(switch, "ip link add br0 type bridge mcast_snooping 0"));
        steps.push(Step::new(switch, "ip link set br0 up"));
    }
    for (index, ((host, port), (peer, peer_port))) in (100..).zip(cables(options)) {
        let namespace = layout.namespace(&peer);
        // Each far end has an interface number of its own: the kernel takes a veth whose both ends happen to have the
        // same number for a plain device and may report its carrier a second late (linkwatch_urgent_event).
        let line =
            format!("ip link add {port} type veth peer name {peer_port} index {index} netns {namespace}");
        steps.push(Step::new(&host, line));
        if SWITCHES.contains(&peer.as_str()) {
            steps.push(Step::new(&peer, format!("ip link set {peer_port} master br0")));
        }
    }
    // VSW4 has no host: a bridge without ports stands in for its segment.
    steps.push(Step::new(TR2, "ip link add eth2 type bridge"));
    steps.push(Step::new(TR2, "ip link set eth2 up"));
}

fn addresses(steps: &mut Vec<Step>, options: &LabOptions) {
    for address in CLIENT_ADDRESSES {
        steps.push(Step::new(CLIENT, format!("ip addr add {address}/24 dev eth0")));
    }
    let fixed = [
        (NET, format!("{DNS_ADDRESS}/24 dev br0")),
        (LB, format!("{LB_CLIENT_SIDE}/24 dev eth0")),
        (LB, format!("{LB_VSW1}/24 dev eth1")),
        (host_b(options), format!("{LB_VSW2}/24 dev eth2")),
        (TR1, "172.16.1.254/24 dev eth1".to_owned()),
        (TR1, "172.16.2.254/24 dev eth2".to_owned()),
        (TR1, "10.255.0.1/30 dev w1".to_owned()),
        (TR2, "10.255.0.2/30 dev w2".to_owned()),
        (TR2, "192.168.1.254/24 dev eth1".to_owned()),
        (TR2, "192.168.2.254/24 dev eth2".to_owned()),
        (ECS02, format!("{ECS02_ADDRESS}/24 dev eth0")),
    ];
    for (host, address) in fixed {
        steps.push(Step::new(host, format!("ip addr add {address}")));
    }
    if options.balancers == Balancers::HostPerZone {
        steps.push(Step::new(LB2, format!("ip addr add {LB2_CLIENT_SIDE}/24 dev eth0")));
    }
    for server in local_servers(options) {
        steps.push(Step::new(server.name, format!("ip addr add {}/24 dev eth0", server.address)));
    }
}

/// The transit router's ends of the tunnels: ordinary kernel VXLAN devices, one per zone.
fn tunnels(steps: &mut Vec<Step>) {
    let ends = [
        ("vxa", 101, "172.16.1.254", LB_VSW1, "eth1", "02:00:00:00:01:01"),
        ("vxb", 102, "172.16.2.254", LB_VSW2, "eth2", "02:00:00:00:01:02"),
    ];
    for ((device, vni, local, remote, via, mac), (_, hop)) in ends.into_iter().zip(RETURN_HOPS) {
        let line = format!(
            "ip link add {device} address {mac} mtu 1450 type vxlan id {vni} local {local} remote {remote} \
             dstport 4789 dev {via} nolearning"
        );
        steps.push(Step::new(TR1, line));
        // An address, if only for the kernel: on a device without one even a loose reverse path filter drops what
        // came in by another device than its answers take.
        let own = hop.strip_suffix('2').map(|network| format!("{network}1/30")).expect("hops end in .2");
        steps.push(Step::new(TR1, format!("ip addr add {own} dev {device}")));
        steps.push(Step::new(TR1, format!("ip link set {device} up")));
        steps.push(Step::new(
            TR1,
            format!("ip neigh add {hop} lladdr {LB_INNER_MAC} dev {device} nud permanent"),
        ));
    }
}

fn routes(steps: &mut Vec<Step>, options: &LabOptions) {
    let variant = options.variant;
    let [via_a, via_b] = RETURN_HOPS.map(|(device, hop)| format!("via {hop} dev {device} onlink"));
    let mut back = vec![(NAT_PREFIX.to_owned(), &via_a)];
    if options.balancers == Balancers::HostPerZone {
        back.push((LB2_NAT_PREFIX.to_owned(), &via_b));
    }
    match variant {
        Variant::Vswitch => {
            // More specific than VSW1 and VSW2 themselves: these answers must take the tunnel.
            back.extend(variant.local_addresses_a().map(|address| (format!("{address}/32"), &via_a)));
            back.extend(variant.local_addresses_b().map(|address| (format!("{address}/32"), &via_b)));
        }
        Variant::BackToOrigin => {
            back.push((BACK_TO_ORIGIN_PREFIX.to_owned(), &via_a));
            // Zone B's part of the prefix.
            back.push(("100.64.0.16/28".to_owned(), &via_b));
        }
    }
    for (prefix, via) in back {
        // The source is for the router's own ICMP errors: the balancer's kernel discards what comes from an address
        // that it has no route to, such as the device's own.
        steps.push(Step::new(TR1, format!("ip route add {prefix} {via} src 172.16.1.254")));
    }
    steps.extend(link_routes());
    steps.push(Step::new(TR2, "ip route add 172.16.0.0/12 via 10.255.0.1"));
    steps.push(Step::new(ECS02, "ip route add 172.16.0.0/12 via 192.168.1.254"));
    if variant == Variant::BackToOrigin {
        steps.push(Step::new(TR2, "ip route add 100.64.0.0/10 via 10.255.0.1"));
        // XR-51; without it ECS02 cannot answer the balancer.
        steps.push(Step::new(ECS02, "ip route add 100.64.0.0/10 via 192.168.1.254"));
    }
    for server in local_servers(options) {
        let [own, other] = [server.zone, 1 - server.zone];
        let balancer = [LB_VSW1, LB_VSW2][own];
        let mut to_balancer = Vec::new();
        match options.balancers {
            // The other zone's local addresses reach this vSwitch by the balancer's interface here, so answers go back
            // that way.
            Balancers::OneHost => {
                to_balancer.extend([NAT_PREFIX.to_owned(), format!("{}/32", [LB_VSW1, LB_VSW2][other])]);
                let locals = [variant.local_addresses_a(), variant.local_addresses_b()][other];
                match variant {
                    Variant::Vswitch => to_balancer.extend(locals.map(|address| format!("{address}/32"))),
                    Variant::BackToOrigin => to_balancer.push(BACK_TO_ORIGIN_PREFIX.to_owned()),
                }
            }
            Balancers::HostPerZone => to_balancer.push([NAT_PREFIX, LB2_NAT_PREFIX][own].to_owned()),
        }
        let mut to_router = vec![["172.16.1.0/24", "172.16.2.0/24"][other], "192.168.0.0/16"];
        if options.balancers == Balancers::HostPerZone {
            to_router.push([NAT_PREFIX, LB2_NAT_PREFIX][other]);
        }
        for (prefix, via) in to_balancer
            .iter()
            .map(|prefix| (prefix.as_str(), balancer))
            .chain(to_router.into_iter().map(|prefix| (prefix, GATEWAYS[own])))
        {
            steps.push(Step::new(server.name, format!("ip route add {prefix} via {via}")));
        }
    }
}

/// What it takes for each balancer's host to reach the other zone, and for answers to come back as plainly: the tunnels
/// are for other regions.
fn routes_between_zones(steps: &mut Vec<Step>) {
    steps.push(Step::new(LB, format!("ip route add 172.16.2.0/24 via {}", GATEWAYS[0])));
    steps.push(Step::new(LB2, format!("ip route add 172.16.1.0/24 via {}", GATEWAYS[1])));
    for port in ["eth1", "eth2"] {
        steps.push(Step::new(TR1, format!("ip rule add iif {port} to 172.16.0.0/12 lookup 100")));
    }
    for route in [
        "172.16.1.0/24 dev eth1".to_owned(),
        "172.16.2.0/24 dev eth2".to_owned(),
        format!("{NAT_PREFIX} via {LB_VSW1}"),
        format!("{LB2_NAT_PREFIX} via {LB_VSW2}"),
    ] {
        steps.push(Step::new(TR1, format!("ip route add {route} table 100")));
    }
}

/// The crowd's addresses are all its own, and the way to them is by its one address in VSW1.
fn crowd(steps: &mut Vec<Step>, options: &LabOptions, address: Ipv4Addr) {
    steps.push(Step::new(CROWD, format!("ip route add local {CROWD_PREFIX} dev lo")));
    steps.push(Step::new(LB, format!("ip route add {CROWD_PREFIX} via {address}")));
    steps.push(Step::new(TR1, format!("ip route add {CROWD_PREFIX} via {address}")));
    if options.balancers == Balancers::HostPerZone {
        steps.push(Step::new(LB2, format!("ip route add {CROWD_PREFIX} via {}", GATEWAYS[1])));
        steps.push(Step::new(TR1, format!("ip route add {CROWD_PREFIX} via {address} table 100")));
    }
}

/// The same networks in IPv6, without the other region: groups of IPv6 servers are local (SG-63).
fn ipv6(steps: &mut Vec<Step>, options: &LabOptions) {
    let mut addresses: Vec<(&str, Ipv4Addr, &str)> =
        CLIENT_ADDRESSES.map(|address| (CLIENT, address, "eth0")).into();
    addresses.extend([
        (LB, LB_CLIENT_SIDE, "eth0"),
        (LB, LB_VSW1, "eth1"),
        (host_b(options), LB_VSW2, "eth2"),
    ]);
    if options.balancers == Balancers::HostPerZone {
        addresses.push((LB2, LB2_CLIENT_SIDE, "eth0"));
    }
    addresses.extend([(TR1, GATEWAYS[0], "eth1"), (TR1, GATEWAYS[1], "eth2")]);
    addresses.extend(local_servers(options).map(|server| (server.name, server.address, "eth0")));
    for (host, address, port) in addresses {
        // Usable when this command ends; even where nobody looks for duplicates, that is otherwise a worker's to say.
        steps.push(Step::new(host, format!("ip addr add {}/64 dev {port} nodad", ipv6_of(address))));
    }
    let networks = [VSW1_V6, VSW2_V6];
    let mut routes = Vec::new();
    match options.balancers {
        Balancers::OneHost => {
            for server in local_servers(options) {
                let [own, other] = [server.zone, 1 - server.zone];
                let locals =
                    [Variant::Vswitch.local_addresses_a(), Variant::Vswitch.local_addresses_b()][other];
                let theirs = locals.into_iter().chain([[LB_VSW1, LB_VSW2][other]]);
                let via = [LB_VSW1, LB_VSW2][own];
                routes.extend(theirs.map(|address| (server.name, format!("{}/128", ipv6_of(address)), via)));
            }
        }
        Balancers::HostPerZone => {
            routes.push((LB, networks[1].to_owned(), GATEWAYS[0]));
            routes.push((LB2, networks[0].to_owned(), GATEWAYS[1]));
        }
    }
    for server in local_servers(options) {
        routes.push((server.name, networks[1 - server.zone].to_owned(), GATEWAYS[server.zone]));
    }
    for (host, prefix, via) in routes {
        steps.push(Step::new(host, format!("ip route add {prefix} via {}", ipv6_of(via))));
    }
}

fn offloads(steps: &mut Vec<Step>, options: &LabOptions) {
    if options.offloads == Offloads::None {
        for (host, port) in cables_ends(options) {
            let line = format!("ethtool -K {port} tso off gso off gro off tx-udp_tnl-segmentation off");
            steps.push(Step::new(&host, line));
        }
    }
    if options.offloads != Offloads::All {
        // A veth delivers CHECKSUM_PARTIAL packets as they are, with the checksum not yet computed. XDP, which
        // rewrites and wraps them, needs real ones: that is what a network card delivers. Also removes TSO.
        let senders = [(CLIENT, "eth0"), (TR1, "vxa"), (TR1, "vxb"), (TR1, "eth1"), (TR1, "eth2")];
        let routers = [(TR1, "w1"), (TR2, "w2"), (TR2, "eth1"), (ECS02, "eth0")];
        let local = local_servers(options).map(|server| (server.name, "eth0"));
        for (host, port) in senders.into_iter().chain(routers).chain(local) {
            steps.push(Step::new(host, format!("ethtool -K {port} tx off")));
        }
    }
    // XDP redirect out of the balancer lands only if the veth's other end runs NAPI, which GRO (or a program of its
    // own) turns on; without, packets vanish uncounted. Harmless to the MTU: oversize frames die before GRO.
    for ((host, _), (switch, port)) in cables(options) {
        if [LB, LB2].contains(&host.as_str()) {
            steps.push(Step::new(&switch, format!("ethtool -K {port} gro on")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::ExtraServer;

    fn lines(options: &LabOptions) -> Vec<String> {
        let layout = Layout::new(&options.id).expect("valid label");
        steps(&layout, options)
            .iter()
            .map(|step| format!("{}: {}", step.host, step.words.join(" ")))
            .collect()
    }

    #[test]
    fn local_addresses_of_each_zone_return_by_the_tunnel_of_that_zone() {
        let lines = lines(&LabOptions::default());
        for wanted in [
            "tr1: ip route add 172.16.1.11/32 via 169.254.101.2 dev vxa onlink src 172.16.1.254",
            "tr1: ip route add 172.16.2.12/32 via 169.254.102.2 dev vxb onlink src 172.16.1.254",
            "tr1: ip route add 172.16.100.0/24 via 169.254.101.2 dev vxa onlink src 172.16.1.254",
        ] {
            assert!(lines.iter().any(|line| line == wanted), "{wanted} is missing");
        }
        assert!(!lines.iter().any(|line| line.contains("100.64")));
    }

    // Holds XR-51, XR-52
    #[test]
    fn back_to_origin_routes_stand_on_every_hop_of_the_way_back() {
        let lines = lines(&LabOptions { variant: Variant::BackToOrigin, ..LabOptions::default() });
        for wanted in [
            "ecs02: ip route add 100.64.0.0/10 via 192.168.1.254",
            "tr2: ip route add 100.64.0.0/10 via 10.255.0.1",
            "tr1: ip route add 100.64.0.0/24 via 169.254.101.2 dev vxa onlink src 172.16.1.254",
            "ecs01: ip route add 100.64.0.0/24 via 172.16.1.10",
        ] {
            assert!(lines.iter().any(|line| line == wanted), "{wanted} is missing");
        }
    }

    #[test]
    fn the_balancers_own_addresses_are_left_to_the_controller() {
        let lines = lines(&LabOptions::default());
        for address in ["203.0.113.10", "203.0.113.11", "172.16.1.11", "172.16.2.11"] {
            assert!(!lines.iter().any(|line| line.contains(&format!("addr add {address}/"))), "{address}");
        }
    }

    #[test]
    fn an_extra_server_stands_in_vsw1_and_answers_by_the_same_way() {
        let server = ExtraServer::web("ecs03", Ipv4Addr::new(172, 16, 1, 21));
        let options = LabOptions { id: "x".into(), extra_servers: vec![server], ..LabOptions::default() };
        let lines = lines(&options);
        for wanted in [
            "ecs03: ip link add eth0 type veth peer name p-ecs03 index 109 netns cwx-sw1",
            "ecs03: ip addr add 172.16.1.21/24 dev eth0",
            "ecs03: ip route add 172.16.100.0/24 via 172.16.1.10",
            "ecs03: ethtool -K eth0 tx off",
        ] {
            assert!(lines.iter().any(|line| line == wanted), "{wanted} is missing");
        }
    }

    #[test]
    fn a_server_of_vsw2_answers_by_the_balancers_interface_there() {
        let server = ExtraServer::web("ecs21", Ipv4Addr::new(172, 16, 2, 41));
        let options = LabOptions { extra_servers: vec![server], ipv6: true, ..LabOptions::default() };
        let lines = lines(&options);
        for wanted in [
            "ecs21: ip link add eth0 type veth peer name p-ecs21 index 109 netns cw-sw2",
            "ecs21: ip route add 172.16.1.11/32 via 172.16.2.10",
            "ecs21: ip route add 172.16.100.0/24 via 172.16.2.10",
            "ecs21: ip route add 172.16.1.0/24 via 172.16.2.254",
            "ecs21: ip addr add fd00:16:2::41/64 dev eth0 nodad",
            "ecs21: ip route add fd00:16:1::11/128 via fd00:16:2::10",
        ] {
            assert!(lines.iter().any(|line| line == wanted), "{wanted} is missing");
        }
    }

    #[test]
    fn with_a_host_per_zone_answers_to_the_other_zone_pass_the_vpcs_router() {
        let options = LabOptions { balancers: Balancers::HostPerZone, ..LabOptions::default() };
        let lines = lines(&options);
        for wanted in [
            "lb2: ip addr add 172.16.2.10/24 dev eth2",
            "ecs01: ip route add 172.16.2.0/24 via 172.16.1.254",
            "ecs01: ip route add 172.16.101.0/24 via 172.16.1.254",
            "tr1: ip route add 172.16.101.0/24 via 172.16.2.10 table 100",
            "sw2: ethtool -K p-lb2 gro on",
        ] {
            assert!(lines.iter().any(|line| line == wanted), "{wanted} is missing");
        }
        assert!(!lines.iter().any(|line| line.starts_with("lb: ") && line.contains("eth2")));
        assert!(!lines.iter().any(|line| line.starts_with("ecs01: ") && line.contains("172.16.2.11")));
    }

    #[test]
    fn only_the_full_setting_leaves_checksums_to_the_hardware() {
        let count = |offloads| {
            let options = LabOptions { offloads, ..LabOptions::default() };
            lines(&options).iter().filter(|line| line.contains(" tx off")).count()
        };
        assert_eq!(count(Offloads::All), 0);
        assert_eq!(count(Offloads::RealChecksums), 10);
        assert_eq!(count(Offloads::None), 10);
    }
}
