//! Ends of drains: which requests are cut, when, and what their clients see.

use crate::harness::{Balancer, PATIENCE, Server, block_on, held, refusing, silent};
use controller::probe::clock;
use controller::snapshot::{Cut, ServerSnapshot};
use std::sync::Mutex;
use std::sync::mpsc::channel;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const CUT: &str = "cut at the end of its server's drain";
const HOUR_NS: u64 = 3_600_000_000_000;

fn now() -> u64 {
    clock::now().as_nanos()
}

fn server(id: u32, address: std::net::SocketAddr) -> ServerSnapshot {
    ServerSnapshot { id, address, weight: 100, ramp: None }
}

/// Takes server 1 out and cuts its requests so many nanoseconds from now.
fn drain(balancer: &mut Balancer, after_ns: u64) -> Cut {
    let now = now();
    let cut = Cut { server: 1, begun_before_ns: now, at_ns: now + after_ns };
    balancer.snapshot.groups[0].servers.retain(|server| server.id != 1);
    balancer.snapshot.cuts = vec![cut];
    balancer.publish();
    cut
}

fn in_flight(balancer: &Balancer, cut: Cut) -> u64 {
    block_on(balancer.engine.in_flight([(cut.server, cut.begun_before_ns)].as_slice().into()))[0]
}

/// The line of the one request that failed.
fn failed_line(balancer: Balancer) -> serde_json::Value {
    let lines = balancer.into_log();
    let mut failed: Vec<_> = lines.into_iter().filter(|line| line["error"] != "-").collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    failed.remove(0)
}

// Holds SG-155, SG-157, SG-160
#[test]
fn a_request_in_flight_is_cut_in_time_with_500_and_its_client_goes_on() {
    let (slow, arrivals, _release) = held();
    let other = Server::named("other");
    let mut balancer = Balancer::new(&[slow.address]);
    let mut client = balancer.client();
    client.send(GET);
    arrivals.recv_timeout(PATIENCE).unwrap();
    balancer.snapshot.groups[0].servers.push(server(2, other.address));
    let cut = drain(&mut balancer, 300_000_000);
    assert_eq!(in_flight(&balancer, cut), 1);
    let response = client.response(false);
    assert!(now() >= cut.at_ns, "cut too early");
    assert_eq!((response.status, response.header("connection")), (500, None));
    assert!(response.text().contains("500 Internal Server Error"), "{response:?}");
    assert_eq!(client.request(GET).text(), "other");
    assert_eq!(in_flight(&balancer, cut), 0);
    let totals = balancer.stats.servers()[&1];
    assert_eq!((totals.cut, totals.active), (1, 0));
    let line = failed_line(balancer);
    assert_eq!(
        (&line["status"], &line["error_source"], &line["error"]),
        (&500.into(), &"us".into(), &CUT.into())
    );
    assert_eq!(line["upstream_addr"], slow.address.to_string());
}

// Holds SG-151
#[test]
fn a_timeout_of_0_cuts_at_once() {
    let (slow, arrivals, _release) = held();
    let mut balancer = Balancer::with(&[slow.address], 2, |_| {});
    let mut clients: Vec<_> = (0..6).map(|_| balancer.client()).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    (0..6).for_each(|_| arrivals.recv_timeout(PATIENCE).unwrap());
    drain(&mut balancer, 0);
    for client in &mut clients {
        assert_eq!(client.response(false).status, 500);
    }
    assert_eq!(balancer.stats.servers()[&1].cut, 6);
}

// Holds SG-155
#[test]
fn a_request_that_ends_within_the_timeout_is_left_alone() {
    let (slow, arrivals, release) = held();
    let mut balancer = Balancer::new(&[slow.address]);
    let mut client = balancer.client();
    client.send(GET);
    arrivals.recv_timeout(PATIENCE).unwrap();
    let cut = drain(&mut balancer, HOUR_NS);
    release.send(()).unwrap();
    assert_eq!(client.response(false).text(), "held");
    assert_eq!(in_flight(&balancer, cut), 0);
    assert_eq!(balancer.stats.servers()[&1].cut, 0);
}

// Holds SG-157
#[test]
fn a_response_that_began_is_broken_off_so_that_it_never_looks_whole() {
    for (framing, part) in [
        ("Content-Length: 10\r\n", "half."),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhalf.\r\n"),
        ("", "half."),
    ] {
        let (held_open, _held) = channel::<()>();
        let held_open = Mutex::new(held_open);
        let server = Server::new(move |connection, _| {
            connection.request().unwrap();
            connection.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n{part}"));
            let _open = held_open.lock().unwrap();
            connection.head();
        });
        let mut balancer = Balancer::new(&[server.address]);
        let mut client = balancer.client();
        client.send(GET);
        assert!(client.head().starts_with("HTTP/1.1 200"));
        drain(&mut balancer, 0);
        let (rest, proper) = client.rest();
        assert!(part.as_bytes().starts_with(&rest), "{framing:?}: {rest:?}");
        assert_eq!(proper, !framing.is_empty(), "{framing:?}: only a reset shows that the end is missing");
        assert_eq!(balancer.stats.servers()[&1].cut, 1);
        let line = failed_line(balancer);
        assert_eq!((&line["status"], &line["error"]), (&500.into(), &CUT.into()));
    }
}

// Holds SG-158
#[test]
fn adding_the_server_again_rescues_no_old_request_and_new_ones_are_not_cut() {
    let (slow, arrivals, release) = held();
    let mut balancer = Balancer::new(&[slow.address]);
    let (mut old, mut new) = (balancer.client(), balancer.client());
    old.send(GET);
    arrivals.recv_timeout(PATIENCE).unwrap();
    let cut = drain(&mut balancer, 500_000_000);
    balancer.snapshot.groups[0].servers.push(server(1, slow.address));
    balancer.publish();
    new.send(GET);
    arrivals.recv_timeout(PATIENCE).unwrap();
    assert_eq!(in_flight(&balancer, cut), 1);
    assert_eq!(balancer.stats.servers()[&1].active, 2);
    assert_eq!(old.response(false).status, 500);
    // One answer for each connection: that of the old one comes to nothing.
    (0..2).for_each(|_| release.send(()).unwrap());
    assert_eq!(new.response(false).text(), "held");
    assert_eq!(balancer.stats.servers()[&1].cut, 1);
}

// Holds SG-161
#[test]
fn a_cut_that_is_no_longer_listed_is_cancelled() {
    let (slow, arrivals, release) = held();
    let mut balancer = Balancer::new(&[slow.address]);
    let mut client = balancer.client();
    client.send(GET);
    arrivals.recv_timeout(PATIENCE).unwrap();
    let cut = drain(&mut balancer, 200_000_000);
    balancer.snapshot.cuts.clear();
    balancer.publish();
    // A later cut of another server, enforced by the same worker, shows that its time has passed.
    let (stuck, stuck_arrivals, _stuck_release) = held();
    balancer.snapshot.groups[0].servers = vec![server(2, stuck.address)];
    balancer.publish();
    let mut witness = balancer.client();
    witness.send(GET);
    stuck_arrivals.recv_timeout(PATIENCE).unwrap();
    balancer.snapshot.cuts = vec![Cut { server: 2, begun_before_ns: now(), at_ns: cut.at_ns + 1 }];
    balancer.publish();
    assert_eq!(witness.response(false).status, 500);
    release.send(()).unwrap();
    assert_eq!(client.response(false).text(), "held");
}

// Holds SG-155
#[test]
fn a_request_still_connecting_counts_and_is_cut() {
    let (address, _full) = silent();
    let mut balancer = Balancer::new(&[address]);
    let mut client = balancer.client();
    client.send(GET);
    while balancer.stats.servers().get(&1).is_none_or(|totals| totals.active == 0) {
        std::thread::yield_now();
    }
    let cut = drain(&mut balancer, HOUR_NS);
    assert_eq!(in_flight(&balancer, cut), 1);
    balancer.snapshot.cuts[0].at_ns = now();
    balancer.publish();
    assert_eq!(client.response(false).status, 500);
    assert_eq!(failed_line(balancer)["error"], CUT);
}

// Holds SG-155
#[test]
fn a_retry_on_another_server_is_not_cut_with_the_first() {
    let (slow, arrivals, release) = held();
    let mut balancer = Balancer::new(&[refusing(), slow.address]);
    let mut client = balancer.client();
    client.send(GET);
    arrivals.recv_timeout(PATIENCE).unwrap();
    let cut = drain(&mut balancer, 0);
    assert_eq!(in_flight(&balancer, cut), 0);
    release.send(()).unwrap();
    assert_eq!(client.response(false).text(), "held");
}

// Holds SG-157
#[test]
fn an_upload_is_cut_with_500_and_its_connection_closed() {
    let (begun, beginning) = channel();
    let begun = Mutex::new(begun);
    let server = Server::new(move |connection, _| {
        connection.head().unwrap();
        begun.lock().unwrap().send(()).unwrap();
        connection.head();
    });
    let mut balancer = Balancer::new(&[server.address]);
    let mut client = balancer.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf.");
    beginning.recv_timeout(PATIENCE).unwrap();
    drain(&mut balancer, 0);
    let response = client.response(false);
    assert_eq!((response.status, response.header("connection")), (500, Some("close")));
    client.expect_closed();
}

// Holds SG-155, SG-226
#[test]
fn a_client_connection_that_was_idle_follows_the_change() {
    let (one, two) = (Server::named("1"), Server::named("2"));
    let mut balancer = Balancer::new(&[one.address]);
    let (mut used, mut fresh) = (balancer.client(), balancer.client());
    assert_eq!(used.request(GET).text(), "1");
    // Both wait for their next request by now: one worker took them in order.
    assert_eq!(fresh.request(GET).text(), "1");
    balancer.snapshot.groups[0].servers.push(server(2, two.address));
    drain(&mut balancer, 0);
    assert_eq!((used.request(GET).text(), fresh.request(GET).text()), ("2".into(), "2".into()));
}
