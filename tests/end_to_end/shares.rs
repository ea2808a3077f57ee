//! Who gets how much: schedulers and weights, seen from clients under steady load (SG sections 4 and 5).

use crate::client::{Connection, at};
use crate::groups::{FAST_CHECK, Group, ecs1, listener, resources};
use crate::lab_with;
use causeway_lab::{CLIENT, Lab, LabOptions, VIP_A, web_servers};
use controller::api::HealthStatus;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::{Duration, Instant};
use tests::balancer::{Balancer, PATIENCE, edited};
use tests::load::{Load, Records};

const RATE: f64 = 200.0;

fn lab(test: &str, id: &str, servers: u8) -> Option<Lab> {
    let extra_servers = web_servers(servers, 0);
    lab_with(test, LabOptions { id: id.into(), extra_servers, big_file_bytes: 0, ..LabOptions::default() })
}

/// Steady load on port 80, by clients that keep their connections.
fn load() -> Load {
    Load::new((VIP_A, 80), RATE).kept()
}

/// Servers ecs11 and on, with these weights.
fn weighted(weights: &[u32]) -> Vec<(std::net::Ipv4Addr, u32)> {
    (1..).map(ecs1).zip(weights.iter().copied()).collect()
}

/// How many requests each of ecs11 and on answered.
fn counts_of(records: &Records, servers: usize) -> Vec<usize> {
    let counts = records.counts();
    (1..=servers).map(|number| counts.get(&format!("ecs1{number}")).copied().unwrap_or(0)).collect()
}

/// The servers that answer `count` requests at these ports in turn, one after the other has been answered.
fn order_at(lab: &Lab, ports: &[u16], count: usize) -> Vec<String> {
    let ask = || -> io::Result<Vec<String>> {
        let ports = ports.iter().cycle().take(count);
        ports.map(|port| Ok(server_in(&Connection::open(at(VIP_A, *port))?.get("/")?.head))).collect()
    };
    lab.within(CLIENT, ask).expect("enter the client").expect("every request is answered")
}

/// How often the balancer has checked `server`, which logs what it has answered.
fn probes(lab: &Lab, server: &str) -> usize {
    let log = lab.server_log(server).expect("it has a log");
    log.iter().filter(|line| line.request.contains("/health")).count()
}

fn server_in(head: &str) -> String {
    let line = head.lines().find_map(|line| line.strip_prefix("X-Server: "));
    line.unwrap_or_else(|| panic!("no server named in {head}")).to_owned()
}

// Holds SG-81, SG-82, SG-96
#[test]
fn weights_100_50_50_give_exactly_two_to_one_to_one() {
    let Some(lab) = lab("weights_100_50_50_give_exactly_two_to_one_to_one", "eaweights", 3) else { return };
    let group = Group::web(&["scheduler: Wrr", FAST_CHECK], &weighted(&[100, 50, 50]));
    let balancer =
        Balancer::start_resources(&lab, &(resources(&[group]) + &listener("again", "HTTP", 81, "web")));
    balancer.wait_until_healthy();
    let cycle = ["ecs11", "ecs12", "ecs13", "ecs11"];

    // Each listener has a place of its own in the cycle, and the order is smooth.
    let order = order_at(&lab, &[80, 81], 24);
    for listener in 0..2 {
        let seen: Vec<&str> = order.iter().skip(listener).step_by(2).map(String::as_str).collect();
        assert_eq!(seen, cycle.repeat(3), "listener {listener} of {order:?}");
    }

    let (records, ()) = load().run_while(&lab, |load| load.wait_for(1200));
    records.assert_none_failed();
    let counts = counts_of(&records, 3);
    eprintln!("one worker, {} requests at {:.0}/s: {counts:?}", records.len(), records.rate());
    let (cycles, rest) = (records.len() / 4, &cycle[..records.len() % 4]);
    let expected: Vec<usize> = [("ecs11", 2), ("ecs12", 1), ("ecs13", 1)]
        .iter()
        .map(|(name, weight)| cycles * weight + rest.iter().filter(|server| *server == name).count())
        .collect();
    assert_eq!(counts, expected, "exact over {cycles} cycles and {} requests", rest.len());
    balancer.stop();
}

// Holds SG-81, SG-96
#[test]
fn two_workers_keep_the_shares_within_two_cycles() {
    let Some(lab) = lab("two_workers_keep_the_shares_within_two_cycles", "eaworkers", 3) else { return };
    let node = lab.layout().node_file();
    let settings = fs::read_to_string(&node).expect("the lab wrote it");
    fs::write(&node, edited(&settings, &[("workers: 1\n", "workers: 2\n")])).expect("it is writable");
    let group = Group::web(&["scheduler: Wrr", FAST_CHECK], &weighted(&[100, 50, 50]));
    let balancer = Balancer::start_resources(&lab, &resources(&[group]));
    balancer.wait_until_healthy();
    assert_eq!(balancer.status().workers, 2);
    // Fresh connections: the kernel spreads them over the workers.
    let (records, ()) = Load::new((VIP_A, 80), RATE).run_while(&lab, |load| load.wait_for(1200));
    records.assert_none_failed();
    let counts = counts_of(&records, 3);
    eprintln!("two workers, {} requests at {:.0}/s: {counts:?}", records.len(), records.rate());
    for (count, of_cycle) in counts.iter().zip([2.0, 1.0, 1.0]) {
        let share = records.len() as f64 * of_cycle / 4.0;
        assert!((*count as f64 - share).abs() <= 2.0 * of_cycle, "{count} is not {share}: {counts:?}");
    }
    balancer.stop();
}

// Holds SG-90, SG-91, SG-93, SG-94
#[test]
fn weight_zero_ends_new_requests_and_checks_but_not_what_is_under_way() {
    let test = "weight_zero_ends_new_requests_and_checks_but_not_what_is_under_way";
    let Some(lab) = lab(test, "eazero", 3) else { return };
    let settings = ["scheduler: Wrr", FAST_CHECK];
    let with = |weights: &[u32]| resources(&[Group::web(&settings, &weighted(weights))]);
    let balancer = Balancer::start_resources(&lab, &with(&[100, 100, 100]));
    balancer.wait_until_healthy();

    // One request in ten takes two seconds, so that each server has some under way at any time.
    let path = |number: u64| if number.is_multiple_of(10) { "/slow?s=2".into() } else { "/".to_owned() };
    let (records, [applied, raised, back]) = load().paths(path).run_while(&lab, |load| {
        load.wait_for(200);
        let under_way = balancer.server("web", ecs1(1)).counters.active;
        assert!(under_way > 3, "{under_way} requests under way at ecs11");
        balancer.apply(&with(&[0, 100, 50]));
        let applied = Instant::now();
        let view = balancer.server("web", ecs1(1));
        assert_eq!((view.health, view.effective_weight), (HealthStatus::Unused, 0.0));
        // A check that was under way may yet be logged.
        load.wait_for(40);
        let probed = probes(&lab, "ecs11");
        // At least two intervals of its checks.
        load.wait_for(500);
        assert_eq!(probes(&lab, "ecs11"), probed, "a server of weight 0 is not checked");
        let raised = Instant::now();
        balancer.apply(&with(&[100, 100, 50]));
        balancer.wait_for_health("web", ecs1(1), HealthStatus::Normal, PATIENCE);
        let back = Instant::now();
        load.wait_for(200);
        [applied, raised, back]
    });
    records.assert_none_failed();
    let finished = records.only(|record| record.began < applied && record.ended() > applied);
    assert!(counts_of(&finished, 3)[0] > 3, "what is under way is let finish: {:?}", finished.counts());
    let without = counts_of(&records.between(applied, raised), 3);
    eprintln!("weight 0, 100, 50: {without:?}");
    assert_eq!(without[0], 0);
    assert!(without[1].abs_diff(without[2] * 2) <= 2, "{without:?}");
    let back = records.only(|record| record.began > back);
    assert!((back.share("ecs11") - 0.4).abs() < 0.02, "{:?}", back.counts());

    // Only servers of weight 0, then none at all.
    for resources in [with(&[0, 0, 0]), with(&[])] {
        balancer.apply(&resources);
        let records = load().run_for(&lab, Duration::from_millis(250));
        let statuses: BTreeMap<_, usize> = records.iter().fold(BTreeMap::new(), |mut counts, record| {
            *counts.entry(record.status()).or_default() += 1;
            counts
        });
        assert_eq!(statuses.keys().collect::<Vec<_>>(), [&Some(503)], "{statuses:?}");
    }
    // A failing server does not make one of weight 0 take over: fail-open is for servers with weight.
    lab.stop_server("ecs12").expect("nginx stops");
    balancer.apply(&with(&[0, 100]));
    balancer.wait_for_health("web", ecs1(2), HealthStatus::Unhealthy, PATIENCE);
    let records = load().run_for(&lab, Duration::from_millis(250));
    assert!(records.iter().all(|record| record.status() == Some(502)), "{:?}", records.counts());
    assert!(!records.is_empty());
    balancer.stop();
}
