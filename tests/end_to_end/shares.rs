//! Who gets how much: schedulers and weights, seen from clients under steady load (SG sections 4 and 5).

use crate::client::{Connection, at};
use crate::groups::{FAST_CHECK, Group, ecs1, listener, resources};
use crate::lab_with;
use causeway_lab::{Behaviour, CLIENT, CLIENT_ADDRESSES, Lab, LabOptions, VIP_A, web_servers};
use controller::api::HealthStatus;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tests::balancer::{Balancer, PATIENCE, edited};
use tests::load::{Load, Progress, Record, Records};

const RATE: f64 = 200.0;

fn lab(test: &str, id: &str, servers: u8) -> Option<Lab> {
    let extra_servers = web_servers(servers, 0);
    lab_with(test, LabOptions { id: id.into(), extra_servers, big_file_bytes: 0, ..LabOptions::default() })
}

/// Has the balancer run this many workers, before it is started.
fn set_workers(lab: &Lab, workers: usize) {
    let node = lab.layout().node_file();
    let settings = fs::read_to_string(&node).expect("the lab wrote it");
    let settings = edited(&settings, &[("workers: 1\n", &format!("workers: {workers}\n"))]);
    fs::write(&node, settings).expect("the lab's folder is writable");
}

/// Steady load on port 80, by clients that keep their connections.
fn load() -> Load {
    Load::new((VIP_A, 80), RATE).kept()
}

/// Servers ecs11 and on, with these weights.
fn weighted(weights: &[u32]) -> Vec<(Ipv4Addr, u32)> {
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

    let (records, ()) = load().run_while(&lab, |load| load.wait_for(800));
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
    set_workers(&lab, 2);
    let group = Group::web(&["scheduler: Wrr", FAST_CHECK], &weighted(&[100, 50, 50]));
    let balancer = Balancer::start_resources(&lab, &resources(&[group]));
    balancer.wait_until_healthy();
    assert_eq!(balancer.status().workers, 2);
    // Fresh connections: the kernel spreads them over the workers.
    let (records, ()) = Load::new((VIP_A, 80), RATE).run_while(&lab, |load| load.wait_for(800));
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
        let (records, ()) = load().run_while(&lab, |load| load.wait_for(40));
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
    let (records, ()) = load().run_while(&lab, |load| load.wait_for(40));
    assert!(records.iter().all(|record| record.status() == Some(502)), "{:?}", records.counts());
    balancer.stop();
}

// Holds SG-83
#[test]
fn wlc_gives_a_slow_server_less_and_the_others_equal_parts() {
    let Some(lab) = lab("wlc_gives_a_slow_server_less_and_the_others_equal_parts", "eawlc", 4) else {
        return;
    };
    let group = Group::web(&["scheduler: Wlc", FAST_CHECK], &weighted(&[100; 4]));
    let balancer = Balancer::start_resources(&lab, &resources(&[group]));
    balancer.wait_until_healthy();
    let (records, [slow, again]) = load().run_while(&lab, |load| {
        load.wait_for(200);
        lab.set_behaviour_at("ecs11", "/", Behaviour::Slow(Duration::from_millis(250))).expect("it obeys");
        let slow = Instant::now();
        load.wait_for(800);
        lab.set_behaviour_at("ecs11", "/", Behaviour::Normal).expect("it obeys");
        let again = Instant::now();
        load.wait_for(400);
        [slow, again]
    });
    records.assert_none_failed();
    let during = records.between(slow, again);
    let counts = counts_of(&during, 4);
    eprintln!("wlc, ecs11 answers after 250 ms: {counts:?}");
    // By turns it would be a quarter, by what it can take with one request at a time 4 of 200 each second.
    let share = during.share("ecs11");
    assert!((0.005..0.1).contains(&share), "{share}");
    let equal = (1.0 - share) / 3.0;
    for server in ["ecs12", "ecs13", "ecs14"] {
        assert!((during.share(server) - equal).abs() < 0.05, "{server} has not {equal}: {counts:?}");
    }
    // What it still had at the end of its slowness it has answered soon after.
    let after = records.between(again + Duration::from_millis(500), again + Duration::from_secs(60));
    let counts = counts_of(&after, 4);
    eprintln!("wlc, all alike: {counts:?}");
    assert!((after.share("ecs11") - 0.25).abs() < 0.05, "{counts:?}");
    balancer.stop();
}

/// The server of each key; a key that two servers answered is an error.
#[track_caller]
fn servers_by(records: &Records, key: impl Fn(&Record) -> String) -> BTreeMap<String, String> {
    let mut servers = BTreeMap::new();
    for record in records.iter() {
        let server = record.server().expect("every answer names its server");
        let key = key(record);
        let first = servers.entry(key.clone()).or_insert_with(|| server.clone());
        assert_eq!(*first, server, "{key} has two servers");
    }
    servers
}

/// Asserts that `without` differs from `with` in the keys of `gone` only, and prints how many those are.
#[track_caller]
fn assert_only_keys_of(gone: &str, with: &BTreeMap<String, String>, without: &BTreeMap<String, String>) {
    assert_eq!(with.len(), without.len());
    let moved: Vec<&String> = with.keys().filter(|key| with[*key] != without[*key]).collect();
    let its_own: Vec<&String> = with.keys().filter(|key| with[*key] == gone).collect();
    eprintln!("{gone} left: {} of {} keys moved", moved.len(), with.len());
    assert_eq!(moved, its_own, "exactly the keys of {gone}");
    assert!(!moved.is_empty() && without.values().all(|server| server != gone));
}

// Holds SG-80, SG-84..SG-87
#[test]
fn sch_moves_only_the_keys_of_a_server_that_leaves_and_schedulers_change_under_load() {
    let test = "sch_moves_only_the_keys_of_a_server_that_leaves_and_schedulers_change_under_load";
    let Some(lab) = lab(test, "easch", 4) else { return };
    // Both workers must choose alike.
    set_workers(&lab, 2);
    let with = |scheduler: &[&str], servers: &[(Ipv4Addr, u32)]| {
        let settings: Vec<&str> = scheduler.iter().copied().chain([FAST_CHECK]).collect();
        resources(&[Group::web(&settings, servers)])
    };
    let all = weighted(&[100; 4]);
    let without_third = [all[0], all[1], all[3]];
    let by_source_setting = ["scheduler: Sch"];
    let by_user_setting = ["scheduler: Sch", "uch: {type: QueryString, value: user}"];
    let balancer = Balancer::start_resources(&lab, &with(&by_source_setting, &all));
    balancer.wait_until_healthy();

    let load = Load::new((VIP_A, 80), RATE)
        .from(&CLIENT_ADDRESSES)
        .paths(|number| format!("/?page={number}&user=u{}&user=other", number % 200));
    // Requests of a phase have been answered before the next begins.
    let phase = |load: &Progress, requests: usize| {
        let began = Instant::now();
        load.wait_for(requests);
        let phase = began..Instant::now();
        load.wait_for(40);
        phase
    };
    let (records, phases) = load.run_while(&lab, |load| {
        let mut phases = vec![phase(load, 200)];
        balancer.apply(&with(&by_source_setting, &without_third));
        phases.push(phase(load, 200));
        balancer.apply(&with(&by_source_setting, &all));
        balancer.wait_for_health("web", ecs1(3), HealthStatus::Normal, PATIENCE);
        phases.push(phase(load, 200));

        balancer.apply(&with(&by_user_setting, &all));
        phases.push(phase(load, 500));
        // What it has under way it finishes, so that no request fails.
        lab.set_behaviour_at("ecs12", "/health", Behaviour::Status(503)).expect("it obeys");
        balancer.wait_for_health("web", ecs1(2), HealthStatus::Unhealthy, PATIENCE);
        phases.push(phase(load, 500));
        lab.set_behaviour_at("ecs12", "/health", Behaviour::Normal).expect("it obeys");
        balancer.wait_for_health("web", ecs1(2), HealthStatus::Normal, PATIENCE);
        phases.push(phase(load, 500));

        for scheduler in ["scheduler: Wlc", "scheduler: Wrr"] {
            balancer.apply(&with(&[scheduler], &all));
            phases.push(phase(load, 400));
        }
        phases
    });
    records.assert_none_failed();
    eprintln!("none of {} requests failed at {:.0}/s", records.len(), records.rate());
    let phases: Vec<Records> = phases.iter().map(|phase| records.between(phase.start, phase.end)).collect();
    let source = |record: &Record| record.source.expect("sources take turns").to_string();
    let user = |record: &Record| record.path.split("user=").nth(1).expect("each has one").to_owned();
    let by_source: Vec<_> = phases[..3].iter().map(|records| servers_by(records, source)).collect();
    let by_user: Vec<_> = phases[3..6].iter().map(|records| servers_by(records, user)).collect();
    assert_eq!((by_source[0].len(), by_user[0].len()), (CLIENT_ADDRESSES.len(), 200));
    assert_only_keys_of("ecs13", &by_source[0], &by_source[1]);
    assert_only_keys_of("ecs12", &by_user[0], &by_user[1]);
    assert_eq!(by_source[0], by_source[2], "keys come back");
    assert_eq!(by_user[0], by_user[2], "keys come back");
    eprintln!("sch by parameter, 200 keys: {:?}", phases[3].counts());
    for records in &phases[6..] {
        let counts = counts_of(records, 4);
        eprintln!("by Wlc, then Wrr: {counts:?}");
        let quarter = records.len() as f64 / 4.0;
        assert!(counts.iter().all(|count| (*count as f64 / quarter - 1.0).abs() < 0.2), "{counts:?}");
    }

    // Without the parameter it is the client's address that counts (SG-86).
    balancer.apply(&with(&by_user_setting, &all));
    let load = Load::new((VIP_A, 80), RATE).from(&CLIENT_ADDRESSES).path("/?users=1");
    let (records, ()) = load.run_while(&lab, |load| load.wait_for(100));
    assert_eq!(servers_by(&records, source), by_source[0]);
    balancer.stop();
}
