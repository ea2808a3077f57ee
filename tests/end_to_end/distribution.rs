//! Both regions share the requests (XR-77, XR-83).

use crate::client::{assert_alternate, at, servers_of};
use crate::{SERVERS, WEB, fast_resources, lab, lab_with};
use causeway_lab::{
    CLIENT, CLIENT_ADDRESSES, ECS01, ECS02, Lab, LabOptions, LogLine, VIP_A, VIP_B, Variant, index_page,
};
use std::collections::BTreeSet;
use tests::balancer::{Balancer, PATIENCE};

/// What curl prints of each of `count` requests for the tutorial's name, all on fresh connections: body, connections
/// made, address connected to, status.
fn curl(lab: &Lab, count: usize) -> Vec<Vec<String>> {
    let url = format!("http://www.example.test/?[1-{count}]");
    let format = "\t%{num_connects}\t%{remote_ip}\t%{http_code}\n";
    let output = lab
        .run(CLIENT, &["curl", "-sS", "--max-time", "60", "-H", "Connection: close", "-w", format, &url])
        .expect("curl gets every answer");
    let rows: Vec<Vec<String>> =
        output.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    assert_eq!(rows.len(), count, "{output}");
    rows
}

/// What ECS02 logged of clients' requests, without probes.
fn requests_at_ecs02(lab: &Lab) -> Vec<LogLine> {
    let log = lab.server_log(ECS02).expect("ECS02 has a log");
    log.into_iter().filter(|line| line.request.starts_with("GET /?")).collect()
}

fn distribution_and_its_traces(lab: &Lab, variant: Variant) {
    let balancer = Balancer::start_resources(lab, &fast_resources(variant));
    balancer.wait_until_healthy();
    let rows = curl(lab, 100);
    let pages = [index_page(ECS01), index_page(ECS02)];
    let vips = [VIP_A.to_string(), VIP_B.to_string()];
    let servers: Vec<&str> = rows
        .iter()
        .map(|row| {
            assert!(pages.contains(&row[0]), "{row:?}");
            assert_eq!((row[1].as_str(), row[3].as_str()), ("1", "200"), "a fresh connection, answered");
            assert!(vips.contains(&row[2]), "{row:?}");
            if row[0] == pages[0] { ECS01 } else { ECS02 }
        })
        .collect();
    assert_alternate(&servers);

    let log = balancer.wait_until("ECS02 has logged 50 requests", PATIENCE, || {
        let log = requests_at_ecs02(lab);
        if log.len() == 50 { Ok(log) } else { Err(log) }
    });
    let peers: BTreeSet<String> = log.iter().map(|line| line.peer.clone()).collect();
    let local = variant.local_addresses_a().into_iter().chain(variant.local_addresses_b());
    let local: BTreeSet<String> = local.map(|address| address.to_string()).collect();
    assert!(peers.is_subset(&local), "{peers:?} are not all among the balancer's local addresses {local:?}");
    for line in &log {
        assert_eq!(line.forwarded_for, CLIENT_ADDRESSES[0].to_string());
        assert_eq!(line.status, 200);
    }
    for server in SERVERS {
        assert_eq!(balancer.server(WEB, server).counters.requests, 50);
    }
    let hops = balancer.next_hops();
    let replies: u64 = hops.values().map(|hop| hop.counters.reply_packets).sum();
    assert!(replies > 50, "answers of ECS02 come through the tunnels: {hops:?}");
    balancer.stop();
}

// Holds SG-1, SG-81, XR-1, XR-54, XR-70..XR-72, XR-74..XR-77, XR-83
#[test]
fn a_hundred_fresh_connections_alternate_between_both_regions() {
    let Some(lab) = lab("a_hundred_fresh_connections_alternate_between_both_regions", "e2edist") else {
        return;
    };
    distribution_and_its_traces(&lab, Variant::Vswitch);
}

// Holds XR-20, XR-24, XR-51, XR-52
#[test]
fn back_to_origin_addresses_serve_both_regions_as_well() {
    let options = LabOptions {
        id: "e2ebto".into(),
        variant: Variant::BackToOrigin,
        big_file_bytes: 0,
        ..LabOptions::default()
    };
    let Some(lab) = lab_with("back_to_origin_addresses_serve_both_regions_as_well", options) else { return };
    distribution_and_its_traces(&lab, Variant::BackToOrigin);
}

// Holds SG-101, XR-20, XR-21, XR-83
#[test]
fn each_vip_and_every_local_address_carries_traffic() {
    let Some(lab) = lab("each_vip_and_every_local_address_carries_traffic", "e2evips") else { return };
    // Without kept connections each request opens one, from the next local address.
    let resources = fast_resources(Variant::Vswitch).replace(
        "protocol: HTTP\n    scheduler: Wrr\n",
        "protocol: HTTP\n    scheduler: Wrr\n    upstream_keepalive: false\n",
    );
    let balancer = Balancer::start_resources(&lab, &resources);
    balancer.wait_until_healthy();
    for vip in [VIP_A, VIP_B] {
        assert_alternate(&servers_of(&lab, at(vip, 80), 40));
    }
    let peers: BTreeSet<String> = lab
        .server_log(ECS02)
        .expect("ECS02 has a log")
        .into_iter()
        .filter(|line| line.request.starts_with("GET "))
        .map(|line| line.peer)
        .collect();
    let local = Variant::Vswitch.local_addresses_a().into_iter().chain(Variant::Vswitch.local_addresses_b());
    assert_eq!(peers, local.map(|address| address.to_string()).collect());
    for (name, hop) in balancer.next_hops() {
        assert!(hop.counters.packets > 0 && hop.counters.reply_packets > 0, "{name}: {hop:?}");
    }
}
