//! Least connections and consistent hash with real requests; shares of Wrr are in `balancing`.

use crate::harness::{Balancer, Client, PATIENCE, Response, Server, held, refusing};
use controller::snapshot::SchedulerSnapshot::{SchSourceIp, SchUrlParameter, Wlc, Wrr};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Instant;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// Clients of a test, each with an address of its own.
const CLIENTS: u8 = 40;

fn named() -> [Server; 4] {
    NAMES.map(Server::named)
}

fn addresses(servers: &[Server]) -> Vec<SocketAddr> {
    servers.iter().map(|server| server.address).collect()
}

/// One request of a client with an address and connection of its own.
fn from(balancer: &Balancer, client: u8, path: &str, lines: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n");
    Client::from(Ipv4Addr::new(127, 0, 1, client), balancer.address).request(&request)
}

/// The server of each client by its own address.
fn owners(balancer: &Balancer) -> Vec<String> {
    (1..=CLIENTS).map(|client| from(balancer, client, "/", "").text()).collect()
}

/// A response reaches its client a moment before its request is over for the worker.
fn wait_until_free(balancer: &Balancer, server: u32) {
    let deadline = Instant::now() + PATIENCE;
    while balancer.stats.servers()[&server].active > 0 {
        assert!(Instant::now() < deadline, "server {server} is never free");
        std::thread::yield_now();
    }
}

fn distinct(owners: &[String]) -> usize {
    owners.iter().collect::<BTreeSet<_>>().len()
}

// Holds SG-83
#[test]
fn least_connections_leaves_a_slow_server_alone() {
    for workers in [1, 2] {
        let (slow, arrivals, release) = held();
        let quick = Server::named("quick");
        let balancer = Balancer::with(&[slow.address, quick.address], workers, |snapshot| {
            snapshot.groups[0].scheduler = Wlc;
        });
        let mut waiting = balancer.client();
        waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        arrivals.recv_timeout(PATIENCE).unwrap();
        // Whichever worker accepts these, it knows of the request that another may have sent.
        for _ in 0..20 {
            assert_eq!(balancer.get("/").text(), "quick");
            wait_until_free(&balancer, 2);
        }
        release.send(()).unwrap();
        assert_eq!(waiting.response(false).text(), "held");
        let log = balancer.into_log();
        assert!(log.iter().all(|line| line["scheduler_reason"] == "wlc"), "{log:?}");
    }
}

// Holds SG-83
#[test]
fn least_connections_fills_servers_by_weight() {
    let (arrived, arrivals) = channel();
    let (release, released) = channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let servers = ["heavy", "light"].map(|name| {
        let (arrived, released) = (Mutex::new(arrived.clone()), released.clone());
        Server::new(move |connection, _| {
            while connection.request().is_some() {
                arrived.lock().unwrap().send(name).unwrap();
                // Ends with an error, for all at once.
                let _ = released.lock().unwrap().recv();
                connection.answer(name);
            }
        })
    });
    let balancer = Balancer::with(&addresses(&servers), 1, |snapshot| {
        snapshot.groups[0].scheduler = Wlc;
        snapshot.groups[0].servers[1].weight = 50;
    });
    let mut clients: Vec<_> = (0..6).map(|_| balancer.client()).collect();
    let order: Vec<_> = clients
        .iter_mut()
        .map(|client| {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            arrivals.recv_timeout(PATIENCE).unwrap()
        })
        .collect();
    assert_eq!(order, ["heavy", "heavy", "light", "heavy", "light", "heavy"]);
    drop(release);
    clients.iter_mut().for_each(|client| assert_eq!(client.response(false).status, 200));
}

// Holds SG-80, SG-83
#[test]
fn a_scheduler_switched_to_least_connections_knows_what_is_under_way() {
    let (slow, arrivals, release) = held();
    let quick = Server::named("quick");
    let mut balancer = Balancer::with(&[slow.address, quick.address], 2, |_| {});
    let mut waiting = balancer.client();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    arrivals.recv_timeout(PATIENCE).unwrap();
    balancer.snapshot.groups[0].scheduler = Wlc;
    balancer.publish();
    for _ in 0..10 {
        assert_eq!(balancer.get("/").text(), "quick");
        wait_until_free(&balancer, 2);
    }
    release.send(()).unwrap();
    assert_eq!(waiting.response(false).text(), "held");
}

// Holds SG-80
#[test]
fn schedulers_change_while_clients_stay_connected() {
    let servers = named();
    let mut balancer = Balancer::new(&addresses(&servers));
    let mut client = balancer.client();
    let mut order = || -> String {
        (0..4).map(|_| client.request("GET /?k=1 HTTP/1.1\r\nHost: a\r\n\r\n").text()).collect()
    };
    assert_eq!(order(), "abcd");
    balancer.snapshot.groups[0].scheduler = SchUrlParameter("k".into());
    balancer.publish();
    let hashed = order();
    assert_eq!(hashed, hashed[..1].repeat(4));
    balancer.snapshot.groups[0].scheduler = Wrr;
    balancer.publish();
    assert_eq!(order(), "abcd");
    let log = balancer.into_log();
    let reasons: Vec<_> = log.iter().map(|line| line["scheduler_reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, [["wrr"; 4], ["sch"; 4], ["wrr"; 4]].concat());
}

// Holds SG-84, SG-87
#[test]
fn a_client_address_keeps_its_server_and_only_a_lost_servers_clients_move() {
    let servers = named();
    let mut balancer = Balancer::with(&addresses(&servers), 2, |snapshot| {
        snapshot.groups[0].scheduler = SchSourceIp;
    });
    let before = owners(&balancer);
    assert_eq!(distinct(&before), 4);
    assert_eq!(owners(&balancer), before);
    let gone = balancer.snapshot.groups[0].servers.remove(1);
    balancer.publish();
    for (before, after) in before.iter().zip(owners(&balancer)) {
        assert!(if before == "b" { after != "b" } else { after == *before }, "{before} moved to {after}");
    }
    // In another place of the list and under another id.
    balancer.snapshot.groups[0].servers.push(controller::snapshot::ServerSnapshot { id: 99, ..gone });
    balancer.publish();
    assert_eq!(owners(&balancer), before);
}

// Holds SG-84, SG-87
#[test]
fn clients_of_a_server_that_refuses_go_to_their_next_one() {
    let servers = named();
    let mut addresses = addresses(&servers);
    let balancer = Balancer::with(&addresses, 1, |snapshot| snapshot.groups[0].scheduler = SchSourceIp);
    let mut without = Balancer::with(&addresses, 1, |snapshot| snapshot.groups[0].scheduler = SchSourceIp);
    without.snapshot.groups[0].servers.remove(3);
    without.publish();
    let before = owners(&without);
    assert!(owners(&balancer).iter().any(|owner| owner == "d"));
    drop(balancer);
    // A server that refuses has clients of its own; they are shared out, and the same way each time.
    addresses[3] = refusing();
    let balancer = Balancer::with(&addresses, 1, |snapshot| snapshot.groups[0].scheduler = SchSourceIp);
    assert_eq!(owners(&balancer), before);
    assert_eq!(owners(&balancer), before);
    let log = balancer.into_log();
    assert!(log.iter().any(|line| line["retries"] == 1 && line["scheduler_reason"] == "sch"));
}

// Holds SG-88, LR-44
#[test]
fn x_forwarded_for_counts_only_where_proxies_are_trusted() {
    let servers = named();
    let mut balancer = Balancer::with(&addresses(&servers), 1, |snapshot| {
        snapshot.groups[0].scheduler = SchSourceIp;
    });
    let own = owners(&balancer);
    let forwarded = |balancer: &Balancer, lines: fn(u8) -> String| -> Vec<String> {
        (1..=CLIENTS).map(|client| from(balancer, 1, "/", &lines(client)).text()).collect()
    };
    let plain = |client: u8| format!("X-Forwarded-For: 127.0.1.{client}\r\n");
    // Switched off: all are the peer.
    assert_eq!(forwarded(&balancer, plain), vec![own[0].clone(); usize::from(CLIENTS)]);
    balancer.snapshot.listeners[0].trusted_proxies = Some(vec!["10.0.0.0/8".parse().unwrap()]);
    balancer.publish();
    assert_eq!(forwarded(&balancer, plain), own);
    // Over several lines, behind made-up addresses and in front of trusted ones.
    let chain = |client: u8| {
        format!(
            "X-Forwarded-For: 192.0.2.{client}, 127.0.1.{client}\r\nX-Forwarded-For: 10.0.0.2,10.0.0.1\r\n"
        )
    };
    assert_eq!(forwarded(&balancer, chain), own);
    let none = |_| String::new();
    assert_eq!(forwarded(&balancer, none), vec![own[0].clone(); usize::from(CLIENTS)]);
}

// Holds SG-84, SG-86
#[test]
fn a_url_parameter_decides_and_the_address_where_it_is_absent() {
    let servers = named();
    let mut balancer = Balancer::with(&addresses(&servers), 2, |snapshot| {
        snapshot.groups[0].scheduler = SchSourceIp;
    });
    let own = owners(&balancer);
    balancer.snapshot.groups[0].scheduler = SchUrlParameter("uid".into());
    balancer.publish();
    assert_eq!(owners(&balancer), own);
    let by_value = |client: u8, tail: &str| -> Vec<String> {
        let path = |value: u8| format!("/x?a=1&uid=v{value}{tail}");
        (1..=CLIENTS).map(|value| from(&balancer, client, &path(value), "").text()).collect()
    };
    let first = by_value(1, "");
    assert_eq!(distinct(&first), 4);
    assert_eq!(by_value(2, ""), first);
    assert_eq!(by_value(3, "&uid=other"), first);
    // Raw: another spelling is another value.
    assert_ne!(by_value(1, "%20"), by_value(1, "+"));
}
