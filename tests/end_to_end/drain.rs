//! Flows of a server that leaves the TCP group: let out, then cut (SG section 9).

use crate::client::{Connection, at, servers_of};
use crate::{TCP_WEB, fast_resources, lab_with};
use causeway_lab::{CLIENT, ECS01, ECS02, ECS02_ADDRESS, LabOptions, VIP_A, Variant};
use std::fs;
use std::io;
use std::time::{Duration, Instant};
use tests::balancer::{Balancer, PATIENCE, edited};

const TIMEOUT: Duration = Duration::from_secs(5);

/// A flow to ECS02 through the TCP listener; must be called within the client.
fn flow_to_ecs02() -> io::Result<Connection> {
    loop {
        let mut connection = Connection::open(at(VIP_A, 9000))?;
        if connection.get("/")?.server() == ECS02 {
            return Ok(connection);
        }
    }
}

// Holds SG-153, SG-155, SG-202, SG-226
#[test]
fn a_server_that_leaves_keeps_its_flows_until_the_drain_is_over() {
    let test = "a_server_that_leaves_keeps_its_flows_until_the_drain_is_over";
    let options = LabOptions { id: "e2edrain".into(), ..LabOptions::default() };
    let Some(lab) = lab_with(test, options) else { return };
    let with = edited(
        &fast_resources(Variant::Vswitch),
        &[(
            "connection_drain: {enabled: true, timeout: 30}",
            "connection_drain: {enabled: true, timeout: 5}",
        )],
    );
    let without =
        edited(&with, &[("      - {address: 192.168.1.20, port: 8080, weight: 100, remote_ip: true}\n", "")]);
    let balancer = Balancer::start_resources(&lab, &with);
    balancer.wait_until_healthy();
    let big = fs::read(lab.layout().big_file()).expect("the lab wrote it");

    let open = || Ok::<_, io::Error>((flow_to_ecs02()?, flow_to_ecs02()?));
    let (mut transfer, mut endless) = lab.within(CLIENT, open).expect("enter the client").expect("flows");
    let mut received = vec![0; transfer.begin("/big").expect("the transfer begins")];
    // What is not read holds the sender back, so most of it is still to come.
    transfer.body(&mut received[..1_000_000]).expect("the first megabyte");

    balancer.apply(&without);
    let left = Instant::now();
    let leaving = balancer.server(TCP_WEB, ECS02_ADDRESS);
    assert!(leaving.is_draining && leaving.counters.active == 2, "{leaving:?}");
    assert!(servers_of(&lab, at(VIP_A, 9000), 50).iter().all(|server| *server == ECS01));
    transfer.body(&mut received[1_000_000..]).expect("the transfer is let finish");
    assert!(received == big, "not a byte lost");
    assert!(left.elapsed() < TIMEOUT, "the transfer took {:?}, longer than the drain", left.elapsed());
    drop(transfer);

    endless.limit_reads(Duration::from_secs(1)).expect("a socket option");
    let cut = loop {
        let began = left.elapsed();
        match endless.get("/") {
            Ok(reply) => assert_eq!(reply.server(), ECS02),
            Err(error) => break (began, error),
        }
        assert!(left.elapsed() < PATIENCE, "the flow outlives its drain");
        std::thread::sleep(Duration::from_millis(20));
    };
    eprintln!("{test}: cut {:?} after the server left: {}", cut.0, cut.1);
    assert!(
        matches!(cut.1.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::WouldBlock),
        "packets are refused or dropped: {cut:?}"
    );
    assert!((4.0..7.0).contains(&cut.0.as_secs_f64()), "{cut:?}");
    assert!(balancer.drops("server_gone") > 0);
    balancer.wait_until("the server has left", PATIENCE, || {
        let servers = balancer.servers();
        let is_there = servers.iter().any(|s| s.group == TCP_WEB && s.address.ip() == ECS02_ADDRESS);
        if is_there { Err(servers) } else { Ok(()) }
    });
}
