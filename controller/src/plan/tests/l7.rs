//! What the L7 engine is told.

use super::{World, server_address, zone};
use crate::certificate::tests::certificate;
use crate::health::group::RampStanding;
use crate::health::{Moment, Status};
use crate::model::ListenerProtocol::{Http, Tcp};
use crate::model::{
    CertificateName, FunctionTrigger, GroupProtocol, HashFactor, LoadBalancerName, Scheduler, ServerGroup,
    ServerGroupName, StickySession, TlsVerification, VswitchName, ZoneMapping, ZoneName,
};
use crate::plan::{Ids, SnapshotInputs, snapshot, sources};
use crate::snapshot::{
    FunctionSnapshot, GroupSnapshot, ListenerSnapshot, Ramp, SchedulerSnapshot, ServerSnapshot, Snapshot,
    StickySnapshot, UpstreamProtocol, VerificationSnapshot,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub(super) fn world() -> World {
    let mut world = World::new();
    web(&mut world, &[("172.16.1.20:80", 100), ("172.16.1.21:80", 50)]);
    world.listener(Http, 80, "web");
    world
}

fn web<'w>(world: &'w mut World, servers: &[(&str, u32)]) -> &'w mut ServerGroup {
    let group = world.group("web", servers);
    group.protocol = GroupProtocol::Http;
    group
}

fn group(world: &mut World) -> &mut ServerGroup {
    world.resources.server_groups.get_mut(&ServerGroupName::new("web")).unwrap()
}

fn told_with(world: &World, ids: &mut Ids) -> Snapshot {
    told_without(world, &[], ids)
}

/// Zones `dead` are; the store holds certificates "www" and "api".
pub(super) fn told_without(world: &World, dead: &[&str], ids: &mut Ids) -> Snapshot {
    let World { node, resources, standings, .. } = world;
    let dead = dead.iter().map(|zone| ZoneName::new(*zone)).collect();
    let certificates = ["www", "api"].map(|name| (CertificateName::new(name), certificate(&[name])));
    let certificates = BTreeMap::from(certificates);
    let inputs = SnapshotInputs { node, resources, standings, dead: &dead, certificates: &certificates };
    snapshot(&inputs, ids)
}

pub(super) fn told(world: &World) -> Snapshot {
    told_with(world, &mut Ids::default())
}

fn only_group(world: &World) -> GroupSnapshot {
    let [group] = <[GroupSnapshot; 1]>::try_from(told(world).groups).expect("one group");
    group
}

fn statuses(world: &mut World, statuses: &[(Status, bool)]) {
    let standings = world.standings.get_mut(&ServerGroupName::new("web")).unwrap();
    for (standing, (status, receives_new)) in standings.iter_mut().zip(statuses) {
        (standing.status, standing.receives_new) = (*status, *receives_new);
    }
}

/// Zone b beside zone a.
pub(super) fn second_zone(world: &mut World) {
    world.node.zones.push(zone("b", Ipv4Addr::new(172, 16, 2, 10)));
    let balancer = world.resources.load_balancers.get_mut(&LoadBalancerName::new("lb")).unwrap();
    balancer.zone_mappings.push(ZoneMapping {
        zone: ZoneName::new("b"),
        vswitch: VswitchName::new("vsw-b"),
        vip: "203.0.113.11".parse().unwrap(),
        local_addresses: vec!["172.16.2.101".parse().unwrap()],
        ..balancer.zone_mappings[0].clone()
    });
}

fn addresses(group: &GroupSnapshot) -> Vec<String> {
    group.servers.iter().map(|server| server.address.to_string()).collect()
}

#[test]
fn a_listener_and_its_group_in_full() {
    let mut world = world();
    let start = Moment::from_nanos(5_000_000_000);
    world.standings.get_mut(&ServerGroupName::new("web")).unwrap()[1].ramp =
        Some(RampStanding { start, duration: Duration::from_secs(30) });
    let listener = ListenerSnapshot {
        load_balancer: "lb".into(),
        gzip: true,
        ..ListenerSnapshot::new(
            0,
            "Http80",
            vec!["203.0.113.10:80".parse().unwrap()],
            vec!["172.16.1.101".parse().unwrap(), "172.16.1.102".parse().unwrap()],
        )
    };
    let ramp = Ramp { start_ns: 5_000_000_000, duration_ms: 30_000 };
    let group = GroupSnapshot {
        name: "web".into(),
        protocol: UpstreamProtocol::Http,
        keepalive: true,
        fail_open: false,
        scheduler: SchedulerSnapshot::Wrr,
        sticky: None,
        function: None,
        servers: vec![
            ServerSnapshot { id: 0, address: "172.16.1.20:80".parse().unwrap(), weight: 100, ramp: None },
            ServerSnapshot {
                id: 1,
                address: "172.16.1.21:80".parse().unwrap(),
                weight: 50,
                ramp: Some(ramp),
            },
        ],
    };
    let expected = Snapshot {
        listeners: vec![listener],
        certificates: Vec::new(),
        installation: world.node.name.clone(),
        groups: vec![group],
        cookie_keys: Vec::new(),
        cuts: Vec::new(),
    };
    assert_eq!(told(&world), expected);
}

#[test]
fn settings_of_a_group_as_configured() {
    let mut world = world();
    for (scheduler, expected) in [
        (Scheduler::Wlc, SchedulerSnapshot::Wlc),
        (Scheduler::Sch(HashFactor::SourceIp), SchedulerSnapshot::SchSourceIp),
        (
            Scheduler::Sch(HashFactor::UrlParameter("uid".into())),
            SchedulerSnapshot::SchUrlParameter("uid".into()),
        ),
    ] {
        group(&mut world).scheduler = scheduler;
        assert_eq!(only_group(&world).scheduler, expected);
    }
    group(&mut world).sticky_session = Some(StickySession::Insert { timeout: Duration::from_secs(1000) });
    assert_eq!(only_group(&world).sticky, Some(StickySnapshot::Insert { timeout_secs: 1000 }));
    group(&mut world).sticky_session = Some(StickySession::Server { cookie: "SID".into() });
    assert_eq!(only_group(&world).sticky, Some(StickySnapshot::Server { cookie: "SID".into() }));
    group(&mut world).upstream_keepalive = false;
    assert!(!only_group(&world).keepalive);
    group(&mut world).protocol = GroupProtocol::Https;
    assert_eq!(only_group(&world).protocol, UpstreamProtocol::Https { verification: None });
    let verification =
        TlsVerification { ca_certificates: "PEM".into(), server_name: Some("web.example.com".into()) };
    group(&mut world).tls_verification = Some(verification);
    let verification =
        VerificationSnapshot { ca_certificates: "PEM".into(), server_name: Some("web.example.com".into()) };
    assert_eq!(only_group(&world).protocol, UpstreamProtocol::Https { verification: Some(verification) });
    let trigger =
        FunctionTrigger { tls: false, authority: "fc.example.com".into(), path_prefix: "/fn".into() };
    group(&mut world).servers[0].trigger = Some(trigger);
    let function = FunctionSnapshot { authority: "fc.example.com".into(), path_prefix: "/fn".into() };
    assert_eq!(only_group(&world).function, Some(function));
}

// Holds SG-93, SG-94
#[test]
fn only_servers_that_receive_are_listed_and_fail_open_is_said() {
    let mut world = world();
    for (standings, listed, fail_open) in [
        ([(Status::Normal, true), (Status::Unhealthy, false)], 1, false),
        ([(Status::Unavailable, true), (Status::Unavailable, true)], 2, false),
        ([(Status::Unhealthy, true), (Status::Initial, true)], 2, true),
        ([(Status::Initial, true), (Status::Unused, false)], 1, true),
        ([(Status::Unused, false), (Status::Removing, false)], 0, false),
    ] {
        statuses(&mut world, &standings);
        let group = only_group(&world);
        assert_eq!((group.servers.len(), group.fail_open), (listed, fail_open), "{standings:?}");
    }
    // Nothing is known of the group.
    world.standings.clear();
    assert_eq!(addresses(&only_group(&world)), [""; 0]);
}

#[test]
fn listeners_of_a_group_share_it_and_groups_of_tcp_listeners_are_left_out() {
    let mut world = world();
    world.group("tcp", &[("172.16.1.30:80", 100)]);
    world.listener(Tcp, 9000, "tcp");
    world.group("api", &[("172.16.1.40:80", 100)]).protocol = GroupProtocol::Http;
    world.listener(Http, 81, "api");
    world.listener(Http, 82, "web");
    world.listener(Http, 83, "api");
    let told = told(&world);
    let groups: Vec<&str> = told.groups.iter().map(|group| group.name.as_str()).collect();
    let listeners: Vec<(&str, &str)> = told
        .listeners
        .iter()
        .map(|listener| (listener.name.as_str(), groups[listener.group as usize]))
        .collect();
    assert_eq!(listeners, [("Http80", "web"), ("Http81", "api"), ("Http82", "web"), ("Http83", "api")]);
    assert_eq!(groups, ["web", "api"]);
}

// Holds SG-170, SG-171
#[test]
fn each_zone_sees_its_own_servers_where_traffic_stays() {
    let mut world = world();
    second_zone(&mut world);
    web(&mut world, &[("172.16.1.20:80", 100), ("172.16.1.21:80", 100), ("172.16.2.20:80", 100)]);
    for (server, zone) in group(&mut world).servers.iter_mut().zip(["a", "a", "b"]) {
        server.zone = Some(ZoneName::new(zone));
    }
    let all = ["172.16.1.20:80", "172.16.1.21:80", "172.16.2.20:80"];
    let seen = |world: &World| -> Vec<(String, Vec<String>)> {
        let told = told(world);
        let view = |listener: &ListenerSnapshot| addresses(&told.groups[listener.group as usize]);
        told.listeners
            .iter()
            .map(|listener| (listener.addresses[0].ip().to_string(), view(listener)))
            .collect()
    };
    let expected = |a: &[&str], b: &[&str]| -> Vec<(String, Vec<String>)> {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        vec![("203.0.113.10".into(), owned(a)), ("203.0.113.11".into(), owned(b))]
    };
    assert_eq!(seen(&world), expected(&all, &all));
    assert_eq!(told(&world).groups.len(), 1, "both zones see the same");
    group(&mut world).cross_zone = false;
    assert_eq!(seen(&world), expected(&all[..2], &all[2..]));
}

// Holds SG-173
#[test]
fn fail_open_is_said_of_the_zone_that_it_is_in() {
    let mut world = world();
    second_zone(&mut world);
    for (server, zone) in group(&mut world).servers.iter_mut().zip(["a", "b"]) {
        server.zone = Some(ZoneName::new(zone));
    }
    group(&mut world).cross_zone = false;
    statuses(&mut world, &[(Status::Unhealthy, true), (Status::Normal, true)]);
    let fail_open: Vec<bool> = told(&world).groups.iter().map(|group| group.fail_open).collect();
    assert_eq!(fail_open, [true, false]);
}

#[test]
fn numbers_of_servers_and_listeners_last_and_are_given_once() {
    let mut world = world();
    let mut ids = Ids::default();
    let numbers = |world: &World, ids: &mut Ids| -> (Vec<u32>, Vec<u32>) {
        let told = told_with(world, ids);
        let servers = told.groups.iter().flat_map(|group| &group.servers).map(|server| server.id).collect();
        (told.listeners.iter().map(|listener| listener.id).collect(), servers)
    };
    assert_eq!(numbers(&world, &mut ids), (vec![0], vec![0, 1]));
    web(&mut world, &[("172.16.1.21:80", 50), ("172.16.1.22:80", 50)]);
    world.listener(Http, 81, "web");
    assert_eq!(numbers(&world, &mut ids), (vec![0, 1], vec![1, 2]));
    // Back again, and the same address in another group is another server; the listener has another name only.
    web(&mut world, &[("172.16.1.20:80", 50), ("172.16.1.22:80", 50)]);
    world.group("api", &[("172.16.1.20:80", 50)]);
    world.listener(Http, 79, "api");
    for listener in world.resources.listeners.values_mut().filter(|listener| listener.port.get() == 80) {
        listener.name = crate::model::ListenerName::new("renamed");
    }
    assert_eq!(numbers(&world, &mut ids), (vec![2, 0, 1], vec![3, 0, 2]));
    assert_eq!(ids.server(&ServerGroupName::new("web"), server_address("172.16.1.21:80")), 1);
    // In another zone it is another listener.
    second_zone(&mut world);
    assert_eq!(numbers(&world, &mut ids).0, [2, 3, 0, 4, 1, 5]);
}

#[test]
fn connections_come_from_zones_whose_interface_is_up_while_there_is_one() {
    let mut world = world();
    second_zone(&mut world);
    let balancer = &world.resources.load_balancers[&LoadBalancerName::new("lb")];
    let from = |dead: &[&str]| -> Vec<String> {
        let dead = dead.iter().map(|zone| ZoneName::new(*zone)).collect();
        sources(&world.node, balancer, &dead).iter().map(IpAddr::to_string).collect()
    };
    assert_eq!(from(&[]), ["172.16.1.101", "172.16.1.102", "172.16.2.101"]);
    assert_eq!(from(&["a"]), ["172.16.2.101"]);
    assert_eq!(from(&["b"]), ["172.16.1.101", "172.16.1.102"]);
    assert_eq!(from(&["a", "b"]), ["172.16.1.101", "172.16.1.102", "172.16.2.101"]);
    let told = told_without(&world, &["a"], &mut Ids::default());
    let sources: Vec<&[IpAddr]> =
        told.listeners.iter().map(|listener| listener.local_addresses.as_slice()).collect();
    assert_eq!(sources, [["172.16.2.101".parse::<IpAddr>().unwrap()]; 2]);
}
