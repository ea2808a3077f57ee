use super::*;
use crate::api::{FailureView, LinkCounters, ListenerView, ServerCounters, ZoneView};

fn balancer() -> LoadBalancerView {
    let zone = |zone: &str, vswitch: &str, vip: [u8; 4], net: u8, served_here| ZoneView {
        zone: zone.into(),
        vswitch: vswitch.into(),
        vip: vip.into(),
        local_addresses: vec![[172, 16, net, 11].into(), [172, 16, net, 12].into()],
        served_here,
    };
    let listener = |name: &str, protocol: &str, port, status, problem: Option<&str>| ListenerView {
        name: name.into(),
        protocol: protocol.into(),
        port,
        server_group: "web".into(),
        status,
        problem: problem.map(str::to_owned),
    };
    LoadBalancerView {
        name: "alb1".into(),
        edition: "Standard".into(),
        address_type: "Internet".into(),
        vpc: "vpc1".into(),
        dns_name: "alb1.causeway.test".into(),
        zones: vec![
            zone("chengdu-a", "vsw1", [203, 0, 113, 10], 1, true),
            zone("chengdu-b", "vsw2", [203, 0, 113, 11], 2, false),
        ],
        listeners: vec![
            listener("http", "HTTP", 80, ListenerStatus::Running, None),
            listener("tcp", "TCP", 9000, ListenerStatus::Stopped, Some("no NAT prefix")),
        ],
    }
}

fn server(address: &str, health: HealthStatus) -> ServerView {
    ServerView {
        group: "web".into(),
        address: address.parse().unwrap(),
        weight: 100,
        effective_weight: 100.0,
        health,
        failure: None,
        since_secs: 192,
        in_slow_start: false,
        is_draining: false,
        counters: ServerCounters { active: 2, requests: 1023, connections: 40, ..Default::default() },
        zone: Some("chengdu-a".into()),
        remote_ip: false,
        path: PathView::Local,
    }
}

fn servers() -> Vec<ServerView> {
    let failure = |reason: &str| FailureView {
        reason: reason.into(),
        actual: None,
        expected: None,
        detail: "no answer in 5 s".into(),
    };
    vec![
        server("172.16.1.20:80", HealthStatus::Normal),
        ServerView {
            effective_weight: 37.5,
            in_slow_start: true,
            ..server("172.16.1.21:80", HealthStatus::Normal)
        },
        ServerView {
            effective_weight: 0.0,
            failure: Some(failure("CONNECT_TIMEOUT")),
            since_secs: 90_000,
            zone: None,
            remote_ip: true,
            path: PathView::TransitRouter { name: "tr-chengdu".into() },
            ..server("192.168.1.20:80", HealthStatus::Unhealthy)
        },
    ]
}

fn next_hop() -> NextHopView {
    NextHopView {
        name: "tr-chengdu-a".into(),
        transit_router: "tr-chengdu".into(),
        zone: "chengdu-a".into(),
        address: [172, 16, 1, 254].into(),
        encapsulation: "vxlan 101".into(),
        mtu: 1500,
        weight: 100,
        from: Some(("eth1".into(), [172, 16, 1, 10].into())),
        counters: LinkCounters { packets: 123456, bytes: 9_999_999, reply_packets: 98765, reply_bytes: 1 },
    }
}

// Holds XR-22
#[test]
fn shows_names_listeners_and_addresses_of_load_balancers() {
    assert_eq!(
        show(&View::LoadBalancers(vec![balancer()]), GetOutput::Table),
        "NAME  EDITION   TYPE      DNS NAME            LISTENERS\n\
         alb1  Standard  Internet  alb1.causeway.test  HTTP 80, TCP 9000 (Stopped)\n\
         \n\
         NAME  ZONE                    VIP           LOCAL ADDRESSES\n\
         alb1  chengdu-a               203.0.113.10  172.16.1.11, 172.16.1.12\n\
         alb1  chengdu-b (other node)  203.0.113.11  172.16.2.11, 172.16.2.12\n"
    );
    let wide = show(&View::LoadBalancers(vec![balancer()]), GetOutput::Wide);
    assert!(wide.contains("TCP 9000 (Stopped: no NAT prefix)"), "{wide}");
}

#[test]
fn shows_weight_health_and_load_of_servers() {
    assert_eq!(
        show(&View::Servers(servers()), GetOutput::Table),
        "GROUP  SERVER             WEIGHT  HEALTH                    SINCE  ACTIVE  TOTAL\n\
         web    172.16.1.20:80        100  Normal                    3m12s       2   1023\n\
         web    172.16.1.21:80   37.5/100  Normal, slow start        3m12s       2   1023\n\
         web    192.168.1.20:80     0/100  Unhealthy CONNECT_TIMEO…  1d01h       2   1023\n"
    );
    let wide = show(&View::Servers(servers()), GetOutput::Wide);
    let last = wide.lines().last().unwrap();
    assert!(last.contains("Unhealthy CONNECT_TIMEOUT") && last.contains("yes     via tr-chengdu"), "{wide}");
    assert!(last.ends_with("no answer in 5 s"), "{wide}");
}

#[test]
fn shows_where_routes_lead() {
    let route =
        |destination: &str, target| RouteView { vpc: "vpc1".into(), destination: destination.into(), target };
    let via = |next_hops: &[&str]| RouteTarget::TransitRouter {
        name: "tr-chengdu".into(),
        next_hops: next_hops.iter().map(|name| (*name).to_owned()).collect(),
    };
    assert_eq!(
        show(
            &View::Routes(vec![
                route("172.16.0.0/12", RouteTarget::Local),
                route("192.168.0.0/16", via(&["tr-chengdu-a", "tr-chengdu-b"])),
                route("10.0.0.0/8", via(&[])),
            ]),
            GetOutput::Table
        ),
        "VPC   DESTINATION     TARGET      NEXT HOPS\n\
         vpc1  172.16.0.0/12   local       -\n\
         vpc1  192.168.0.0/16  tr-chengdu  tr-chengdu-a, tr-chengdu-b\n\
         vpc1  10.0.0.0/8      tr-chengdu  none\n"
    );
}

#[test]
fn shows_tunnels_and_their_traffic() {
    assert_eq!(
        show(&View::NextHops(vec![next_hop()]), GetOutput::Table),
        "NAME          ZONE       ENDPOINT      TUNNEL     WEIGHT    SENT  RECEIVED\n\
         tr-chengdu-a  chengdu-a  172.16.1.254  vxlan 101     100  123456     98765\n"
    );
    let wide = show(&View::NextHops(vec![next_hop()]), GetOutput::Wide);
    assert!(wide.contains("172.16.1.10 on eth1"), "{wide}");
}

#[test]
fn fits_a_terminal_of_80_columns_with_long_names() {
    let long = "a-name-of-a-person-with-a-taste-for-very-long-names-indeed".to_owned();
    let mut balancer = balancer();
    balancer.dns_name = format!("{long}.example");
    balancer.name = long.clone();
    let mut server = servers().remove(2);
    server.group = long.clone();
    server.counters.requests = u64::MAX / 2;
    let mut hop = next_hop();
    hop.name = long.clone();
    hop.zone = long;
    for view in [View::LoadBalancers(vec![balancer]), View::Servers(vec![server]), View::NextHops(vec![hop])]
    {
        let table = show(&view, GetOutput::Table);
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    }
}

#[test]
fn prints_the_same_as_json_that_programs_can_read() {
    let json = show(&View::Servers(servers()), GetOutput::Json);
    let back: Vec<ServerView> = serde_json::from_str(&json).unwrap();
    assert_eq!(back, servers());
}

#[test]
fn writes_durations_short() {
    for (secs, text) in [
        (0, "0s"),
        (59, "59s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (86399, "23h59m"),
        (86400, "1d00h"),
    ] {
        assert_eq!(duration(secs), text);
    }
}
