//! Health checks against real servers that fail in every way there is (SG section 11), with steady load.

use crate::failure::{REFUSED, SEEN, SILENT};
use crate::groups::{Group, ecs1, resources};
use crate::lab_with;
use causeway_lab::{
    Behaviour, ExtraServer, Fault, GRPC_PORT, GrpcHealth, Lab, LabOptions, TLS_PORT, VIP_A, web_servers,
};
use controller::api::{HealthStatus, ServerView};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tests::balancer::{Balancer, PATIENCE};
use tests::load::Load;

/// The defaults of SG section 11.
const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);
const THRESHOLD: u32 = 3;
/// The next probe, and two more (SG-188); a probe under way may take its timeout first.
const RECOVERED: Duration = Duration::from_secs(2 + 2 * 2);

/// What a server does, and what is to be seen of it.
struct Case {
    server: u8,
    what: &'static str,
    /// Not sooner than this many probes of this length take, and within SG-188's bound.
    takes: std::ops::Range<Duration>,
    reason: &'static str,
    /// With RESPONSE_MISMATCH: what came.
    actual: Option<&'static str>,
}

fn case(server: u8, what: &'static str, reason: &'static str) -> Case {
    Case { server, what, takes: INTERVAL * (THRESHOLD - 1)..REFUSED, reason, actual: None }
}

fn cases() -> [Case; 7] {
    let slow = TIMEOUT * THRESHOLD..SILENT;
    [
        Case { takes: slow.clone(), ..case(2, "hangs", "RECV_RESPONSE_TIMEOUT") },
        Case { actual: Some("404"), ..case(3, "answers 404", "RESPONSE_MISMATCH") },
        case(4, "closes early", "RECV_RESPONSE_FAILED"),
        case(5, "sends garbage", "RESPONSE_FORMAT_ERROR"),
        case(6, "refuses", "CONNECT_FAILED"),
        Case { takes: slow, ..case(7, "is silent", "CONNECT_TIMEOUT") },
        // Three passes, then three failures.
        Case {
            takes: INTERVAL * (2 * THRESHOLD - 1)..REFUSED * 2,
            actual: Some("503"),
            ..case(9, "fails three times in a row now and then", "RESPONSE_MISMATCH")
        },
    ]
}

/// Fails every probe less than three times in a row.
const FLAPS: u8 = 8;

fn break_it(lab: &Lab, server: u8) {
    let name = format!("ecs1{server}");
    let behaviour = match server {
        2 => Behaviour::Hang,
        3 => Behaviour::Status(404),
        4 => Behaviour::CloseEarly,
        5 => Behaviour::Garbage,
        6 => return refuse(lab, &name, true),
        7 => return lab.inject(&Fault::ServerSilentDrop(name)).expect("the fault is injected"),
        FLAPS => Behaviour::Flap { pass: 1, fail: 2 },
        9 => Behaviour::Flap { pass: 3, fail: 3 },
        _ => panic!("{name} is to work"),
    };
    // Requests of clients are served all along, so that none fails.
    lab.set_behaviour_at(&name, "/health", behaviour).expect("it obeys");
}

/// Has `server` refuse new connections, or not. A request on a new connection that a stopping nginx has taken already is
/// not tried again (LR-124), so that stopping it would fail one now and then.
fn refuse(lab: &Lab, server: &str, refuses: bool) {
    let rules = "table inet refusal {\nchain input { type filter hook input priority 0; \
                 tcp flags syn / fin,syn,rst,ack reject with tcp reset; }\n}";
    let words = if refuses { rules } else { "delete table inet refusal" };
    lab.run(server, &["nft", words]).expect("nft takes it");
}

fn mend_it(lab: &Lab, server: u8) {
    let name = format!("ecs1{server}");
    match server {
        6 => refuse(lab, &name, false),
        7 => lab.mend(&Fault::ServerSilentDrop(name)).expect("the fault is mended"),
        _ => lab.set_behaviour_at(&name, "/health", Behaviour::Normal).expect("it obeys"),
    }
}

/// When each server of the HTTP groups was first seen with a health since the last look.
#[derive(Default)]
struct Watch {
    last: BTreeMap<(String, SocketAddr), HealthStatus>,
    changes: Vec<(String, SocketAddr, HealthStatus, Instant, ServerView)>,
}

impl Watch {
    /// Looks once.
    fn look(&mut self, balancer: &Balancer) {
        let now = Instant::now();
        for view in balancer.servers() {
            let before = self.last.insert((view.group.clone(), view.address), view.health);
            if before.is_some_and(|before| before != view.health) {
                self.changes.push((view.group.clone(), view.address, view.health, now, view));
            }
        }
    }

    /// The first change of `server` to `health`, on port 80.
    fn first(&self, server: u8, health: HealthStatus) -> Option<(Instant, &ServerView)> {
        let address = SocketAddr::from((ecs1(server), 80));
        let found = self.changes.iter().find(|(_, at, to, ..)| (*at, *to) == (address, health));
        found.map(|(.., when, view)| (*when, view))
    }

    /// Looks until each of `servers` has changed to `health`, or `limit` has passed.
    fn look_until(&mut self, balancer: &Balancer, servers: &[u8], health: HealthStatus, limit: Duration) {
        let end = Instant::now() + limit;
        while Instant::now() < end && servers.iter().any(|server| self.first(*server, health).is_none()) {
            self.look(balancer);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

// Holds SG-92, SG-181, SG-182, SG-186, SG-188, SG-190, SG-193
#[test]
fn each_way_to_fail_is_detected_in_time_and_named() {
    let test = "each_way_to_fail_is_detected_in_time_and_named";
    let options = LabOptions {
        id: "eafail".into(),
        extra_servers: web_servers(9, 0),
        big_file_bytes: 0,
        ..LabOptions::default()
    };
    let Some(lab) = lab_with(test, options) else { return };
    let http = ["health_check: {enabled: true, protocol: HTTP, path: /health}"];
    let tcp = ["health_check: {enabled: true, protocol: TCP}"];
    let off = ["health_check: {enabled: false}"];
    let servers = |numbers: &[u8], port: u16| -> Vec<(Ipv4Addr, u16, u32)> {
        numbers.iter().map(|number| (ecs1(*number), port, 100)).collect()
    };
    let group =
        |name, protocol, listens, settings, servers| Group { name, protocol, listens, settings, servers };
    // A request is tried on two servers, so a group has one at a time that takes no connection.
    let resources = resources(&[
        group("web", "HTTP", 80, &http, servers(&[1, 2, 3, 4, 5, 6, FLAPS, 9], 80)),
        group("silent", "HTTP", 81, &http, servers(&[1, 7], 80)),
        group("unchecked", "HTTP", 82, &off, servers(&[1, 3], 80)),
        group("flows", "TCP", 9000, &tcp, servers(&[1, 2, 3, 4, 5, 6, 7], 8080)),
    ]);
    let balancer = Balancer::start_resources(&lab, &resources);
    balancer.wait_until("every checked server is Normal", PATIENCE, || {
        let servers = balancer.servers();
        let is_good = |server: &ServerView| {
            let unchecked = server.group == "unchecked";
            server.health == if unchecked { HealthStatus::Unavailable } else { HealthStatus::Normal }
        };
        servers.iter().all(is_good).then_some(()).ok_or(servers)
    });

    let cases = cases();
    let numbers: Vec<u8> = cases.iter().map(|case| case.server).collect();
    let load = |port: u16, rate: f64| Load::new((VIP_A, port), rate).kept();
    let (web, (silent, (detected, mended))) = load(80, 200.0).run_while(&lab, |web| {
        load(81, 50.0).run_while(&lab, |_| {
            web.wait_for(200);
            let mut watch = Watch::default();
            watch.look(&balancer);
            let mut broken = BTreeMap::new();
            for server in numbers.iter().copied().chain([FLAPS]) {
                broken.insert(server, Instant::now());
                break_it(&lab, server);
            }
            watch.look_until(&balancer, &numbers, HealthStatus::Unhealthy, SILENT + SEEN);
            for case in &cases {
                assert_detected(case, broken[&case.server], &watch);
            }
            let detected = Instant::now();
            assert_shown(&balancer, &cases);
            assert_tcp_checks(&balancer, &broken);
            // It has failed two of three probes since, and was never out.
            assert!(watch.first(FLAPS, HealthStatus::Unhealthy).is_none());
            let log = lab.server_log("ecs18").expect("it has a log");
            let failed = log.iter().filter(|line| line.request.contains("/health") && line.status == 503);
            assert!(failed.count() >= 4);
            // Three passes in a row bring back what has failed three times.
            watch.look_until(&balancer, &[9], HealthStatus::Normal, PATIENCE);
            let (out, _) = watch.first(9, HealthStatus::Unhealthy).expect("asserted above");
            let (back, _) = watch.first(9, HealthStatus::Normal).expect("it has passed again");
            eprintln!("{test}: what failed three times was out for {:?}", back - out);
            assert!(back - out < INTERVAL * THRESHOLD + SEEN);
            assert_unchecked(&lab, &balancer);
            web.wait_for(100);

            let mended = Instant::now();
            numbers.iter().for_each(|server| mend_it(&lab, *server));
            let mut watch = Watch { changes: Vec::new(), ..watch };
            let out: Vec<u8> = (2..=7).collect();
            watch.look_until(&balancer, &out, HealthStatus::Normal, RECOVERED + TIMEOUT + SEEN);
            for server in out {
                let (seen, _) = watch.first(server, HealthStatus::Normal).expect("it recovers");
                // What waits for a silent server does so to its end.
                let bound = if server == 7 { RECOVERED + TIMEOUT } else { RECOVERED };
                eprintln!("{test}: ecs1{server} is Normal {:?} after it was mended", seen - mended);
                assert!(seen - mended < bound + SEEN, "ecs1{server}");
            }
            web.wait_for(100);
            (detected, mended)
        })
    });
    for records in [&web, &silent] {
        records.assert_none_failed();
        eprintln!("{test}: none of {} requests failed at {:.0}/s", records.len(), records.rate());
    }
    let out = ["ecs12", "ecs13", "ecs14", "ecs15", "ecs16", "ecs17"];
    let counts = [&web, &silent].map(|records| records.between(detected, mended).counts());
    for counts in &counts {
        assert!(out.iter().all(|server| !counts.contains_key(*server)), "{counts:?}");
    }
    balancer.stop();
}

#[track_caller]
fn assert_detected(case: &Case, broken: Instant, watch: &Watch) {
    let Case { server, what, takes, reason, actual } = case;
    let Some((seen, view)) = watch.first(*server, HealthStatus::Unhealthy) else {
        panic!("ecs1{server}, which {what}, is not detected within {:?}", SILENT + SEEN)
    };
    let failure = view.failure.as_ref().expect("an unhealthy server has a reason");
    eprintln!(
        "ecs1{server}, which {what}: {} after {:?} ({})",
        failure.reason,
        seen - broken,
        failure.detail
    );
    assert_eq!(failure.reason, *reason);
    assert_eq!(failure.actual.as_deref(), *actual);
    assert_eq!(failure.expected.as_deref(), actual.map(|_| "HTTP_2xx"));
    // A probe that was under way when it broke may be the first to fail.
    assert!(seen - broken > takes.start - SEEN, "too soon for three failures");
    assert!(seen - broken < takes.end + SEEN, "later than {:?}", takes.end);
}

/// What an operator sees is the same.
fn assert_shown(balancer: &Balancer, cases: &[Case]) {
    let shown = balancer.command(&["get", "servers", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("it is JSON");
    // The one that flaps may be back.
    for Case { server, reason, actual, .. } in cases.iter().filter(|case| case.server != 9) {
        let address = format!("{}:80", ecs1(*server));
        let rows = shown.as_array().expect("a list").iter();
        let mut rows = rows.filter(|row| row["address"] == *address && row["group"] != "unchecked");
        let row = rows.next().unwrap_or_else(|| panic!("no {address} in {shown}"));
        assert_eq!(row["health"], "Unhealthy", "{row}");
        assert_eq!(row["failure"]["reason"], *reason, "{row}");
        assert_eq!(row["failure"]["actual"].as_str(), *actual, "{row}");
    }
}

/// For TCP checks a server is well that accepts, whatever it says.
fn assert_tcp_checks(balancer: &Balancer, broken: &BTreeMap<u8, Instant>) {
    for (number, bound, reason) in [(6, REFUSED, "CONNECT_FAILED"), (7, SILENT, "CONNECT_TIMEOUT")] {
        let limit = (bound + SEEN).saturating_sub(broken[&number].elapsed());
        let view = balancer.wait_for_health("flows", ecs1(number), HealthStatus::Unhealthy, limit);
        assert_eq!(view.failure.expect("a reason").reason, reason);
    }
    for number in 1..=5 {
        assert_eq!(balancer.server("flows", ecs1(number)).health, HealthStatus::Normal, "ecs1{number}");
    }
}

/// Without checks a failing server keeps its share.
fn assert_unchecked(lab: &Lab, balancer: &Balancer) {
    lab.set_behaviour_at("ecs13", "/login", Behaviour::Status(500)).expect("it obeys");
    let load = Load::new((VIP_A, 82), 200.0).path("/login");
    let (records, ()) = load.run_while(lab, |load| load.wait_for(40));
    let failed = records.iter().filter(|record| record.status() == Some(500)).count();
    assert!(failed.abs_diff(records.len() / 2) <= 1, "{failed} of {}", records.len());
    let view = balancer.server("unchecked", ecs1(3));
    assert_eq!((view.health, view.effective_weight), (HealthStatus::Unavailable, 100.0));
}

// Holds SG-182..SG-186, SG-193, SG-196
#[test]
fn checks_speak_what_servers_of_their_kind_speak() {
    let mut extra_servers = web_servers(3, 0);
    extra_servers.push(ExtraServer::grpc());
    let options =
        LabOptions { id: "eakinds".into(), extra_servers, big_file_bytes: 100_000, ..LabOptions::default() };
    let Some(lab) = lab_with("checks_speak_what_servers_of_their_kind_speak", options) else { return };
    let fast = "enabled: true, interval: 1, timeout: 1, healthy_threshold: 2, unhealthy_threshold: 2";
    let check = |more: &str| format!("health_check: {{{fast}, {more}}}");
    let tls = check(&format!("protocol: HTTPS, path: /health, connect_port: {TLS_PORT}"));
    let not_tls = check("protocol: HTTPS, path: /health");
    let grpc = check("protocol: gRPC");
    let unavailable = check("protocol: gRPC, codes: [\"0\", \"12-14\"]");
    let big = check("protocol: HTTP, method: GET, path: /big");
    let nobody = check("protocol: HTTP, connect_port: 81");
    let grpc_server = (ExtraServer::grpc().address, GRPC_PORT, 100);
    let rows = [
        ("tls", &tls, vec![(ecs1(1), 80, 100), (ecs1(2), 80, 100)]),
        ("not-tls", &not_tls, vec![(ecs1(3), 80, 100)]),
        ("grpc", &grpc, vec![grpc_server]),
        ("forgiving", &unavailable, vec![grpc_server]),
        ("big", &big, vec![(ecs1(1), 80, 100), (ecs1(2), 80, 100)]),
        ("nobody", &nobody, vec![(ecs1(3), 80, 100)]),
    ];
    let settings: Vec<[&str; 1]> = rows.iter().map(|(_, check, _)| [check.as_str()]).collect();
    let groups: Vec<Group> = (80..)
        .zip(&rows)
        .zip(&settings)
        .map(|((listens, (name, _, servers)), settings)| Group {
            name,
            protocol: "HTTP",
            listens,
            settings,
            servers: servers.clone(),
        })
        .collect();
    // The body is cut short after the head: what comes of it does not matter.
    lab.set_behaviour_at("ecs12", "/big", Behaviour::CutShort).expect("it obeys");
    let balancer = Balancer::start_resources(&lab, &resources(&groups));

    let expect =
        |group: &str, server: Ipv4Addr, health| balancer.wait_for_health(group, server, health, PATIENCE);
    let well = |group: &str, server| expect(group, server, HealthStatus::Normal);
    let failing = |group: &str, server, reason: &str, actual: Option<&str>, expected: Option<&str>| {
        let view = expect(group, server, HealthStatus::Unhealthy);
        let failure = view.failure.expect("an unhealthy server has a reason");
        eprintln!("{group}: {failure:?}");
        assert_eq!(failure.reason, reason, "{group}: {failure:?}");
        assert_eq!((failure.actual.as_deref(), failure.expected.as_deref()), (actual, expected), "{group}");
    };
    let (grpc_address, ..) = grpc_server;
    for (group, server) in [
        ("tls", ecs1(1)),
        ("tls", ecs1(2)),
        ("grpc", grpc_address),
        ("forgiving", grpc_address),
        ("big", ecs1(1)),
        ("big", ecs1(2)),
    ] {
        well(group, server);
    }
    failing("not-tls", ecs1(3), "RESPONSE_FORMAT_ERROR", None, None);
    failing("nobody", ecs1(3), "CONNECT_FAILED", None, None);

    let (records, ()) = Load::new((VIP_A, 80), 200.0).kept().run_while(&lab, |_| {
        lab.set_behaviour_at("ecs12", "/health", Behaviour::Status(302)).expect("it obeys");
        lab.set_grpc_health("grpc", GrpcHealth::Code(14)).expect("it obeys");
        failing("tls", ecs1(2), "RESPONSE_MISMATCH", Some("302"), Some("HTTP_2xx"));
        failing("grpc", grpc_address, "RESPONSE_MISMATCH", Some("14"), Some("0"));
        lab.set_grpc_health("grpc", GrpcHealth::Hang).expect("it obeys");
        failing("forgiving", grpc_address, "RECV_RESPONSE_TIMEOUT", None, None);
        lab.set_behaviour_at("ecs12", "/health", Behaviour::Normal).expect("it obeys");
        lab.set_grpc_health("grpc", GrpcHealth::Serving).expect("it obeys");
        for (group, server) in [("tls", ecs1(2)), ("grpc", grpc_address), ("forgiving", grpc_address)] {
            well(group, server);
        }
        lab.stop_server("grpc").expect("it stops");
        failing("grpc", grpc_address, "CONNECT_FAILED", None, None);
    });
    records.assert_none_failed();
    let log = lab.server_log("ecs11").expect("it has a log");
    assert!(log.iter().any(|line| line.request == "GET /big HTTP/1.1" && line.status == 200));
    balancer.stop();
}
