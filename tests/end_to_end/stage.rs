//! The stage on which server groups are shown: a balancer's host in each zone, and steady load over several servers.

use crate::{fast_resources, lab_with};
use causeway_lab::{Balancers, CLIENT_ADDRESSES, LB, LB2, LabOptions, VIP_A, VIP_B, Variant, web_servers};
use std::collections::BTreeMap;
use tests::balancer::{Balancer, PATIENCE, edited};
use tests::load::Load;

/// The tutorial's resources with these servers, all of weight 100, instead of its own in the group `web`.
fn resources_with(addresses: &[&str]) -> String {
    let servers: String = addresses
        .iter()
        .map(|address| format!("      - {{address: {address}, port: 80, weight: 100}}\n"))
        .collect();
    let own = "      - {address: 172.16.1.20, port: 80, weight: 100}\n      \
               - {address: 192.168.1.20, port: 80, weight: 100, remote_ip: true}\n";
    edited(&fast_resources(Variant::Vswitch), &[(own, &servers)])
}

#[test]
fn each_of_two_hosts_serves_the_vip_of_its_zone() {
    let options = LabOptions {
        id: "e2ezones".into(),
        balancers: Balancers::HostPerZone,
        extra_servers: web_servers(1, 1),
        big_file_bytes: 0,
        ..LabOptions::default()
    };
    let Some(lab) = lab_with("each_of_two_hosts_serves_the_vip_of_its_zone", options) else { return };
    let resources = resources_with(&["172.16.1.41", "172.16.2.41"]);
    let balancers = [LB, LB2].map(|host| Balancer::start_resources_on(&lab, host, &resources));
    for (balancer, vip) in balancers.iter().zip([VIP_A, VIP_B]) {
        balancer.wait_until_healthy();
        let (records, ()) = Load::new((vip, 80), 50.0).kept().run_while(&lab, |load| load.wait_for(40));
        records.assert_none_failed();
        let counts = records.counts();
        assert!(counts["ecs11"].abs_diff(counts["ecs21"]) <= 1, "both zones' servers in turn: {counts:?}");
        let log = balancer.wait_for_access_log(records.len());
        assert_eq!(log.len(), records.len(), "each host has a log of its own");
    }
    balancers.into_iter().for_each(Balancer::stop);
}

#[test]
fn a_steady_load_reaches_every_server_from_every_client() {
    let options = LabOptions {
        id: "e2esteady".into(),
        extra_servers: web_servers(2, 2),
        big_file_bytes: 0,
        ..LabOptions::default()
    };
    let Some(lab) = lab_with("a_steady_load_reaches_every_server_from_every_client", options) else { return };
    let servers = ["172.16.1.41", "172.16.1.42", "172.16.2.41", "172.16.2.42"];
    let balancer = Balancer::start_resources(&lab, &resources_with(&servers));
    balancer.wait_until_healthy();
    let load =
        Load::new((VIP_A, 80), 200.0).from(&CLIENT_ADDRESSES).paths(|number| format!("/echo?n={number}"));
    let (records, ()) = load.run_while(&lab, |load| load.wait_for(400));
    records.assert_none_failed();
    let counts = records.counts();
    let (least, most) = (counts.values().min(), counts.values().max());
    assert_eq!(counts.len(), 4, "{counts:?}");
    assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{counts:?}");
    let mut by_source = BTreeMap::<_, usize>::new();
    for record in records.iter() {
        let seen: serde_json::Value =
            serde_json::from_slice(&record.answer().body).expect("the echo is JSON");
        assert_eq!(seen["uri"], record.path);
        let source = record.source.expect("sources take turns").to_string();
        assert_eq!(seen["headers"]["x-forwarded-for"], source);
        *by_source.entry(source).or_default() += 1;
    }
    assert_eq!(by_source.len(), CLIENT_ADDRESSES.len(), "{by_source:?}");
    balancer.wait_until("the balancer counts them all", PATIENCE, || {
        let sent: u64 = servers
            .iter()
            .map(|server| {
                balancer.server("web", server.parse::<std::net::Ipv4Addr>().expect("ok")).counters.requests
            })
            .sum();
        if sent == records.len() as u64 { Ok(()) } else { Err(sent) }
    });
    balancer.stop();
}
