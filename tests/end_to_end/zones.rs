//! Traffic that keeps to its zone, and a zone whose interface is down (SG section 10).

use crate::groups::{FAST_CHECK, Group, ecs1, resources};
use crate::lab_with;
use causeway_lab::{Balancers, Behaviour, LB, LB2, Lab, LabOptions, VIP_A, VIP_B, Variant, web_servers};
use controller::api::{EventView, HealthStatus};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tests::balancer::{Balancer, PATIENCE};
use tests::load::{Load, Records};

const RATE: f64 = 200.0;
/// The servers of each zone.
const ZONES: [[&str; 2]; 2] = [["ecs11", "ecs12"], ["ecs21", "ecs22"]];
const VIPS: [Ipv4Addr; 2] = [VIP_A, VIP_B];

fn address(zone: usize, number: u8) -> Ipv4Addr {
    let [a, b, c, suffix] = ecs1(number).octets();
    Ipv4Addr::new(a, b, c + zone as u8, suffix)
}

fn group_resources(cross_zone: bool, zones: &[usize]) -> String {
    let off = format!("cross_zone_enabled: {cross_zone}");
    let tcp = "health_check: {enabled: true, protocol: TCP, interval: 1, timeout: 1, healthy_threshold: 2, \
               unhealthy_threshold: 2}";
    let servers = |port: u16| {
        let of_zone = |zone: &usize| [1, 2].map(|number| (address(*zone, number), port, 100));
        zones.iter().flat_map(of_zone).collect::<Vec<_>>()
    };
    resources(&[
        Group {
            name: "web",
            protocol: "HTTP",
            listens: 80,
            settings: &[FAST_CHECK, &off],
            servers: servers(80),
        },
        Group {
            name: "flows",
            protocol: "TCP",
            listens: 9000,
            settings: &[tcp, &off],
            servers: servers(8080),
        },
    ])
}

/// Load on both VIPs at once while `work` runs: 200 requests per second in all.
fn load_on_both<T>(lab: &Lab, work: impl FnOnce() -> T) -> ([Records; 2], T) {
    let load = |vip| Load::new((vip, 80), RATE / 2.0).kept();
    let (of_a, (of_b, result)) = load(VIP_A).run_while(lab, |_| load(VIP_B).run_while(lab, |_| work()));
    ([of_a, of_b], result)
}

/// The servers that answered.
fn servers(records: &Records) -> BTreeSet<String> {
    records.counts().into_keys().collect()
}

/// Asserts that both servers of `zone`, and nobody else, answered, as often as each other.
#[track_caller]
fn assert_keeps_to(zone: usize, records: &Records) {
    records.assert_none_failed();
    let counts = records.counts();
    assert_eq!(servers(records), ZONES[zone].map(str::to_owned).into(), "{counts:?}");
    let [one, other] = ZONES[zone].map(|name| counts[name]);
    assert!(one.abs_diff(other) <= 1 + records.len() / 20, "{counts:?}");
}

/// New flows to the TCP listener at both VIPs, for a moment.
fn flows(lab: &Lab) -> [Records; 2] {
    VIPS.map(|vip| {
        // Packets of a zone without servers are dropped.
        let load = Load::new((vip, 9000), RATE).limit(Duration::from_millis(500));
        load.run_for(lab, Duration::from_millis(400))
    })
}

fn events(balancer: &Balancer<'_>) -> Vec<EventView> {
    serde_json::from_str(&balancer.command(&["get", "events", "-o", "json"])).expect("it is JSON")
}

/// What is shown with cross-zone balancing off, on a host for each zone or one for both.
fn traffic_keeps_to_its_zone(lab: &Lab, hosts: &[&'static str]) {
    let balancers: Vec<Balancer<'_>> = hosts
        .iter()
        .map(|host| Balancer::start_resources_on(lab, host, &group_resources(true, &[0, 1])))
        .collect();
    let of_zone = |zone: usize| &balancers[zone.min(balancers.len() - 1)];
    let apply = |resources: &str| balancers.iter().for_each(|balancer| drop(balancer.apply(resources)));
    balancers.iter().for_each(Balancer::wait_until_healthy);

    // Switched off and on under load.
    let (loads, [off, on, all]) = load_on_both(lab, || {
        std::thread::sleep(Duration::from_secs(1));
        apply(&group_resources(false, &[0, 1]));
        let off = Instant::now();
        std::thread::sleep(Duration::from_secs(1));
        if hosts.len() > 1 {
            for (zone, other) in [(0, 1), (1, 0)] {
                for group in ["web", "flows"] {
                    let theirs = of_zone(zone).server(group, address(other, 1));
                    assert_eq!((theirs.health, theirs.effective_weight), (HealthStatus::Unused, 0.0));
                    let own = of_zone(zone).server(group, address(zone, 1));
                    assert_eq!((own.health, own.effective_weight), (HealthStatus::Normal, 100.0));
                }
            }
        }
        let on = Instant::now();
        apply(&group_resources(true, &[0, 1]));
        balancers.iter().for_each(Balancer::wait_until_healthy);
        let all = Instant::now();
        std::thread::sleep(Duration::from_secs(1));
        [off, on, all]
    });
    for (zone, records) in loads.iter().enumerate() {
        records.assert_none_failed();
        assert_eq!(servers(&records.only(|record| record.ended() < off)).len(), 4, "on before");
        assert_keeps_to(zone, &records.between(off, on));
        assert_eq!(servers(&records.only(|record| record.began > all)).len(), 4, "on again");
    }
    eprintln!(
        "{} hosts: {} and {} requests while cross-zone balancing was switched off and on, none failed",
        hosts.len(),
        loads[0].len(),
        loads[1].len()
    );

    apply(&group_resources(false, &[0, 1]));
    for (zone, records) in flows(lab).iter().enumerate() {
        records.assert_none_failed();
        assert_eq!(servers(records), ZONES[zone].map(str::to_owned).into(), "flows: {:?}", records.counts());
    }

    // All servers of a zone fail, and answer clients all the same: they get the zone's traffic, and nobody else does.
    for host in ZONES[0] {
        lab.set_behaviour_at(host, "/health", Behaviour::Status(404)).expect("it is a web server");
    }
    for number in [1, 2] {
        of_zone(0).wait_for_health("web", address(0, number), HealthStatus::Unhealthy, PATIENCE);
    }
    let says = "no server in zone \"chengdu-a\" is healthy";
    assert!(events(of_zone(0)).iter().any(|event| event.group == "web" && event.what.starts_with(says)));
    assert_eq!(of_zone(1).server("web", address(1, 1)).health, HealthStatus::Normal);
    let (loads, ()) = load_on_both(lab, || std::thread::sleep(Duration::from_secs(2)));
    assert_keeps_to(0, &loads[0]);
    assert_keeps_to(1, &loads[1]);

    // They are down: what enters there fails, rather than leave the zone.
    for host in ZONES[0] {
        lab.stop_server(host).expect("nginx stops");
    }
    for number in [1, 2] {
        of_zone(0).wait_for_health("flows", address(0, number), HealthStatus::Unhealthy, PATIENCE);
    }
    let (loads, ()) = load_on_both(lab, || std::thread::sleep(Duration::from_secs(1)));
    assert!(loads[0].iter().all(|record| record.status() == Some(502)), "{:?}", loads[0].counts());
    assert_keeps_to(1, &loads[1]);
    let [of_a, of_b] = flows(lab);
    assert!(of_a.len() > 20 && servers(&of_a).is_empty(), "flows: {:?}", of_a.counts());
    of_b.assert_none_failed();
    for host in ZONES[0] {
        lab.set_behaviour_at(host, "/health", Behaviour::Normal).expect("it is a web server");
        lab.start_server(host).expect("nginx starts");
    }

    // The zone has no server.
    apply(&group_resources(false, &[1]));
    let (loads, ()) = load_on_both(lab, || std::thread::sleep(Duration::from_secs(1)));
    assert!(loads[0].len() > 50, "{}", loads[0].len());
    assert!(loads[0].iter().all(|record| record.status() == Some(503)), "{:?}", loads[0].counts());
    assert_keeps_to(1, &loads[1]);
    let [of_a, of_b] = flows(lab);
    assert!(of_a.len() > 20 && servers(&of_a).is_empty(), "flows: {:?}", of_a.counts());
    of_b.assert_none_failed();
    balancers.into_iter().for_each(Balancer::stop);
}

fn lab(test: &str, id: &str, balancers: Balancers) -> Option<Lab> {
    let extra_servers = web_servers(2, 2);
    lab_with(
        test,
        LabOptions { id: id.into(), balancers, extra_servers, big_file_bytes: 0, ..LabOptions::default() },
    )
}

// Holds SG-93, SG-171, SG-173..SG-175
#[test]
fn with_a_host_per_zone_traffic_keeps_to_its_zone() {
    let test = "with_a_host_per_zone_traffic_keeps_to_its_zone";
    let Some(lab) = lab(test, "ebzonehosts", Balancers::HostPerZone) else { return };
    traffic_keeps_to_its_zone(&lab, &[LB, LB2]);
}

// Holds SG-93, SG-171, SG-173, SG-175
#[test]
fn on_one_host_for_both_zones_traffic_keeps_to_its_zone() {
    let test = "on_one_host_for_both_zones_traffic_keeps_to_its_zone";
    let Some(lab) = lab(test, "ebzoneone", Balancers::OneHost) else { return };
    traffic_keeps_to_its_zone(&lab, &[LB]);
}

#[test]
fn requests_go_on_from_the_other_zone_while_a_zones_interface_is_down() {
    let test = "requests_go_on_from_the_other_zone_while_a_zones_interface_is_down";
    let Some(lab) = lab(test, "ebzonedown", Balancers::OneHost) else { return };
    let settings = [FAST_CHECK, "upstream_keepalive: false"];
    let servers = [1, 2].map(|number| (ecs1(number), 100));
    let balancer = Balancer::start_resources(&lab, &resources(&[Group::web(&settings, &servers)]));
    balancer.wait_until_healthy();
    let link =
        |state: &str| drop(lab.run(LB, &["ip", "link", "set", "eth2", state]).expect("it is the lab's"));
    let logged = |what: &str, count: usize| {
        balancer.wait_until(what, PATIENCE, || {
            let output = balancer.output();
            if output.matches(what).count() >= count { Ok(()) } else { Err(output) }
        });
    };
    let load = Load::new((VIP_A, 80), RATE).kept().path("/echo");
    let (records, [down, rests, up, back]) = load.run_while(&lab, |load| {
        load.wait_for(200);
        let down = Instant::now();
        link("down");
        logged("zone \"chengdu-b\": its interface is down", 1);
        // The engine hears of it within this.
        load.wait_for(20);
        let rests = Instant::now();
        load.wait_for(400);
        let up = Instant::now();
        link("up");
        logged("zone \"chengdu-b\": its interface is up again", 1);
        load.wait_for(20);
        let back = Instant::now();
        load.wait_for(300);
        [down, rests, up, back]
    });
    records.assert_none_failed();
    eprintln!("none of {} requests failed, down noticed within {:?}", records.len(), rests - down);
    let peers = |records: Records| -> BTreeSet<String> {
        let peer = |body: &[u8]| -> String {
            let seen: serde_json::Value = serde_json::from_slice(body).expect("the echo is JSON");
            seen["peer"].as_str().expect("it says").to_owned()
        };
        records.iter().map(|record| peer(&record.answer().body)).collect()
    };
    let text = |addresses: [Ipv4Addr; 2]| addresses.map(|address| address.to_string());
    let of_a: BTreeSet<String> = text(Variant::Vswitch.local_addresses_a()).into();
    let both: BTreeSet<String> =
        of_a.iter().cloned().chain(text(Variant::Vswitch.local_addresses_b())).collect();
    assert_eq!(peers(records.only(|record| record.ended() < down)), both);
    assert_eq!(peers(records.between(rests, up)), of_a, "the other zone's local addresses rest");
    assert_eq!(peers(records.only(|record| record.began > back)), both);
    balancer.stop();
}
