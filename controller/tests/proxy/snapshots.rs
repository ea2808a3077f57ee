//! Configuration changes while requests run.

use crate::harness::{Balancer, PATIENCE, Server, block_on, held};
use controller::proxy::{PublishError, bind_listeners};
use controller::snapshot::ServerSnapshot;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_change_leaves_requests_under_way_alone() {
    let (slow, arrivals, release) = held();
    let other = Server::named("other");
    let mut balancer = Balancer::new(&[slow.address]);
    let mut client = balancer.client();
    client.send(GET);
    arrivals.recv_timeout(PATIENCE).unwrap();
    balancer.snapshot.groups[0].servers =
        vec![ServerSnapshot { id: 2, address: other.address, weight: 1, ramp: None }];
    balancer.publish();
    assert_eq!(balancer.get("/").text(), "other");
    assert_eq!(balancer.stats.servers()[&1].active, 1);
    release.send(()).unwrap();
    assert_eq!(client.response(false).text(), "held");
    // The same client connection follows the new configuration.
    assert_eq!(client.request(GET).text(), "other");
    assert_eq!(balancer.stats.servers()[&1].active, 0);
}

#[test]
fn the_place_in_the_cycle_and_kept_connections_survive_an_unrelated_change() {
    let (one, two) = (Server::named("1"), Server::named("2"));
    let mut balancer = Balancer::new(&[one.address, two.address]);
    let mut order = String::new();
    for _ in 0..10 {
        order += &balancer.get("/").text();
        balancer.snapshot.listeners[0].idle_timeout_ms += 1;
        balancer.publish();
    }
    assert_eq!(order, "1212121212");
    let servers = balancer.stats.servers();
    assert_eq!((servers[&1].connections, servers[&2].connections), (1, 1));
}

// Holds SG-94, SG-226
#[test]
fn kept_connections_to_a_server_that_left_are_closed() {
    let (closed, seen) = channel();
    let closed = Mutex::new(closed);
    let server = Server::new(move |connection, _| {
        while connection.request().is_some() {
            connection.answer("x");
        }
        closed.lock().unwrap().send(()).unwrap();
    });
    let mut balancer = Balancer::new(&[server.address]);
    assert_eq!(balancer.get("/").status, 200);
    balancer.snapshot.groups[0].servers.clear();
    balancer.publish();
    seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!(balancer.get("/").status, 503);
}

#[test]
fn a_removed_listener_stops_accepting_and_lets_requests_finish() {
    let (slow, arrivals, release) = held();
    let mut balancer = Balancer::new(&[slow.address]);
    // One that has spoken: a client that never did is still the kernel's.
    let mut idle = balancer.client();
    idle.send(GET);
    arrivals.recv_timeout(PATIENCE).unwrap();
    release.send(()).unwrap();
    assert_eq!(idle.response(false).text(), "held");
    let mut busy = balancer.client();
    busy.send(GET);
    arrivals.recv_timeout(PATIENCE).unwrap();
    balancer.snapshot.listeners.clear();
    balancer.publish();
    idle.expect_closed();
    release.send(()).unwrap();
    let response = busy.response(false);
    assert_eq!((response.text().as_str(), response.header("connection")), ("held", Some("close")));
    busy.expect_closed();
    assert!(TcpStream::connect(balancer.address).is_err());
}

#[test]
fn addresses_come_and_go_with_snapshots() {
    let server = Server::named("x");
    let mut balancer = Balancer::with(&[server.address], 2, |_| {});
    let sockets = bind_listeners(&["127.0.0.2:0".parse().unwrap()]).unwrap();
    let second = sockets[0].local_addr().unwrap();
    let first = balancer.address;
    balancer.snapshot.listeners[0].addresses.push(second);
    balancer.publish_with(sockets.into_iter().map(|socket| (1, socket.into())).collect()).unwrap();
    balancer.address = second;
    assert_eq!(balancer.get("/").status, 200);
    balancer.address = first;
    assert_eq!(balancer.get("/").status, 200);
    balancer.snapshot.listeners[0].addresses.remove(0);
    balancer.publish();
    assert!(TcpStream::connect(first).is_err());
    balancer.address = second;
    assert_eq!(balancer.get("/").status, 200);
}

#[test]
fn a_snapshot_that_cannot_be_in_force_changes_nothing() {
    let server = Server::named("x");
    let mut balancer = Balancer::new(&[server.address]);
    let good = balancer.snapshot.clone();
    let result = block_on(balancer.engine.publish(b"junk".as_slice().into(), vec![]));
    assert!(matches!(result, Err(PublishError::Decode(_))), "{result:?}");
    balancer.snapshot.listeners[0].group = 7;
    assert!(matches!(balancer.publish_with(vec![]), Err(PublishError::NoGroup { group: 7, .. })));
    balancer.snapshot = good.clone();
    balancer.snapshot.listeners[0].addresses = vec!["192.0.2.1:80".parse().unwrap()];
    assert!(matches!(balancer.publish_with(vec![]), Err(PublishError::NoSocket { .. })));
    assert_eq!(balancer.get("/").status, 200);
    balancer.snapshot = good;
    balancer.publish();
    assert_eq!(balancer.get("/").status, 200);
}

#[test]
fn several_workers_serve_one_listener() {
    let server = Server::named("x");
    let balancer = Balancer::with(&[server.address], 3, |_| {});
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let address = balancer.address;
            std::thread::spawn(move || {
                for _ in 0..50 {
                    let mut client = crate::harness::Client::connect(address);
                    assert_eq!(client.request(GET).text(), "x");
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let stats = balancer.stats.clone();
    assert_eq!(balancer.into_log().len(), 400);
    assert_eq!(stats.servers()[&1].responses, [0, 400, 0, 0, 0]);
}

#[test]
fn shutdown_waits_for_requests_and_cuts_them_at_its_deadline() {
    let (slow, arrivals, release) = held();
    let balancer = Balancer::new(&[slow.address]);
    let mut client = balancer.client();
    client.send(GET);
    arrivals.recv_timeout(PATIENCE).unwrap();
    let address = balancer.address;
    let engine = std::thread::spawn(move || balancer.into_log());
    // The listener's end is the sign that the shutdown has begun.
    while TcpStream::connect(address).is_ok() {
        std::thread::yield_now();
    }
    release.send(()).unwrap();
    assert_eq!(client.response(false).text(), "held");
    assert_eq!(engine.join().unwrap().len(), 1);

    let (stuck, arrivals, _release) = held();
    let balancer = Balancer::new(&[stuck.address]);
    let mut client = balancer.client();
    client.send(GET);
    arrivals.recv_timeout(PATIENCE).unwrap();
    balancer.engine.shutdown(Duration::from_millis(50));
    assert!(client.rest().0.is_empty());
}
