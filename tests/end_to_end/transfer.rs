//! Large bodies through both kinds of listener and the tunnel, byte for byte (XR-106).

use crate::client::{Connection, at};
use crate::{fast_resources, lab_with};
use causeway_lab::{CLIENT, ECS01, ECS02, Lab, LabOptions, Offloads, VIP_A, Variant};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use tests::balancer::{Balancer, edited};

/// Asserts without printing a hundred megabytes.
#[track_caller]
fn assert_same(left: &[u8], right: &[u8], what: &str) {
    let differ = left.iter().zip(right).position(|(left, right)| left != right);
    assert!(
        left.len() == right.len() && differ.is_none(),
        "{what}: {} bytes of {}, first difference at {differ:?}",
        left.len(),
        right.len()
    );
}

/// Only ECS02 in the HTTP group: every byte goes through a tunnel.
fn ecs02_alone() -> String {
    edited(
        &fast_resources(Variant::Vswitch),
        &[("      - {address: 172.16.1.20, port: 80, weight: 100}\n", "")],
    )
}

/// Downloads and uploads the lab's big file through the HTTP listener with curl.
fn http_transfers(lab: &Lab) {
    let balancer = Balancer::start_resources(lab, &ecs02_alone());
    balancer.wait_until_healthy();
    let big = fs::read(lab.layout().big_file()).expect("the lab wrote it");
    let received = lab.layout().run_dir().join("received");
    let curl = |arguments: &[&str]| {
        let fixed = ["curl", "-sS", "--fail", "--max-time", "120", "-w", "%{time_total}"];
        let words: Vec<&str> = fixed.into_iter().chain(arguments.iter().copied()).collect();
        let seconds: f64 = lab.run(CLIENT, &words).expect("curl succeeds").parse().expect("seconds");
        eprintln!(
            "{:?}: {:?} {seconds:.2} s, {:.0} MB/s",
            lab.options().offloads,
            arguments[0],
            big.len() as f64 / 1e6 / seconds
        );
    };
    curl(&["-o", &received.display().to_string(), "http://www.example.test/big"]);
    assert_same(&fs::read(&received).expect("curl wrote it"), &big, "download");
    curl(&["-T", &lab.layout().big_file().display().to_string(), "http://www.example.test/up/sent"]);
    let kept = fs::read(lab.layout().server_dir(ECS02).join("upload/up/sent")).expect("ECS02 has kept it");
    assert_same(&kept, &big, "upload");

    let through: u64 = balancer
        .next_hops()
        .values()
        .map(|hop| hop.counters.bytes.min(1 << 40) + hop.counters.reply_bytes)
        .sum();
    assert!(through > 2 * big.len() as u64, "both went through the tunnels: {through} bytes");
    balancer.stop();
}

// Holds XR-106
#[test]
fn a_hundred_megabytes_pass_the_tunnel_both_ways_unchanged() {
    let options = LabOptions { id: "e2ebig".into(), ..LabOptions::default() };
    let Some(lab) = lab_with("a_hundred_megabytes_pass_the_tunnel_both_ways_unchanged", options) else {
        return;
    };
    http_transfers(&lab);
}

// Holds XR-106
#[test]
fn a_hundred_megabytes_pass_the_tunnel_unchanged_without_any_offload() {
    let test = "a_hundred_megabytes_pass_the_tunnel_unchanged_without_any_offload";
    let options = LabOptions { id: "e2enooff".into(), offloads: Offloads::None, ..LabOptions::default() };
    let Some(lab) = lab_with(test, options) else { return };
    // What ECS02 may have learned of the path's MTU: it must find out anew, or never need to.
    lab.run(ECS02, &["ip", "route", "flush", "cache"]).expect("the cache is flushed");
    http_transfers(&lab);
}

// Holds XR-106
#[test]
fn a_hundred_megabytes_pass_the_tcp_listener_both_ways_from_each_server() {
    let test = "a_hundred_megabytes_pass_the_tcp_listener_both_ways_from_each_server";
    let options = LabOptions { id: "e2el4big".into(), ..LabOptions::default() };
    let Some(lab) = lab_with(test, options) else { return };
    let balancer = Balancer::start_resources(&lab, &fast_resources(Variant::Vswitch));
    balancer.wait_until_healthy();
    let big = fs::read(lab.layout().big_file()).expect("the lab wrote it");
    let mut left = BTreeSet::from([ECS01, ECS02]);
    let transfer = || -> io::Result<()> {
        // A flow stays with its server, so the first answer tells which one the transfers test.
        while !left.is_empty() {
            let mut connection = Connection::open(at(VIP_A, 9000))?;
            let server = connection.get("/")?.server();
            if !left.remove(server) {
                continue;
            }
            let mut received = vec![0; connection.begin("/big")?];
            connection.body(&mut received)?;
            assert_same(&received, &big, server);
            let status = connection.put("/up/through-l4", &big)?;
            assert_eq!(status, 201, "{server}");
            let kept = fs::read(lab.layout().server_dir(server).join("upload/up/through-l4"))?;
            assert_same(&kept, &big, server);
        }
        Ok(())
    };
    lab.within(CLIENT, transfer).expect("enter the client").expect("both servers' transfers succeed");
    for server in balancer.servers().iter().filter(|server| server.group == crate::TCP_WEB) {
        let l4 = server.counters.l4;
        let size = big.len() as u64;
        assert!(l4.bytes > size && l4.reply_bytes > size, "{server:?}");
    }
}
