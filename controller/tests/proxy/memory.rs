//! What is given up when memory becomes scarce.

use crate::harness::{Balancer, Client, PATIENCE, Server, ServerConnection};
use controller::proxy::memory::Pressure;
use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n";

impl Balancer {
    /// So many hundredths of the limit are used; returns when the workers can know.
    fn use_memory(&self, hundredths: u64, pressure: Pressure) {
        self.memory.store(hundredths, Ordering::Relaxed);
        let begin = Instant::now();
        while self.stats.memory().pressure != pressure as u8 {
            assert!(begin.elapsed() < PATIENCE, "{:?}", self.stats.memory());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Answers everything with a page that is worth compressing.
fn pages() -> Server {
    Server::new(|connection: &mut ServerConnection, _| {
        let page = "a page ".repeat(1000);
        while connection.head().is_some() {
            let length = page.len();
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{page}"
            ));
        }
    })
}

/// True if the connection was closed without an answer.
fn is_turned_away(balancer: &Balancer) -> bool {
    let mut client = balancer.client();
    client.send(GET);
    // A reset if the request was not read before.
    matches!(client.stream.read(&mut [0]), Ok(0) | Err(_))
}

#[test]
fn new_connections_are_refused_before_requests_and_both_are_served_again() {
    let server = pages();
    let balancer = Balancer::with(&[server.address], 1, |snapshot| snapshot.listeners[0].gzip = true);
    let mut kept = balancer.client();
    let get = |client: &mut Client| {
        let response = client.request(GET);
        (response.status, response.header("content-encoding").map(str::to_owned))
    };
    let zipped = (200, Some("gzip".to_owned()));
    assert_eq!(get(&mut kept), zipped);

    balancer.use_memory(80, Pressure::Save);
    assert_eq!(get(&mut kept), (200, None));
    let mut second = balancer.client();
    assert_eq!(get(&mut second), (200, None));

    balancer.use_memory(90, Pressure::RefuseConnections);
    assert!(is_turned_away(&balancer));
    assert_eq!(get(&mut kept), (200, None));
    assert_eq!((balancer.stats.connections_refused(), balancer.stats.requests_refused()), (1, 0));

    balancer.use_memory(95, Pressure::RefuseRequests);
    assert!(is_turned_away(&balancer));
    let response = kept.request(GET);
    assert_eq!((response.status, response.header("connection")), (503, Some("close")));
    kept.expect_closed();
    assert_eq!((balancer.stats.connections_refused(), balancer.stats.requests_refused()), (2, 1));

    balancer.use_memory(89, Pressure::RefuseConnections);
    assert_eq!(get(&mut second), (200, None));
    assert!(is_turned_away(&balancer));
    balancer.use_memory(0, Pressure::None);
    assert_eq!(get(&mut second), zipped);
    assert_eq!(get(&mut balancer.client()), zipped);

    let forwarded: u64 = balancer.stats.servers().values().map(|server| server.requests).sum();
    assert_eq!(forwarded, 7, "nothing refused was forwarded");
    let log = balancer.into_log();
    let refused: Vec<_> = log.iter().filter(|line| line["status"] == 503).collect();
    assert_eq!(refused.len(), 1);
    let expected = ("us", "memory of the balancer is scarce", "refuse");
    let found = (&refused[0]["error_source"], &refused[0]["error"], &refused[0]["action"]);
    assert_eq!(found, (&expected.0.into(), &expected.1.into(), &expected.2.into()));
}

#[test]
fn what_has_begun_is_finished_and_a_large_head_is_not_taken_in() {
    let server = Server::new(|connection, _| {
        while connection.request().is_some() {
            connection.answer("done");
        }
    });
    let balancer = Balancer::new(&[server.address]);
    let (mut uploading, mut growing) = (balancer.client(), balancer.client());
    uploading.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    growing.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let begin = Instant::now();
    let is_begun = || {
        let requests: u64 = balancer.stats.servers().values().map(|server| server.active).sum();
        let connections: u64 = balancer.stats.listeners().values().map(|listener| listener.connections).sum();
        (requests, connections) == (1, 2)
    };
    while !is_begun() {
        assert!(begin.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
    balancer.use_memory(99, Pressure::RefuseRequests);
    uploading.send("cde");
    let response = uploading.response(false);
    assert_eq!((response.status, response.text()), (200, "done".to_owned()));
    growing.send(&format!("X: {}", "x".repeat(20_000)));
    let response = growing.response(false);
    assert_eq!((response.status, response.header("connection")), (503, Some("close")));
    let log = balancer.into_log();
    let statuses: Vec<_> = log.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 503]);
}
