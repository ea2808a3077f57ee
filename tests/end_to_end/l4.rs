//! The TCP listener: servers chosen in XDP, by weight, and kept for a flow's life (D-17).

use crate::client::{Connection, at, servers_of};
use crate::{SERVERS, TCP_WEB, fast_resources, lab};
use causeway_lab::{CLIENT, CLIENT_ADDRESSES, ECS01, ECS02, VIP_A, VIP_B, Variant};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddrV4;
use tests::balancer::{Balancer, PATIENCE, edited};

/// The tutorial's resources with these weights of ECS01 and ECS02 in the TCP group.
fn weights(ecs01: u32, ecs02: u32) -> String {
    edited(
        &fast_resources(Variant::Vswitch),
        &[
            ("port: 8080, weight: 100}", &format!("port: 8080, weight: {ecs01}}}")),
            ("port: 8080, weight: 100, remote_ip", &format!("port: 8080, weight: {ecs02}, remote_ip")),
        ],
    )
}

// Holds SG-81
#[test]
fn new_flows_are_split_by_weight_and_counted_one_by_one() {
    const FLOWS: u16 = 2000;
    let Some(lab) = lab("new_flows_are_split_by_weight_and_counted_one_by_one", "e2el4") else { return };
    // A fixed key and fixed client ports: the same flows in every run, so that the statistic below is no lottery.
    fs::create_dir_all(lab.layout().state_dir()).expect("the lab's folder is writable");
    fs::write(lab.layout().state_dir().join("datapath.key"), [0x5a; 16])
        .expect("the state folder is writable");
    let balancer = Balancer::start_resources(&lab, &weights(100, 50));
    balancer.wait_until_healthy();

    let ask_all = || -> io::Result<BTreeMap<&'static str, u64>> {
        let mut counts = BTreeMap::new();
        for flow in 0..FLOWS {
            let client = CLIENT_ADDRESSES[usize::from(flow) % CLIENT_ADDRESSES.len()];
            let vip = [VIP_A, VIP_B][usize::from(flow) % 2];
            let from = SocketAddrV4::new(client, 20_000 + flow);
            let reply = Connection::open_from(from, at(vip, 9000))?.get("/")?;
            *counts.entry(reply.server()).or_default() += 1;
        }
        Ok(counts)
    };
    let counts = lab.within(CLIENT, ask_all).expect("enter the client").expect("every flow is served");

    let expected = [(ECS01, f64::from(FLOWS) * 100.0 / 150.0), (ECS02, f64::from(FLOWS) * 50.0 / 150.0)];
    let chi_square: f64 =
        expected.iter().map(|(server, expected)| (counts[server] as f64 - expected).powi(2) / expected).sum();
    eprintln!("2000 flows at weights 100 and 50: {counts:?}, chi-square {chi_square:.2}");
    assert!(chi_square < 10.83, "p < 0.001 for {counts:?}");

    for (server, name) in SERVERS.into_iter().zip([ECS01, ECS02]) {
        let counters = balancer.server(TCP_WEB, server).counters;
        assert_eq!(counters.flows, counts[name], "{counters:?}");
        assert!(counters.l4.packets > counts[name] * 4 && counters.l4.reply_packets > counts[name] * 3);
    }
    let hops = balancer.next_hops();
    for (name, hop) in &hops {
        assert!(hop.counters.packets > 500, "flows of ECS02 take both hops, yet {name}: {hop:?}");
    }
    // The lab's router returns everything for the NAT prefix through zone A.
    assert!(hops["tr-chengdu-a"].counters.reply_packets > counts[ECS02] * 3);
    balancer.stop();
}

// Holds SG-90
#[test]
fn flows_keep_their_server_when_weights_change() {
    let Some(lab) = lab("flows_keep_their_server_when_weights_change", "e2ekeep") else { return };
    let balancer = Balancer::start_resources(&lab, &weights(100, 100));
    balancer.wait_until_healthy();
    let open = || {
        (0..40)
            .map(|_| {
                let mut connection = Connection::open(at(VIP_A, 9000))?;
                let server = connection.get("/")?.server();
                Ok((server, connection))
            })
            .collect::<io::Result<Vec<_>>>()
    };
    let mut flows = lab.within(CLIENT, open).expect("enter the client").expect("every flow is served");
    for server in [ECS01, ECS02] {
        assert!(flows.iter().any(|(chosen, _)| *chosen == server), "none of 40 flows went to {server}");
    }

    for (step, only) in [((100, 0), Some(ECS01)), ((0, 100), Some(ECS02)), ((10, 90), None)] {
        balancer.apply(&weights(step.0, step.1));
        if let Some(only) = only {
            assert!(servers_of(&lab, at(VIP_A, 9000), 20).iter().all(|server| *server == only), "{step:?}");
        }
        for (server, connection) in &mut flows {
            let now = connection.get("/").expect("the flow lives").server();
            assert_eq!(now, *server, "after weights {step:?}");
        }
    }
    balancer.wait_until("all flows are counted", PATIENCE, || {
        let active: u64 = balancer
            .servers()
            .iter()
            .filter(|server| server.group == TCP_WEB)
            .map(|s| s.counters.active)
            .sum();
        if active >= 40 { Ok(()) } else { Err(active) }
    });
}
