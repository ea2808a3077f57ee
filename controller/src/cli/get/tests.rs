use super::*;
use crate::api::{AclView, RuleView, SecurityPolicyView};
use crate::api::{
    DrainView, EventView, EvidenceView, FailureView, HashView, HealthCheckTemplateView, HealthCheckView,
    HealthStatus, InventoryView, LinkCounters, ListenerStatus, ListenerView, LoadBalancerView, NextHopView,
    PathView, ResourcesView, RevisionView, RouteTarget, RouteView, ServerCounters, ServerGroupView,
    ServerView, StickySessionView, ZoneView,
};
use crate::config::{Change, ChangeKind};
use crate::store::Revision;

/// Seconds since 1970, for ages.
const NOW: u64 = 1_000_000;

fn table(view: &View) -> String {
    show(view, GetOutput::Table, NOW)
}

fn wide(view: &View) -> String {
    show(view, GetOutput::Wide, NOW)
}

pub(in crate::cli) fn balancer() -> LoadBalancerView {
    let zone = |zone: &str, vswitch: &str, vip: [u8; 4], net: u8, served_here| ZoneView {
        zone: zone.into(),
        vswitch: vswitch.into(),
        vip: vip.into(),
        local_addresses: vec![[172, 16, net, 11].into(), [172, 16, net, 12].into()],
        ipv6_vip: None,
        ipv6_local_addresses: vec![],
        served_here,
    };
    let listener = |name: &str, protocol: &str, port, status, problem: Option<&str>| ListenerView {
        name: name.into(),
        load_balancer: "alb1".into(),
        idle_timeout_secs: (protocol == "HTTP").then_some(15),
        request_timeout_secs: (protocol == "HTTP").then_some(60),
        x_forwarded_for: protocol == "HTTP",
        trusted_proxies: vec![],
        settings: vec![],
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
        address_ip_version: "IPv4".into(),
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

pub(in crate::cli) fn server(address: &str, health: HealthStatus) -> ServerView {
    ServerView {
        group: "web".into(),
        id: None,
        address: address.parse().unwrap(),
        weight: 100,
        effective_weight: 100.0,
        health,
        failure: None,
        since_secs: 192,
        evidence: None,
        next_probe_ms: None,
        in_slow_start: false,
        slow_start: None,
        is_draining: false,
        drains: Vec::new(),
        counters: ServerCounters { active: 2, requests: 1023, connections: 40, ..Default::default() },
        zone: Some("chengdu-a".into()),
        remote_ip: false,
        description: None,
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
        table(&View::LoadBalancers(vec![balancer()])),
        "NAME  EDITION   TYPE      DNS NAME            LISTENERS\n\
         alb1  Standard  Internet  alb1.causeway.test  HTTP 80, TCP 9000 (Stopped)\n\
         \n\
         NAME  ZONE                    VIP           LOCAL ADDRESSES\n\
         alb1  chengdu-a               203.0.113.10  172.16.1.11, 172.16.1.12\n\
         alb1  chengdu-b (other node)  203.0.113.11  172.16.2.11, 172.16.2.12\n"
    );
    let wide = wide(&View::LoadBalancers(vec![balancer()]));
    assert!(wide.contains("TCP 9000 (Stopped: no NAT prefix)"), "{wide}");
    let mut dual = balancer();
    dual.zones[0].ipv6_vip = Some("2001:db8:203::10".parse().unwrap());
    dual.zones[0].ipv6_local_addresses = vec!["2001:db8:16:1::11".parse().unwrap()];
    let wide = self::wide(&View::LoadBalancers(vec![dual]));
    assert!(
        wide.contains("203.0.113.10, 2001:db8:203::10  172.16.1.11, 172.16.1.12, 2001:db8:16:1::11\n"),
        "{wide}"
    );
}

#[test]
fn shows_weight_health_and_load_of_servers() {
    assert_eq!(
        table(&View::Servers(servers())),
        "GROUP  SERVER             WEIGHT  HEALTH                    SINCE  ACTIVE  TOTAL\n\
         web    172.16.1.20:80        100  Normal                    3m12s       2   1023\n\
         web    172.16.1.21:80   37.5/100  Normal, slow start        3m12s       2   1023\n\
         web    192.168.1.20:80     0/100  Unhealthy CONNECT_TIMEO…  1d01h       2   1023\n"
    );
    let wide = wide(&View::Servers(servers()));
    let last = wide.lines().last().unwrap();
    assert!(last.contains("Unhealthy CONNECT_TIMEOUT") && last.contains("yes     via tr-chengdu"), "{wide}");
    assert!(last.ends_with("no answer in 5 s"), "{wide}");
}

// Holds SG-192, SG-193, SG-202
#[test]
fn shows_the_evidence_of_health_and_the_progress_of_drains() {
    let mismatch = FailureView {
        reason: "RESPONSE_MISMATCH".into(),
        actual: Some("404".into()),
        expected: Some("HTTP_2xx".into()),
        detail: String::new(),
    };
    let failing = ServerView {
        failure: Some(mismatch.clone()),
        evidence: Some(EvidenceView { failure: Some(mismatch), ago_ms: 1250, in_a_row: 7 }),
        next_probe_ms: Some(840),
        description: Some("rack 4".into()),
        ..server("172.16.1.20:80", HealthStatus::Unhealthy)
    };
    let passing = ServerView {
        id: Some("ecs:i-web1".into()),
        evidence: Some(EvidenceView { failure: None, ago_ms: 90, in_a_row: 3 }),
        next_probe_ms: Some(0),
        ..server("172.16.1.21:80", HealthStatus::Normal)
    };
    let leaving = ServerView {
        is_draining: true,
        drains: vec![DrainView {
            cause: "removed".into(),
            elapsed_secs: 5,
            remaining_secs: 25,
            in_flight: Some((12, 3)),
        }],
        ..server("172.16.1.22:80", HealthStatus::Removing)
    };
    let wide = wide(&View::Servers(vec![failing, passing, leaving.clone()]));
    let lines: Vec<&str> = wide.lines().collect();
    assert!(lines[1].contains("RESPONSE_MISMATCH x7, 1.2s ago  0.8s  -"), "{wide}");
    assert!(lines[1].ends_with("got 404, expected HTTP_2xx  rack 4"), "{wide}");
    assert!(
        lines[2].contains("ecs:i-web1") && lines[2].contains("passed x3, 0.0s ago             0.0s"),
        "{wide}"
    );
    assert!(lines[3].contains("removed, 3 of 12 left, 25s"), "{wide}");
    let table = table(&View::Servers(vec![leaving]));
    assert!(table.contains("Removing, draining"), "{table}");
}

pub(in crate::cli) fn check() -> HealthCheckView {
    HealthCheckView {
        protocol: "HTTP".into(),
        method: Some("HEAD".into()),
        path: Some("/health".into()),
        host: None,
        http_version: Some("HTTP1.1".into()),
        codes: vec!["http_2xx".into(), "http_3xx".into()],
        connect_port: None,
        interval_secs: 2,
        timeout_secs: 5,
        healthy_threshold: 3,
        unhealthy_threshold: 3,
        detects_within_secs: 17,
    }
}

pub(in crate::cli) fn group(name: &str) -> ServerGroupView {
    ServerGroupView {
        name: name.into(),
        group_type: "Ip".into(),
        vpc: Some("vpc1".into()),
        protocol: "HTTP".into(),
        scheduler: "Wrr".into(),
        hash: None,
        health_check: Some(check()),
        sticky_session: None,
        slow_start_secs: None,
        connection_drain_secs: Some(30),
        upstream_keepalive: true,
        cross_zone: true,
        ipv6: false,
        tls_verification: None,
        service_name: None,
        ip_version_affinity_mode: None,
        resource_group: None,
        tags: [("team".to_owned(), "web".to_owned())].into(),
        server_count: 3,
        healthy_count: 2,
        is_fail_open: false,
        listeners: vec!["http".into(), "https".into()],
        load_balancers: vec!["alb1".into()],
    }
}

// Holds SG-13
#[test]
fn shows_groups_with_how_many_servers_are_healthy_and_who_uses_them() {
    let groups = vec![
        group("web"),
        ServerGroupView {
            healthy_count: 0,
            is_fail_open: true,
            listeners: vec!["tcp".into()],
            ..group("api")
        },
        ServerGroupView {
            group_type: "Fc".into(),
            vpc: None,
            server_count: 1,
            listeners: vec![],
            health_check: None,
            ..group("hello")
        },
        ServerGroupView {
            scheduler: "Sch".into(),
            hash: Some(HashView::UrlParameter { name: "user".into() }),
            sticky_session: Some(StickySessionView::Insert { timeout_secs: 1000 }),
            ..group("shop")
        },
    ];
    assert_eq!(
        table(&View::ServerGroups(groups.clone())),
        "NAME   TYPE  PROTOCOL  SCHEDULER             HEALTHY        USED BY\n\
         web    Ip    HTTP      Wrr                   2/3            http, https\n\
         api    Ip    HTTP      Wrr                   0/3 fail-open  tcp\n\
         hello  Fc    HTTP      Wrr                   -/1            -\n\
         shop   Ip    HTTP      Sch (parameter user)  2/3            http, https\n"
    );
    let wide = wide(&View::ServerGroups(groups));
    assert_eq!(
        wide.lines()
            .nth(1)
            .unwrap()
            .split("  ")
            .filter(|cell| !cell.is_empty())
            .map(str::trim)
            .collect::<Vec<_>>(),
        [
            "web",
            "Ip",
            "vpc1",
            "HTTP",
            "Wrr",
            "2/3",
            "HTTP HEAD /health, every 2s",
            "off",
            "off",
            "30s",
            "on",
            "on",
            "off",
            "http, https",
            "team=web"
        ]
    );
    assert!(wide.contains("Insert, 1000s"), "{wide}");
}

#[test]
fn shows_what_happened_lately() {
    let event = |ago_secs, server: Option<&str>, what: &str| EventView {
        ago_secs,
        group: "web".into(),
        server: server.map(|server| server.parse().unwrap()),
        what: what.into(),
        is_warning: true,
    };
    let unhealthy = "is unhealthy: CONNECT_TIMEOUT (no answer within 5 s)";
    assert_eq!(
        table(&View::Events(vec![
            event(192, Some("172.16.1.20:80"), unhealthy),
            event(3, None, "fail-open ended")
        ])),
        "  AGE  GROUP  SERVER          EVENT\n\
         3m12s  web    172.16.1.20:80  is unhealthy: CONNECT_TIMEOUT (no answer within 5…\n   \
            3s  web    all             fail-open ended\n"
    );
    assert!(wide(&View::Events(vec![event(1, None, unhealthy)])).contains(unhealthy));
}

#[test]
fn shows_listeners_and_templates() {
    assert_eq!(
        table(&View::Listeners(balancer().listeners)),
        "NAME  LOAD BALANCER  PROTOCOL  PORT  SERVER GROUP  STATUS\n\
         http  alb1           HTTP        80  web           Running\n\
         tcp   alb1           TCP       9000  web           Stopped\n"
    );
    let wide = wide(&View::Listeners(balancer().listeners));
    assert!(wide.contains("15s              60s  yes") && wide.contains("Stopped: no NAT prefix"), "{wide}");
    let template = HealthCheckTemplateView { name: "strict".into(), health_check: check() };
    assert_eq!(
        table(&View::HealthCheckTemplates(vec![template])),
        "NAME    PROBE              PASSES ON          INTERVAL  TIMEOUT  THRESHOLDS\n\
         strict  HTTP HEAD /health  http_2xx,http_3xx        2s       5s         3/3\n"
    );
}

#[test]
fn shows_the_inventory_and_the_groups_that_hold_it() {
    let instance = InventoryView {
        kind: "Ecs".into(),
        id: "i-web1".into(),
        instance: None,
        vpc: Some("vpc1".into()),
        vswitch: Some("vsw1".into()),
        zone: Some("chengdu-a".into()),
        addresses: vec!["172.16.1.20".parse().unwrap(), "fd00:16:1::20".parse().unwrap()],
        triggers: vec![],
        groups: vec!["shop".into()],
    };
    let function = InventoryView {
        kind: "Fc".into(),
        id: "acs:fc:cn-chengdu:1:functions/hello".into(),
        vpc: None,
        vswitch: None,
        zone: None,
        addresses: vec![],
        triggers: vec![("LATEST".into(), "http://hello.fc.test/x".into())],
        groups: vec![],
        ..instance.clone()
    };
    assert_eq!(
        table(&View::Inventory(vec![instance.clone(), function.clone()])),
        "TYPE  ID                           ADDRESSES                   ZONE       GROUPS\n\
         Ecs   i-web1                       172.16.1.20, fd00:16:1::20  chengdu-a  shop\n\
         Fc    acs:fc:cn-chengdu:1:functi…  -                           -          -\n"
    );
    let wide = wide(&View::Inventory(vec![instance, function]));
    assert!(wide.contains("LATEST http://hello.fc.test/x") && wide.contains("vpc1  vsw1"), "{wide}");
}

#[test]
fn shows_revisions_and_what_they_changed() {
    let change = |detail: &str| Change {
        kind: ChangeKind::Changed,
        subject: "server group \"web\", server 172.16.1.20:80".into(),
        detail: detail.into(),
    };
    let revision = |number, age, in_force, changes| RevisionView {
        revision: Revision(number),
        kept_at: NOW - age,
        bytes: 100,
        in_force,
        changes,
    };
    let revisions = vec![
        revision(9, 132, true, Some(vec![change("weight 100 -> 0")])),
        revision(8, 4000, false, Some(vec![change("weight 1 -> 100"), change("description")])),
        revision(7, 100_000, false, Some(vec![])),
        revision(6, 200_000, false, None),
    ];
    assert_eq!(
        table(&View::History(revisions.clone())),
        "REVISION    AGE  CHANGES\n\
         9 *       2m12s  ~ server group \"web\", server 172.16.1.20:80: weight 100 -> 0\n\
         8         1h06m  ~ server group \"web\", server 172.16.1.20:80: weight 1 -> 100; …\n\
         7         1d03h  nothing\n\
         6         2d07h  unknown\n"
    );
    let one = table(&View::History(vec![revisions[1].clone()]));
    assert!(one.ends_with("100\n~ server group \"web\", server 172.16.1.20:80: description\n"), "{one}");
}

#[test]
fn prints_resources_as_they_are_kept() {
    let text = "# a comment\nlisteners: []\n";
    let view = View::Resources(ResourcesView { revision: Some(Revision(3)), text: text.into() });
    for output in [GetOutput::Table, GetOutput::Wide, GetOutput::Yaml] {
        assert_eq!(show(&view, output, NOW), text);
    }
    let json: serde_json::Value = serde_json::from_str(&show(&view, GetOutput::Json, NOW)).unwrap();
    assert_eq!((&json["revision"], &json["text"]), (&3.into(), &text.into()));
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
        table(&View::Routes(vec![
            route("172.16.0.0/12", RouteTarget::Local),
            route("192.168.0.0/16", via(&["tr-chengdu-a", "tr-chengdu-b"])),
            route("10.0.0.0/8", via(&[])),
        ])),
        "VPC   DESTINATION     TARGET      NEXT HOPS\n\
         vpc1  172.16.0.0/12   local       -\n\
         vpc1  192.168.0.0/16  tr-chengdu  tr-chengdu-a, tr-chengdu-b\n\
         vpc1  10.0.0.0/8      tr-chengdu  none\n"
    );
}

#[test]
fn shows_tunnels_and_their_traffic() {
    assert_eq!(
        table(&View::NextHops(vec![next_hop()])),
        "NAME          ZONE       ENDPOINT      TUNNEL     WEIGHT    SENT  RECEIVED\n\
         tr-chengdu-a  chengdu-a  172.16.1.254  vxlan 101     100  123456     98765\n"
    );
    let wide = wide(&View::NextHops(vec![next_hop()]));
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
    hop.zone = long.clone();
    let listener =
        ListenerView { name: long.clone(), server_group: long.clone(), ..balancer.listeners[0].clone() };
    let mut groups = group(&long);
    groups.listeners = vec![long.clone(), long.clone()];
    let template = HealthCheckTemplateView { name: long, health_check: check() };
    for view in [
        View::LoadBalancers(vec![balancer]),
        View::Servers(vec![server]),
        View::NextHops(vec![hop]),
        View::Listeners(vec![listener]),
        View::ServerGroups(vec![groups]),
        View::HealthCheckTemplates(vec![template]),
    ] {
        let table = table(&view);
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    }
}

#[test]
fn prints_the_same_as_json_and_yaml_that_programs_can_read() {
    let json = show(&View::Servers(servers()), GetOutput::Json, NOW);
    let back: Vec<ServerView> = serde_json::from_str(&json).unwrap();
    assert_eq!(back, servers());
    let yaml = show(&View::Servers(servers()), GetOutput::Yaml, NOW);
    assert!(
        yaml.starts_with("- group: web\n  id: null\n  address: 172.16.1.20:80\n  weight: 100\n"),
        "{yaml}"
    );
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

#[test]
fn shows_rules_lists_and_policies() {
    let rule = RuleView {
        listener: "http".into(),
        name: "api".into(),
        direction: "Response".into(),
        priority: 10,
        conditions: vec!["status is 5xx".into(), "path is /a*".into()],
        actions: vec!["remove header x-a".into(), "answer 404, 0 bytes of text/plain".into()],
    };
    let acl = AclView {
        name: "office".into(),
        entries: vec![("192.0.2.0/24".into(), None), ("10.0.0.0/8".into(), Some("all".into()))],
        listeners: vec!["http (White)".into()],
    };
    let policy = SecurityPolicyView {
        name: "mine".into(),
        is_system: false,
        versions: vec!["TLSv1.2".into(), "TLSv1.3".into()],
        suites: vec!["TLS13_AES_128_GCM_SHA256".into()],
        left_out: vec!["TLSv1.0 (not spoken)".into()],
        listeners: vec!["https".into()],
    };
    let views = [View::Rules(vec![rule]), View::Acls(vec![acl]), View::SecurityPolicies(vec![policy])];
    let expected = [
        "LISTENER  PRIORITY  RULE            IF                     THEN\n\
         http            10  api (response)  status is 5xx and pa…  remove header x-a, t…\n",
        "NAME    COUNT  ENTRIES                   LISTENERS\n\
         office      2  192.0.2.0/24, 10.0.0.0/8  http (White)\n",
        "NAME  SERVED            SUITES  NOT SERVED            LISTENERS\n\
         mine  TLSv1.2, TLSv1.3       1  TLSv1.0 (not spoken)  https\n",
    ];
    for (view, expected) in views.iter().zip(expected) {
        assert_eq!(table(view), expected);
    }
}
