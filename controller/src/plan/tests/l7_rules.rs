//! What the L7 engine is told of rules, TLS and access control lists.

use super::l7::{second_zone, told, world};
use super::*;
use crate::model::ListenerProtocol::{Http, Https, Quic, Tcp};
use crate::model::{
    Acl, AclEntry, AclKind, AclName, Actions, CertificateName, Condition, Extension, Final, FixedResponse,
    Forward, GroupShare, ListenerAcl, ListenerName, ListenerTls, Ordered, Pattern, Rule, RuleDirection,
    RuleName, SecurityPolicy, SecurityPolicyName, TlsVersion,
};
use crate::snapshot::{AclSnapshot, DownstreamProtocol, Snapshot, TlsSnapshot};

fn listener<'w>(world: &'w mut World, name: &str) -> &'w mut Listener {
    world.resources.listeners.get_mut(&ListenerName::new(name)).unwrap()
}

fn l7_group(world: &mut World, name: &str, address: &str) {
    world.group(name, &[(address, 100)]).protocol = GroupProtocol::Http;
}

/// Forwards to `groups`, and mirrors to those in `mirrors`.
fn forward(name: &str, priority: u16, groups: &[&str], mirrors: &[&str]) -> Rule {
    let extensions = mirrors.iter().zip(1..).map(|(group, order)| Ordered {
        order,
        action: Extension::TrafficMirror { group: ServerGroupName::new(*group) },
    });
    let shares = groups.iter().map(|group| GroupShare { group: ServerGroupName::new(*group), weight: 50 });
    Rule {
        name: RuleName::new(name),
        direction: RuleDirection::Request,
        priority,
        conditions: vec![Condition::Path(vec![Pattern::glob("/api/*")])],
        actions: Actions {
            extensions: extensions.collect(),
            last: Some(Ordered {
                order: 50,
                action: Final::Forward(Forward { groups: shares.collect(), sticky_secs: Some(60) }),
            }),
        },
    }
}

fn answer(name: &str, priority: u16, direction: RuleDirection) -> Rule {
    let fixed = FixedResponse { status: 404, content_type: "text/plain".into(), content: String::new() };
    Rule {
        direction,
        actions: Actions {
            extensions: vec![],
            last: Some(Ordered { order: 1, action: Final::FixedResponse(fixed) }),
        },
        ..forward(name, priority, &[], &[])
    }
}

/// Names of the groups that the nth listener's rules lead to.
fn groups_of_rules(told: &Snapshot, place: usize) -> Vec<Vec<&str>> {
    let names = |actions: &Actions<u32>| -> Vec<&str> {
        actions.groups().map(|place| told.groups[*place as usize].name.as_str()).collect()
    };
    told.listeners[place].rules.iter().map(|rule| names(&rule.actions)).collect()
}

// Holds LR-60, LR-63
#[test]
fn rules_lead_to_groups_that_no_default_action_uses() {
    let mut world = world();
    l7_group(&mut world, "api", "172.16.1.30:80");
    l7_group(&mut world, "copy", "172.16.1.31:80");
    l7_group(&mut world, "unused", "172.16.1.32:80");
    listener(&mut world, "Http80").rules = vec![
        forward("first", 1, &["api", "web"], &["copy"]),
        forward("second", 2, &["api"], &[]),
        answer("third", 1, RuleDirection::Response),
    ];
    let told = told(&world);
    let groups: Vec<&str> = told.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(groups, ["web", "copy", "api"]);
    assert_eq!(groups_of_rules(&told, 0), [vec!["copy", "api", "web"], vec!["api"]]);
    let [listener] = told.listeners.as_slice() else { panic!("one zone, one listener") };
    assert_eq!(listener.rules[0].conditions, [Condition::Path(vec![Pattern::Wildcard("/api/*".into())])]);
    let [response] = listener.response_rules.as_slice() else { panic!("one response rule") };
    assert_eq!(response.id, "third");
}

// Holds SG-171
#[test]
fn rules_see_the_servers_of_their_zone_where_traffic_stays() {
    let mut world = world();
    second_zone(&mut world);
    world.group("api", &[("172.16.1.30:80", 100), ("172.16.2.30:80", 100)]).protocol = GroupProtocol::Http;
    let api = world.resources.server_groups.get_mut(&ServerGroupName::new("api")).unwrap();
    api.cross_zone = false;
    for (server, zone) in api.servers.iter_mut().zip(["a", "b"]) {
        server.zone = Some(ZoneName::new(zone));
    }
    listener(&mut world, "Http80").rules = vec![forward("api", 1, &["api"], &[])];
    let told = told(&world);
    let servers = |listener: usize| -> Vec<String> {
        let group = *told.listeners[listener].rules[0].actions.groups().next().unwrap();
        told.groups[group as usize].servers.iter().map(|server| server.address.to_string()).collect()
    };
    assert_eq!(servers(0), ["172.16.1.30:80"]);
    assert_eq!(servers(1), ["172.16.2.30:80"]);
    assert_eq!(told.groups.len(), 3, "one view of web, two of api");
}

#[test]
fn a_rule_is_told_by_its_name_where_that_is_the_only_one() {
    let mut world = world();
    world.listener(Http, 81, "web");
    listener(&mut world, "Http80").rules = vec![
        answer("one", 1, RuleDirection::Request),
        answer("two", 7, RuleDirection::Request),
        answer("rule-default-Http80", 8, RuleDirection::Request),
        answer("two", 7, RuleDirection::Response),
    ];
    listener(&mut world, "Http81").rules = vec![answer("two", 9, RuleDirection::Request)];
    let told = told(&world);
    let rules =
        told.listeners.iter().flat_map(|listener| listener.rules.iter().chain(&listener.response_rules));
    assert_eq!(
        rules.map(|rule| rule.id.as_str()).collect::<Vec<_>>(),
        [
            "one",
            "two (Http80 Request 7)",
            "rule-default-Http80 (Http80 Request 8)",
            "two (Http80 Response 7)",
            "two (Http81 Request 9)"
        ]
    );
}

// Holds LR-5
#[test]
fn a_stopped_listener_is_left_out_and_the_others_stay() {
    let mut world = world();
    l7_group(&mut world, "api", "172.16.1.30:80");
    world.listener(Http, 81, "api");
    world.group("tcp", &[("172.16.1.31:80", 100)]);
    world.listener(Tcp, 9000, "tcp");
    let vips = |world: &World| -> Vec<u16> {
        let keys = world.wanted().unwrap().keys.vips;
        let ports: BTreeSet<u16> = keys.keys().map(|key| key.port.get()).collect();
        ports.into_iter().collect()
    };
    assert_eq!(vips(&world), [0, 80, 81, 9000]);
    listener(&mut world, "Http81").enabled = false;
    listener(&mut world, "Tcp9000").enabled = false;
    let told = told(&world);
    let names: Vec<&str> = told.listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert_eq!(names, ["Http80"]);
    assert_eq!(told.groups.len(), 1);
    assert_eq!(vips(&world), [80]);
}

fn tls(certificates: &[&str], policy: &str) -> Option<ListenerTls> {
    Some(ListenerTls {
        certificates: certificates.iter().map(|name| CertificateName::new(*name)).collect(),
        policy: SecurityPolicyName::new(policy),
        client_authorities: Some("authority".into()),
        http2: false,
    })
}

// Holds LR-20, LR-24, LR-26, LR-29
#[test]
fn listeners_with_tls_have_what_the_policy_and_the_store_give() {
    let mut world = world();
    world.listener(Https, 443, "web");
    world.listener(Quic, 443, "web");
    world.listener(Https, 444, "web");
    listener(&mut world, "Https443").tls = tls(&["www", "api"], "tls_cipher_policy_1_2_strict_with_1_3");
    listener(&mut world, "Https443").quic_upgrade = Some(ListenerName::new("Quic443"));
    listener(&mut world, "Quic443").tls = tls(&["api"], "tls_cipher_policy_1_2_strict_with_1_3");
    listener(&mut world, "Https444").tls = tls(&["api", "gone"], "mine");
    let mine = SecurityPolicy {
        name: SecurityPolicyName::new("mine"),
        versions: vec![TlsVersion::Tls12],
        ciphers: vec!["ECDHE-RSA-AES256-GCM-SHA384".into(), "AES128-SHA".into()],
    };
    world.resources.security_policies.insert(mine.name.clone(), mine);

    let told = told(&world);
    let names: Vec<&str> = told.certificates.iter().map(|certificate| certificate.name.as_str()).collect();
    assert_eq!(names, ["www", "api"], "each once");
    let by_name = |name: &str| told.listeners.iter().find(|listener| listener.name == name).unwrap();
    let DownstreamProtocol::Https(https) = &by_name("Https443").protocol else { panic!("not HTTPS") };
    assert_eq!(https.certificates, [0, 1]);
    assert_eq!(https.versions, [TlsVersion::Tls12, TlsVersion::Tls13]);
    assert!(https.suites.contains(&"TLS13_AES_128_GCM_SHA256".to_owned()), "{:?}", https.suites);
    assert_eq!((https.client_authorities.as_deref(), https.http2), (Some("authority"), false));
    let DownstreamProtocol::Quic(quic) = &by_name("Quic443").protocol else { panic!("not QUIC") };
    assert_eq!(quic.certificates, [1]);
    assert_eq!(
        by_name("Https444").protocol,
        DownstreamProtocol::Https(TlsSnapshot {
            certificates: vec![1],
            versions: vec![TlsVersion::Tls12],
            suites: vec!["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384".into()],
            client_authorities: Some("authority".into()),
            http2: false,
        })
    );
    let ports = ["Https443", "Quic443", "Https444", "Http80"].map(|name| by_name(name).alt_svc_port);
    assert_eq!(ports, [Some(443), None, None, None]);
    assert_ne!(by_name("Https443").id, by_name("Quic443").id, "one port, two transports");

    listener(&mut world, "Quic443").enabled = false;
    let told = super::l7::told(&world);
    assert!(
        told.listeners.iter().all(|listener| listener.alt_svc_port.is_none()),
        "it advertises a stopped one"
    );
}

#[test]
fn a_listener_without_its_certificate_is_left_out() {
    let mut world = world();
    world.listener(Https, 443, "web");
    listener(&mut world, "Https443").tls = tls(&["gone", "www"], "tls_cipher_policy_1_2");
    let names: Vec<String> = told(&world).listeners.into_iter().map(|listener| listener.name).collect();
    assert_eq!(names, ["Http80"]);
}

// Holds LR-30, LR-31
#[test]
fn the_entries_of_all_lists_of_a_listener_are_told() {
    let mut world = world();
    for (name, cidrs) in
        [("office", &["192.0.2.0/24", "2001:db8::/32"][..]), ("home", &["198.51.100.7/32"]), ("none", &[])]
    {
        let entries = cidrs.iter().map(|cidr| AclEntry { cidr: cidr.parse().unwrap(), description: None });
        let acl = Acl { name: AclName::new(name), entries: entries.collect() };
        world.resources.acls.insert(acl.name.clone(), acl);
    }
    let mut acl = |kind, names: &[&str]| {
        let acls = names.iter().map(|name| AclName::new(*name)).collect();
        listener(&mut world, "Http80").acl = Some(ListenerAcl { kind, acls });
        let acl = told(&world).listeners.remove(0).acl.unwrap();
        assert_eq!(acl.kind, kind);
        acl.entries.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        acl(AclKind::White, &["office", "home"]),
        ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32"]
    );
    assert_eq!(acl(AclKind::Black, &["none"]), [""; 0]);
    listener(&mut world, "Http80").acl = None;
    assert_eq!(told(&world).listeners[0].acl, None::<AclSnapshot>);
}

#[test]
fn settings_of_a_listener_are_told() {
    let mut world = world();
    let of = listener(&mut world, "Http80");
    of.gzip = false;
    of.logged_headers = vec!["x-request-id".into()];
    of.trusted_proxies = Some(vec!["10.0.0.0/8".parse().unwrap()]);
    of.forwarded.proto = true;
    of.timeouts.idle = Duration::from_secs(7);
    of.timeouts.request = Duration::from_secs(8);
    let told = told(&world).listeners.remove(0);
    assert_eq!((told.gzip, told.load_balancer.as_str()), (false, "lb"));
    assert_eq!(told.logged_headers, ["x-request-id"]);
    assert_eq!(told.trusted_proxies, Some(vec!["10.0.0.0/8".parse().unwrap()]));
    assert!(told.forwarded.proto);
    assert_eq!((told.idle_timeout_ms, told.request_timeout_ms), (7000, 8000));
}
