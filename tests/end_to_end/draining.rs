//! Requests in flight to a server that leaves: let finish, or cut, as the group says (SG section 9).

use crate::client::{Connection, at};
use crate::groups::{FAST_CHECK, Group, ecs1, resources};
use crate::lab_with;
use causeway_lab::{Behaviour, CLIENT, Lab, LabOptions, VIP_A, web_servers};
use controller::api::{EventView, HealthStatus};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tests::balancer::{Balancer, PATIENCE};
use tests::load::{Load, Record, Records};

/// Requests of ten seconds with which the load of each group begins: half of them reach the server that leaves.
const SLOW: usize = 48;
/// How long they take.
const SLOW_TAKES: Duration = Duration::from_secs(10);
/// From the end of a drain to its being seen from outside, on a busy machine.
const SEEN: Duration = Duration::from_millis(500);
/// Size of the file that a client does not go on reading.
const BIG: usize = 40_000_000;
/// Requests per second of each of five groups: 200 in all.
const RATE: f64 = 40.0;

/// A group behind a listener of its own, with servers ecs11 and ecs12, of which the first leaves.
struct Case {
    name: &'static str,
    listens: u16,
    /// The drain's timeout in seconds; `None`: no drain.
    timeout: Option<u64>,
    /// Whether ecs11 comes back while it drains.
    returns: bool,
}

const CASES: [Case; 5] = [
    Case { name: "thirty", listens: 81, timeout: Some(30), returns: false },
    Case { name: "five", listens: 82, timeout: Some(5), returns: false },
    Case { name: "zero", listens: 83, timeout: Some(0), returns: false },
    Case { name: "off", listens: 84, timeout: None, returns: false },
    Case { name: "back", listens: 85, timeout: Some(5), returns: true },
];

/// What was seen of one group, and when ecs11 left it: between these two.
struct Seen {
    records: Records,
    in_flight: u64,
    left: [Instant; 2],
    /// When ecs11 was in use again.
    back: Option<Instant>,
}

/// How each group checks its servers: at a path that stands for the group.
fn check_path(case: &Case) -> String {
    format!("/echo/{}", case.name)
}

fn case_resources() -> String {
    let settings = CASES.each_ref().map(|case| {
        let drain = match case.timeout {
            Some(timeout) => format!("connection_drain: {{enabled: true, timeout: {timeout}}}"),
            None => "connection_drain: {enabled: false}".to_owned(),
        };
        [FAST_CHECK.replace("/health", &check_path(case)), drain]
    });
    let lines = settings.each_ref().map(|lines| lines.each_ref().map(String::as_str));
    let groups: Vec<Group> = CASES
        .iter()
        .zip(&lines)
        .map(|(case, settings)| Group {
            name: case.name,
            protocol: "HTTP",
            listens: case.listens,
            settings,
            servers: vec![(ecs1(1), 80, 100), (ecs1(2), 80, 100)],
        })
        .collect();
    resources(&groups)
}

/// Runs the load of every group at once while `work` does, which is given the requests in flight to ecs11 of each.
fn under_load<T>(
    lab: &Lab,
    balancer: &Balancer<'_>,
    work: impl FnOnce([u64; CASES.len()]) -> T,
) -> (Vec<Records>, T) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        let loads = CASES.each_ref().map(|case| {
            let path = |number: u64| {
                let seconds = SLOW_TAKES.as_secs();
                if number < SLOW as u64 { format!("/slow?s={seconds}") } else { "/".to_owned() }
            };
            let load = Load::new((VIP_A, case.listens), RATE).kept().paths(path);
            let stop = &stop;
            scope.spawn(move || {
                let until_stopped = || {
                    while !stop.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                };
                load.run_while(lab, |_| until_stopped()).0
            })
        });
        let in_flight = CASES.each_ref().map(|case| {
            balancer.wait_until("the slow requests have begun", PATIENCE, || {
                let active = [1, 2].map(|number| balancer.server(case.name, ecs1(number)).counters.active);
                // All of them: a request of another kind between two would change whose turn the later one is.
                if active[0] + active[1] >= SLOW as u64 { Ok(active[0]) } else { Err(active) }
            })
        });
        let result = work(in_flight);
        stop.store(true, Ordering::Relaxed);
        (loads.map(|load| load.join().expect("the load does not panic")).into(), result)
    })
}

/// Also ends the loads when the test panics, or its panic would wait for them for ever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn events(balancer: &Balancer<'_>, group: &str) -> Vec<EventView> {
    serde_json::from_str(&balancer.command(&["get", "events", group, "-o", "json"])).expect("it is JSON")
}

/// How many requests the group's event of the end of ecs11's drain says finished and were cut, if there is one.
fn drain_ended(balancer: &Balancer<'_>, group: &str) -> Option<[u64; 2]> {
    let events = events(balancer, group);
    let ends: Vec<&str> = events
        .iter()
        .filter(|event| event.server.is_some_and(|server| server.ip() == ecs1(1)))
        .filter_map(|event| event.what.strip_prefix("ended its drain: "))
        .collect();
    assert!(ends.len() <= 1, "{group}: one drain ends once: {events:?}");
    let counts = ends.first()?.trim_end_matches(" at the deadline");
    let (finished, cut) = counts.strip_suffix(" cut")?.split_once(" finished, ")?;
    Some([finished, cut].map(|count| count.parse().unwrap_or_else(|_| panic!("{group}: {events:?}"))))
}

fn is_slow(record: &Record) -> bool {
    record.path.starts_with("/slow")
}

/// Asserts that what was in flight when ecs11 left became what the group says, and that nothing else failed.
#[track_caller]
fn assert_drained(case: &Case, seen: &Seen, drain: Option<[u64; 2]>) {
    let Case { name, timeout, .. } = case;
    let Seen { records, in_flight, left: [before, after], back } = seen;
    let slow = records.only(is_slow);
    assert_eq!(slow.len(), SLOW);
    let failed = records.failed();
    let after_left: Vec<f64> = failed.iter().map(|record| (record.ended() - *before).as_secs_f64()).collect();
    eprintln!(
        "{name}: {in_flight} in flight at {:.1} requests/s; {} of {} failed{}; the event says {drain:?}",
        records.rate(),
        failed.len(),
        records.len(),
        match (after_left.iter().copied().reduce(f64::min), after_left.iter().copied().reduce(f64::max)) {
            (Some(first), Some(last)) => format!(", {first:.2} to {last:.2} s after it left"),
            _ => String::new(),
        }
    );
    assert!(*in_flight >= 20, "{name}: {in_flight} in flight");
    assert!(records.iter().all(|record| record.outcome.is_ok()), "{name}: everything is answered");
    let is_cut = timeout.is_some_and(|timeout| Duration::from_secs(timeout) < SLOW_TAKES);
    if is_cut {
        let cut = failed.only(is_slow);
        assert!(cut.iter().all(|record| record.status() == Some(500)), "{name}: {:?}", cut.iter().next());
        assert_eq!(cut.len(), SLOW / 2, "{name}: each that was in flight to it");
        assert_eq!(slow.share("ecs12"), 1.0, "{name}: no other was answered by it");
        let deadline = Duration::from_secs(timeout.unwrap_or_default());
        for record in failed.iter() {
            assert!(record.ended() + SEEN >= *before + deadline, "{name}: too early: {record:?}");
            assert!(record.ended() <= *after + deadline + SEEN, "{name}: too late: {record:?}");
        }
        // Only with no time at all can a fast request be among those that are cut.
        let others = failed.only(|record| !is_slow(record) && (deadline > SEEN || record.began > *after));
        assert!(others.is_empty(), "{name}: {others:?}");
        assert_eq!(drain.map(|[_, cut]| cut), Some(failed.len() as u64), "{name}: finished and cut");
    } else {
        assert!(failed.is_empty(), "{name}: {failed:?}");
        assert_eq!(slow.counts()["ecs11"], SLOW / 2, "{name}: each that was in flight to it finished");
        // nginx counts from the time it last looked at a clock.
        assert!(slow.iter().all(|record| record.took + Duration::from_millis(100) > SLOW_TAKES));
        match (timeout, drain) {
            (Some(_), Some([finished, 0])) => assert!(finished >= SLOW as u64 / 2, "{name}: {finished}"),
            (None, None) => {}
            (_, drain) => panic!("{name}: its drain ended with {drain:?}"),
        }
    }
    let gone = records.only(|record| record.began > *after && back.is_none_or(|back| record.began < back));
    assert!(gone.len() > 20, "{name}: {} requests after it left", gone.len());
    let expected = if back.is_some() { 0.0..0.5 } else { 0.0..f64::MIN_POSITIVE };
    // Back in use, it is so a moment before that is seen.
    assert!(expected.contains(&gone.share("ecs11")), "{name}: no new request: {:?}", gone.counts());
    if let Some(back) = back {
        let new = records.only(|record| record.began > *back);
        assert!((new.share("ecs11") - 0.5).abs() < 0.05, "{name}: served again: {:?}", new.counts());
    }
}

/// Waits until every drain that has an end has ended.
fn wait_for_ends(balancer: &Balancer<'_>) -> [Option<[u64; 2]>; CASES.len()] {
    CASES.each_ref().map(|case| {
        case.timeout?;
        Some(balancer.wait_until("the drain has ended", PATIENCE, || {
            drain_ended(balancer, case.name).ok_or_else(|| events(balancer, case.name))
        }))
    })
}

fn lab(test: &str, id: &str, servers: u8) -> Option<Lab> {
    let extra_servers = web_servers(servers, 0);
    // More than all socket buffers on the way hold together.
    let big_file_bytes = BIG as u64;
    lab_with(test, LabOptions { id: id.into(), extra_servers, big_file_bytes, ..LabOptions::default() })
}

/// Watched requests of each kind: so many that hardly ever all are with one server, whatever runs between them.
const WATCHED: usize = 12;

/// On connections of its own: what follows a cut on the client's side.
struct Watched {
    slow: Vec<Connection>,
    big: Vec<Connection>,
}

impl Watched {
    /// [`WATCHED`] requests each for the page and for the big file; about half of them are in flight to ecs11 then.
    fn open(listens: u16) -> io::Result<Watched> {
        let mut watched = Watched { slow: Vec::new(), big: Vec::new() };
        // Two of a kind in a row: servers take turns, and each kind is to be with both.
        for _ in 0..WATCHED / 2 {
            for _ in 0..2 {
                let mut slow = Connection::open(at(VIP_A, listens))?;
                slow.send(b"GET /slow?s=10 HTTP/1.1\r\nHost: w\r\n\r\n")?;
                watched.slow.push(slow);
            }
            for _ in 0..2 {
                let mut big = Connection::open(at(VIP_A, listens))?;
                big.begin("/big")?;
                watched.big.push(big);
            }
        }
        Ok(watched)
    }

    /// How many were cut; a connection whose request was cut before its answer began serves the next one.
    fn finish(self) -> io::Result<[usize; 2]> {
        let mut cut = [0; 2];
        for mut connection in self.slow {
            let reply = connection.answer()?;
            assert!([200, 500].contains(&reply.status), "{}", reply.head);
            cut[0] += usize::from(reply.status == 500);
            assert_eq!(connection.get("/")?.status, 200, "the client's connection is not closed");
        }
        for mut connection in self.big {
            let mut body = vec![0; BIG];
            cut[1] += usize::from(connection.body(&mut body).is_err());
        }
        Ok(cut)
    }
}

// Holds SG-151, SG-153..SG-158, SG-160, SG-202, SG-226
#[test]
fn requests_in_flight_to_a_removed_server_finish_or_are_cut_as_the_group_says() {
    let test = "requests_in_flight_to_a_removed_server_finish_or_are_cut_as_the_group_says";
    let Some(lab) = lab(test, "ebremove", 2) else { return };
    let balancer = Balancer::start_resources(&lab, &case_resources());
    balancer.wait_until_healthy();
    let five = CASES[1].listens;
    let server = format!("{}:80", ecs1(1));
    let (loads, (seen, cut)) = under_load(&lab, &balancer, |in_flight| {
        let watched = lab.within(CLIENT, || Watched::open(five)).expect("enter the client").expect("answers");
        let mut seen: Vec<_> = CASES
            .iter()
            .zip(in_flight)
            .map(|(case, in_flight)| {
                let before = Instant::now();
                balancer.command(&["server", "remove", case.name, &server]);
                Seen { records: Records::default(), in_flight, left: [before, Instant::now()], back: None }
            })
            .collect();
        let thirty = balancer.server("thirty", ecs1(1));
        assert_eq!(thirty.health, HealthStatus::Removing, "{thirty:?}");
        assert!(thirty.is_draining && thirty.counters.active >= 20, "{thirty:?}");
        for (case, seen) in CASES.iter().zip(&mut seen).filter(|(case, _)| case.returns) {
            balancer.command(&["server", "add", case.name, &server]);
            balancer.wait_until("it is in use again", PATIENCE, || {
                let servers = balancer.servers();
                let is_back = servers.iter().any(|view| {
                    view.group == case.name
                        && view.address.ip() == ecs1(1)
                        && view.health == HealthStatus::Normal
                });
                if is_back { Ok(()) } else { Err(servers) }
            });
            seen.back = Some(Instant::now());
        }
        let cut = lab.within(CLIENT, || watched.finish()).expect("enter the client").expect("answers");
        (seen, cut)
    });
    let ends = wait_for_ends(&balancer);
    eprintln!("five: {cut:?} of {WATCHED} requests for the page and as many for the big file were cut");
    for ((case, mut seen), (records, mut end)) in CASES.iter().zip(seen).zip(loads.into_iter().zip(ends)) {
        seen.records = records;
        if case.name == "five" {
            // The watched ones are in its count.
            end = end.map(|[finished, count]| [finished, count - (cut[0] + cut[1]) as u64]);
            assert!(
                cut[0] > 0 && cut[1] > 0 && cut[0] + cut[1] < 2 * WATCHED,
                "some were at the other server: {cut:?}"
            );
        }
        assert_drained(case, &seen, end);
    }
    balancer.wait_until("it has left", PATIENCE, || {
        let servers = balancer.servers();
        let count = servers.iter().filter(|server| server.address.ip() == ecs1(1)).count();
        if count == 1 { Ok(()) } else { Err(servers) }
    });
    // The last server leaves with nothing in flight: its 30 seconds are not waited for.
    balancer.command(&["server", "remove", "thirty", &format!("{}:80", ecs1(2))]);
    balancer.wait_until("the drain has ended", Duration::from_secs(3), || {
        let events = events(&balancer, "thirty");
        let of_last = |event: &&EventView| event.server.is_some_and(|server| server.ip() == ecs1(2));
        let has_ended = events.iter().filter(of_last).any(|event| event.what == "is gone");
        if has_ended && balancer.servers().iter().all(|server| server.group != "thirty") {
            Ok(())
        } else {
            Err(events)
        }
    });
    balancer.stop();
}

// Holds SG-153..SG-155, SG-157, SG-159
#[test]
fn requests_in_flight_to_a_failing_server_finish_or_are_cut_as_the_group_says() {
    let test = "requests_in_flight_to_a_failing_server_finish_or_are_cut_as_the_group_says";
    let Some(lab) = lab(test, "ebfail", 2) else { return };
    let balancer = Balancer::start_resources(&lab, &case_resources());
    balancer.wait_until_healthy();
    let (loads, seen) = under_load(&lab, &balancer, |in_flight| {
        let mut begun = Instant::now();
        for case in &CASES {
            let failing = Behaviour::Status(404);
            lab.set_behaviour_at("ecs11", &check_path(case), failing).expect("it is a web server");
        }
        let mut left = [None; CASES.len()];
        balancer.wait_until("every group has seen it fail", PATIENCE, || {
            let look = Instant::now();
            let servers = balancer.servers();
            let seen = Instant::now();
            for (case, left) in CASES.iter().zip(&mut left) {
                let is_out = servers
                    .iter()
                    .any(|server| server.group == case.name && server.health == HealthStatus::Unhealthy);
                if is_out && left.is_none() {
                    *left = Some([begun, seen]);
                }
            }
            begun = look;
            if left.iter().all(Option::is_some) { Ok(()) } else { Err(servers) }
        });
        let mut seen: Vec<_> = left
            .into_iter()
            .flatten()
            .zip(in_flight)
            .map(|(left, in_flight)| Seen { records: Records::default(), in_flight, left, back: None })
            .collect();
        for (case, seen) in CASES.iter().zip(&mut seen).filter(|(case, _)| case.returns) {
            lab.set_behaviour_at("ecs11", &check_path(case), Behaviour::Normal).expect("it is a web server");
            balancer.wait_for_health(case.name, ecs1(1), HealthStatus::Normal, PATIENCE);
            seen.back = Some(Instant::now());
        }
        // Longer than the longest of those that are cut.
        std::thread::sleep(
            (seen[1].left[1] + Duration::from_secs(6)).saturating_duration_since(Instant::now()),
        );
        seen
    });
    let ends = wait_for_ends(&balancer);
    for ((case, mut seen), (records, end)) in CASES.iter().zip(seen).zip(loads.into_iter().zip(ends)) {
        seen.records = records;
        assert_drained(case, &seen, end);
    }
    balancer.stop();
}

// Holds SG-162, SG-223
#[test]
fn a_rolling_restart_of_all_servers_under_load_loses_no_request() {
    const REQUESTS: usize = 20_000;
    let test = "a_rolling_restart_of_all_servers_under_load_loses_no_request";
    let Some(lab) = lab(test, "ebrolling", 4) else { return };
    let settings = [FAST_CHECK, "connection_drain: {enabled: true, timeout: 30}"];
    let servers = [1, 2, 3].map(|number| (ecs1(number), 100));
    let balancer = Balancer::start_resources(&lab, &resources(&[Group::web(&settings, &servers)]));
    balancer.wait_until_healthy();
    // One in a hundred takes a second, so that each server has some in flight at any time.
    let path = |number: u64| if number.is_multiple_of(100) { "/slow?s=1".into() } else { "/".to_owned() };
    let load = Load::new((VIP_A, 80), 700.0).kept().paths(path);
    let (records, restarted) = load.run_while(&lab, |load| {
        let mut restarted = Vec::new();
        load.wait_for(500);
        for number in 1..=3 {
            let (host, server) = (format!("ecs1{number}"), format!("{}:80", ecs1(number)));
            let said = balancer.command(&["server", "drain", "web", &server, "--remove"]);
            assert!(said.contains("nothing in flight after"), "{said}");
            lab.stop_server(&host).expect("nginx stops");
            restarted.push(Instant::now());
            lab.start_server(&host).expect("nginx starts");
            balancer.command(&["server", "add", "web", &server]);
            balancer.wait_for_health("web", ecs1(number), HealthStatus::Normal, PATIENCE);
            load.wait_for(500);
        }
        // All of them in one step: what joins joins before what leaves has left.
        let [one, two, three, four] = [1, 2, 3, 4].map(|number| format!("{}:80", ecs1(number)));
        balancer.command(&["server", "replace", "web", "--add", &four, "--remove", &one, &two, &three]);
        balancer.wait_for_health("web", ecs1(4), HealthStatus::Normal, PATIENCE);
        load.wait_for(500);
        balancer.command(&["server", "replace", "web", "--add", &one, &two, &three, "--remove", &four]);
        while load.count() < REQUESTS {
            load.wait_for(500);
        }
        restarted
    });
    eprintln!(
        "{test}: {} of {} requests failed at {:.0}/s, the slowest took {:?}",
        records.failed().len(),
        records.len(),
        records.rate(),
        records.iter().map(|record| record.took).max().unwrap_or_default()
    );
    records.assert_none_failed();
    assert!(records.len() >= REQUESTS, "{} requests", records.len());
    for (number, restarted) in (1..).zip(restarted) {
        let name = format!("ecs1{number}");
        let [before, after] = [
            records.only(|record| record.ended() < restarted),
            records.only(|record| record.began > restarted),
        ];
        for side in [before, after] {
            assert!(side.counts()[&name] > 100, "{name} serves before and after: {:?}", side.counts());
        }
    }
    assert!(records.counts()["ecs14"] > 500, "{:?}", records.counts());
    balancer.stop();
}
