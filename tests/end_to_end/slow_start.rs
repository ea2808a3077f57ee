//! Slow start as clients see it: a server's share against the formula, in both data paths (SG section 8).

use crate::groups::{FAST_CHECK, Group, ecs1, resources};
use crate::lab_with;
use causeway_lab::{Behaviour, CLIENT_ADDRESSES, Lab, LabOptions, VIP_A, web_servers};
use controller::api::HealthStatus;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tests::balancer::{Balancer, PATIENCE};
use tests::load::{Load, Records};

const RAMP: Duration = Duration::from_secs(30);
/// The least fraction of SG-133.
const FLOOR: f64 = 0.1;
/// How far a measured share may be from the formula's.
const POINTS: f64 = 0.05;

/// A server of a group.
struct Member {
    name: &'static str,
    weight: f64,
    /// When its slow start began; `None`: it never did.
    ramps_from: Option<Instant>,
}

impl Member {
    /// Weight × max(floor, t / duration), t from the beginning of slow start (SG-133).
    fn weight_at(&self, now: Instant) -> f64 {
        let Some(start) = self.ramps_from else { return self.weight };
        // Not there yet.
        let Some(age) = now.checked_duration_since(start) else { return 0.0 };
        self.weight * (age.as_secs_f64() / RAMP.as_secs_f64()).clamp(FLOOR, 1.0)
    }
}

/// The formula's mean share of `server` from `from` on, for `width`.
fn formula(members: &[Member], server: usize, from: Instant, width: Duration) -> f64 {
    const PARTS: u32 = 50;
    let share = |part: u32| {
        let now = from + width * (2 * part + 1) / (2 * PARTS);
        members[server].weight_at(now) / members.iter().map(|member| member.weight_at(now)).sum::<f64>()
    };
    (0..PARTS).map(share).sum::<f64>() / f64::from(PARTS)
}

/// Asserts that in each whole window from the beginning of the slow start of `server` to its end, and in one after, its
/// share is that of the formula. What it prints is what was measured.
#[track_caller]
fn assert_follows_formula(records: &Records, members: &[Member], server: usize, width: Duration) {
    let Member { name, ramps_from, .. } = &members[server];
    let start = ramps_from.expect("it ramps");
    let count = (RAMP.as_nanos() / width.as_nanos()) as usize + 1;
    let windows = records.windows(start, width);
    assert!(windows.len() >= count, "{name}: {} windows of {width:?}, not {count}", windows.len());
    let rows: Vec<(usize, f64, f64)> = (0u32..)
        .zip(windows.iter().take(count))
        .map(|(number, window)| {
            let expected = formula(members, server, start + width * number, width);
            (window.len(), window.share(name), expected)
        })
        .collect();
    let worst = rows.iter().map(|(_, seen, expected)| (seen - expected).abs()).fold(0.0, f64::max);
    let least = rows.iter().map(|(requests, ..)| *requests).min().unwrap_or(0);
    let shown: Vec<String> =
        rows.iter().map(|(_, seen, expected)| format!("{seen:.3}/{expected:.3}")).collect();
    eprintln!(
        "{name}: share/formula in windows of {width:?}, each of at least {least} requests: {}; worst {:.1} points",
        shown.join(" "),
        worst * 100.0
    );
    assert!(worst <= POINTS, "{name}: {:.1} points off", worst * 100.0);
}

fn lab(test: &str, id: &str) -> Option<Lab> {
    let extra_servers = web_servers(3, 0);
    lab_with(test, LabOptions { id: id.into(), extra_servers, big_file_bytes: 0, ..LabOptions::default() })
}

/// Waits until slow start of `server` is seen to have begun: within one look of when it did.
fn wait_for_slow_start(balancer: &Balancer<'_>, group: &str, server: Ipv4Addr) -> Instant {
    let view = balancer.wait_for_health(group, server, HealthStatus::Normal, PATIENCE);
    let seen = Instant::now();
    assert!(view.in_slow_start, "{view:?}");
    seen
}

fn wait_until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}

// Holds SG-133, SG-134, SG-136..SG-139
#[test]
fn requests_to_a_server_that_recovers_or_joins_follow_the_formula() {
    let Some(lab) = lab("requests_to_a_server_that_recovers_or_joins_follow_the_formula", "earamp") else {
        return;
    };
    let on = ["scheduler: Wrr", FAST_CHECK, "slow_start: {enabled: true, duration: 30}"];
    let with = |settings: &[&str], servers: &[(Ipv4Addr, u32)]| resources(&[Group::web(settings, servers)]);
    let two = [(ecs1(1), 100), (ecs1(2), 100)];
    let balancer = Balancer::start_resources(&lab, &with(&on[..2], &two));
    balancer.wait_until_healthy();
    balancer.apply(&with(&on, &two));
    for server in balancer.servers() {
        assert!(!server.in_slow_start && server.effective_weight == 100.0, "healthy before: {server:?}");
    }

    let fail = || {
        // What it has under way it finishes, so that no request fails.
        lab.set_behaviour_at("ecs12", "/health", Behaviour::Status(503)).expect("it obeys");
        balancer.wait_for_health("web", ecs1(2), HealthStatus::Unhealthy, PATIENCE);
    };
    let return_to_traffic = || {
        lab.set_behaviour_at("ecs12", "/health", Behaviour::Normal).expect("it obeys");
        wait_for_slow_start(&balancer, "web", ecs1(2))
    };
    let (records, [recovered, joined]) = Load::new((VIP_A, 80), 200.0).kept().run_while(&lab, |load| {
        fail();
        let first = return_to_traffic();
        // What the second begins with would be a third of the weight by then, if it went on with the first.
        wait_until(first + Duration::from_secs(5));
        fail();
        assert!(!balancer.server("web", ecs1(2)).in_slow_start);
        let recovered = return_to_traffic();
        load.wait_for(200);
        balancer.apply(&with(&on, &[two[0], two[1], (ecs1(3), 50)]));
        let joined = wait_for_slow_start(&balancer, "web", ecs1(3));
        wait_until(joined + RAMP + Duration::from_millis(2100));
        [recovered, joined]
    });
    records.assert_none_failed();
    eprintln!("none of {} requests failed at {:.0}/s", records.len(), records.rate());
    let members = [
        Member { name: "ecs11", weight: 100.0, ramps_from: None },
        Member { name: "ecs12", weight: 100.0, ramps_from: Some(recovered) },
        Member { name: "ecs13", weight: 50.0, ramps_from: Some(joined) },
    ];
    for server in [1, 2] {
        assert_follows_formula(&records, &members, server, Duration::from_secs(1));
    }
    for (number, Member { weight, .. }) in (1..).zip(&members) {
        let view = balancer.server("web", ecs1(number));
        assert!(!view.in_slow_start && view.effective_weight == *weight, "{view:?}");
    }
    balancer.stop();
}

// Holds SG-133, SG-135..SG-137
#[test]
fn new_flows_to_a_server_that_joins_follow_the_formula() {
    let Some(lab) = lab("new_flows_to_a_server_that_joins_follow_the_formula", "earampl4") else { return };
    let check = "health_check: {enabled: true, protocol: TCP, interval: 1, timeout: 1, healthy_threshold: 2}";
    let settings = ["scheduler: Wrr", check, "slow_start: {enabled: true, duration: 30}"];
    let with = |servers: u8| {
        let servers = (1..=servers).map(|number| (ecs1(number), 8080, 100)).collect();
        resources(&[Group { name: "flows", protocol: "TCP", listens: 9000, settings: &settings, servers }])
    };
    let balancer = Balancer::start_resources(&lab, &with(1));
    balancer.wait_until_healthy();
    assert!(
        !balancer.server("flows", ecs1(1)).in_slow_start,
        "the first server of a group takes all at once"
    );
    let load = Load::new((VIP_A, 9000), 550.0).from(&CLIENT_ADDRESSES);
    let (records, joined) = load.run_while(&lab, |load| {
        load.wait_for(500);
        balancer.apply(&with(2));
        let joined = wait_for_slow_start(&balancer, "flows", ecs1(2));
        wait_until(joined + RAMP + Duration::from_millis(5100));
        joined
    });
    records.assert_none_failed();
    eprintln!("none of {} flows failed at {:.0}/s", records.len(), records.rate());
    let members = [
        Member { name: "ecs11", weight: 100.0, ramps_from: None },
        Member { name: "ecs12", weight: 100.0, ramps_from: Some(joined) },
    ];
    assert_follows_formula(&records, &members, 1, Duration::from_secs(5));
    balancer.stop();
}
